"""A table of one's own: any fields down and across, clean twins first, FedAvg on top, best and its equals marked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import caveats
from flipbench.analysis import frame as frames
from flipbench.analysis import squares as squares_of
from flipbench.analysis.columns import level_values, reading_values
from flipbench.analysis.comparisons import said
from flipbench.analysis.metric_columns import MetricColumn, metric_column, why_undefined
from flipbench.analysis.metrics import LAST_SAID
from flipbench.analysis.pages import FIRST, declared_is_true, value_of_each_rule
from flipbench.analysis.rounds.late_rounds import moves
from flipbench.analysis.rounds.stability import Movement
from flipbench.analysis.settings import forms
from flipbench.analysis.squares import DONE, UNDEFINED, Cells, marks, refusals, standing
from flipbench.errors import UserError
from flipbench.privacy import of_tables
from flipbench.report.tables.model import Block, by_rule, entry_of, footnotes
from flipbench.report.tables.tuned_settings import of_choices
from flipbench.spec.cell import CLEAN, FIELDS
from flipbench.spec.field_groups import ATTACK_FIELDS, ATTACK_OPTIONS, LEVEL_FIELDS, PERCENT
from flipbench.spec.headline import Headline
from flipbench.spec.labels import (
    aggregator_label,
    attack_label,
    bare,
    dataset_text,
    field_label,
    is_nothing,
    percent,
    value_label,
)

ROWS, COLUMNS = ("aggregator",), ("attack", "malicious_fraction")
EVERY = "all"  # stands where several attacks are averaged over
_OF_ATTACK = {*ATTACK_FIELDS, *LEVEL_FIELDS}  # one clean column stands for all their values
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Chosen:
    """A table, as text cells and as numbers.

    Attributes:
        block: for Markdown, LaTeX and HTML.
        names, lines: for CSV, one line a square, shares from 0 to 1.
        said: what the marks mean, and what the numbers are means over.
    """

    block: Block
    names: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]
    said: str


def choose(
    frame: pd.DataFrame,
    tidy: pd.DataFrame,
    metric: str = "accuracy",
    rows: Sequence[str] = ROWS,
    columns: Sequence[str] = COLUMNS,
    where: Sequence[str] = (),
) -> Chosen:
    """One metric, arranged by fields.

    Args:
        frame: of `analysis.frame.load`.
        tidy: of `analysis.metrics.evaluate` on it.
        metric: of `analysis.metrics.METRICS`, or one with ``_damage`` or ``_last5``.
        rows, columns: fields of a cell. Attacked cells alone are averaged; their clean twins stand in front, as columns
            (rows where the aggregators go across) named clean, whether or not the attack is among the fields.
        where: ``FIELD=VALUE``; several values of one field are alternatives; shares also as "20%". ``attack=none``: the
            clean cells. Of a tuned grid ``form=fixed`` or ``form=tuned``, which it is without.

    Raises:
        UserError: no such field or metric; nothing is left.
    """
    shown = metric_column(metric)
    frame = frame[~frames.of_honest_noise(frame)]
    form, where = forms.asked(frame, where)
    chosen = forms.chosen(frame, {forms.FORM: forms.SAID[form or forms.TUNED]}) if forms.is_tuned(frame) else None
    frame = forms.of_form(frame, form or forms.TUNED)
    with frames.labels_of(frame):
        for name in (*rows, *columns):
            _need(name)
        if not rows or not columns or set(rows) & set(columns) or "seed" in (*rows, *columns):
            raise UserError(
                "rows and columns need a field each, none of them twice, and not the seed, which is averaged over"
            )
        cells = _cells(frame, tidy, shown, where)
        given, described = (rows, columns), cells
        if "attack" not in (*rows, *columns) and cells["attack"].eq(CLEAN).any() and cells["attack"].ne(CLEAN).any():
            several = cells.loc[cells["attack"] != CLEAN, "attack"].nunique() > 1
            cells = cells.assign(attack=cells["attack"].where(cells["attack"] == CLEAN, EVERY)) if several else cells
            rows, columns = (("attack", *rows), columns) if "aggregator" in columns else (rows, ("attack", *columns))
        row_of, column_of = _axis(cells, rows, ATTACK_OPTIONS), _axis(cells, columns, _OF_ATTACK)
        first = _once(cells, row_of, column_of, shown)
        cells, row_of, column_of = cells[first], _kept(row_of, first), _kept(column_of, first)
        downs = sorted(dict.fromkeys(row_of), key=lambda p: _order(rows, p, cells))
        acrosses = sorted(dict.fromkeys(column_of), key=lambda p: _order(columns, p, cells))
        column_at, row_at = {p: i for i, p in enumerate(acrosses)}, {p: i for i, p in enumerate(downs)}
        at = [column_at[p] for p in column_of], [row_at[p] for p in row_of]
        found = _squares(cells, shown, at, (len(acrosses), len(downs)), claims="aggregator" in rows)
        squares = {(a, d): found[i, j] for a, i in column_at.items() for d, j in row_at.items()}
        notes: dict[str, str] = {}
        named = [(_name(rows, d, cells), tuple(entry_of(squares[a, d], notes) for a in acrosses)) for d in downs]
        block = Block(
            shown.heading,
            tuple(map(field_label, columns)),
            _header(columns, acrosses, cells),
            tuple(named),
            footnotes(notes),
            corner=", ".join(map(field_label, rows)),
        )
        seeds = int(cells["seed"].nunique())
        tuned = () if chosen is None else forms.fields_of(chosen.fields)
        text = _said(described, shown, *given, seeds, frames.headline_of(frame), tuned)
        if forms.is_tuned(frame):
            text += f" Form: {forms.SAID[form or forms.TUNED]}.{'' if chosen is None else of_choices(chosen)}"
        if over := sorted({f for s in squares.values() if len(s["declared_f"]) > 1 for f in s["declared_f"]}):
            text += f" Clean: mean over the declared f of the clean twins ({', '.join(map(str, over))})."
        return Chosen(block, *_numbers(shown, rows, columns, acrosses, downs, squares), text)


def matching(frame: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """The cells that are asked for, as `choose` takes them: of attacked ones also their clean twins.

    Args:
        frame: of `analysis.frame.load`.
        where: ``FIELD=VALUE``, as of `choose`.

    Raises:
        UserError: no such field, or no cell is left.
    """
    frame = frame[~frames.of_honest_noise(frame)]
    form, where = forms.asked(frame, where)
    frame = frame if form is None else forms.of_form(frame, form)
    with frames.labels_of(frame):
        known, asked = frame[frame["status"] != "missing"], _asked(where)
        clean = known["attack"] == CLEAN
        if asked.get("attack") == [CLEAN] or clean.all():
            return _filtered(known[clean], asked)
        attacked = _filtered(known[~clean], asked)
        return known[known["key"].isin({*attacked["key"], *attacked["twin"]})]


def _need(name: str) -> None:
    if name not in FIELDS and name != "malicious_fraction":
        raise UserError(f"{name!r} is no field of a cell: choose among {', '.join(FIELDS)}")


def _cells(frame: pd.DataFrame, tidy: pd.DataFrame, shown: MetricColumn, where: Sequence[str]) -> pd.DataFrame:
    """The cells asked for with their ``value``; each attacked one again with its twin's, as attack ``none``."""
    known = frame[frame["status"] != "missing"]
    own = known.merge(tidy[["key", shown.name]].rename(columns={shown.name: "value"}), on="key", how="left")
    own = own.copy()  # in one piece: pandas warns of frames of many columns that grow by one more
    own["moves"] = _tuples(moves(tidy, own["key"], shown.metric), own.index)
    own["twin_f"] = own["twin"].map(own.set_index("key")["declared_byzantine"]).fillna(own["declared_byzantine"])
    asked = _asked(where)
    attacked, clean = own[own["attack"] != CLEAN], own[own["attack"] == CLEAN]
    only_clean = bool(asked.get("attack")) and all(value == CLEAN for value in asked["attack"])
    if only_clean and shown.clean is None:
        raise UserError("a clean cell has no damage: leave attack=none out, or choose the metric without _damage")
    attacked = attacked.iloc[:0] if only_clean else _filtered(attacked, asked)
    of_twin = _caveats_of_twins(own, attacked)
    parts = [attacked, clean.iloc[:0] if len(attacked) else _filtered(clean, asked)]
    if shown.clean is not None and len(attacked):
        if shown.needs_mapping:
            moved = moves(tidy, attacked["key"], shown.metric, of_twin=True)
            of_twin["moves"] = _tuples(moved, attacked.index)
            twins = attacked.assign(value=attacked["key"].map(tidy.set_index("key")[shown.clean]), **of_twin)
        else:
            by_key = own.set_index("key")
            known_of = {n: attacked["twin"].map(by_key[n]) for n in ("value", "status", "reason")}
            twins = attacked.assign(**known_of, **of_twin)
            twins = twins[twins["status"].notna()]  # one that was not run is not there, as elsewhere
        parts.insert(0, twins.assign(attack=CLEAN))
    if shown.damage and len(attacked):  # what is wrong with either of the two
        merged = [caveats.merged(c) for c in zip(caveats.of_cells(attacked), _as_caveats(of_twin), strict=True)]
        parts[0] = attacked.assign(**_as_columns(merged, attacked.index))
    both = pd.concat([p for p in parts if len(p)], ignore_index=True) if any(map(len, parts)) else own.iloc[:0]
    if not len(both):
        raise UserError(f"no cell is left{' by ' + ' and '.join(where) if where else ''}; `flipbench plan` lists them")
    return both


def _tuples(some: Sequence[Movement | None], index: pd.Index[Any]) -> pd.Series[Any]:
    """Movements as a column that `analysis.caveats` reads."""
    return pd.Series([() if move is None else (move,) for move in some], index, dtype=object)


def _caveats_of_twins(own: pd.DataFrame, attacked: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """The columns that `analysis.caveats` reads, of the clean twins of some cells."""
    by_key = dict(zip(own["key"], caveats.of_cells(own), strict=True))
    return _as_columns([by_key.get(twin, caveats.NOTHING) for twin in attacked["twin"]], attacked.index)


def _as_columns(some: Sequence[caveats.Caveat], index: pd.Index[Any]) -> dict[str, pd.Series[Any]]:
    names = caveats.Caveat._fields
    return {name: pd.Series([getattr(c, name) for c in some], index, dtype=object) for name in names}


def _as_caveats(columns: Mapping[str, pd.Series[Any]]) -> list[caveats.Caveat]:
    return [caveats.Caveat(*both) for both in zip(*columns.values(), strict=True)]


def _asked(where: Sequence[str]) -> dict[str, list[str]]:
    """Field -> the values that are asked for."""
    asked: dict[str, list[str]] = {}
    for condition in where:
        name, equals, value = condition.partition("=")
        if not equals:
            raise UserError(f"--where is FIELD=VALUE, like attack=mirrored, got {condition!r}")
        _need(name.strip())
        asked.setdefault(name.strip(), []).append(value.strip())
    return asked


def _filtered(cells: pd.DataFrame, asked: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    for name, values in asked.items():
        there = {id(v): v for v in cells[name]}.values()
        keep = [any(_matches(name, v, a) for a in values) for v in cells[name]]
        if len(cells) and not any(keep):
            found = ", ".join(sorted({str(v) for v in there})[:12])
            raise UserError(f"no cell has {name} {' or '.join(values)}: there are {found}")
        cells = cells[np.array(keep, dtype=bool)]
    return cells


def _matches(name: str, value: Any, asked: str) -> bool:
    if is_nothing(value):
        return asked in ("", "none", value_label(name, value))
    if isinstance(value, str):
        return asked in (value, value_label(name, value), bare(value), dataset_text(value))
    try:
        if asked.endswith("%") and name in PERCENT:  # as tables show it: 33.3 % is a third
            return percent(value) == f"{float(asked[:-1]):g}"
        return abs(float(asked) - float(value)) < 1e-9
    except ValueError:
        return asked == str(value)


def _axis(cells: pd.DataFrame, fields: Sequence[str], open_in_clean: Collection[str]) -> list[Place]:
    """Where each cell stands; beside its attack, none, a clean one has none of some fields.

    Across, it has no field of an attack. Down, it has none of the attack's options, on which no twin depends; the
    twins of other malicious fractions have another f, and stand in rows of their own.
    """
    places: list[Place] = []
    clean = (cells["attack"] == CLEAN).tolist()
    for place, none in zip(level_values(cells, fields), clean, strict=True):
        bare = none and "attack" in fields
        places.append(
            tuple(
                None if bare and f in open_in_clean and f != "attack" else v for f, v in zip(fields, place, strict=True)
            )
        )
    return places


def _once(cells: pd.DataFrame, row_of: list[Place], column_of: list[Place], shown: MetricColumn) -> NDArray[np.bool_]:
    """All cells, of the clean ones each twin only once in a square, however many attacked cells share it."""
    places = pd.DataFrame({"row": pd.factorize(pd.Series(row_of))[0], "column": pd.factorize(pd.Series(column_of))[0]})
    places["twin"] = cells["twin"].to_numpy()
    places["mapping"] = cells["mapping"].to_numpy() if shown.needs_mapping else None
    return (~(places.duplicated() & (cells["attack"] == CLEAN).to_numpy())).to_numpy()


def _kept(places: Sequence[Place], which: NDArray[np.bool_]) -> list[Place]:
    return [place for place, keep in zip(places, which.tolist(), strict=True) if keep]


def _order(fields: Sequence[str], place: Place, cells: pd.DataFrame) -> Place:
    """FedAvg and the clean twins first, rules and attacks in the order of the plan, numbers ascending."""
    keys: list[Any] = []
    for field, value in zip(fields, place, strict=True):
        if field in ("aggregator", "attack"):
            order = sorted(dict.fromkeys(cells[field]), key=lambda v: v not in (FIRST, CLEAN))
            keys.append(((0, float(order.index(value)), ""),))
        else:
            keys.append(reading_values((value,), (field,)))
    return tuple(keys)


def _squares(
    frame: pd.DataFrame, shown: MetricColumn, at: tuple[list[int], list[int]], shape: tuple[int, int], *, claims: bool
) -> dict[tuple[int, int], dict[str, Any]]:
    """Each square as `analysis.pivot.Pivot.squares` has it.

    Args:
        frame: the cells.
        shown: what to show.
        at: the column and row of each.
        shape: how many columns and rows there are.
        claims: whether aggregators stand below one another, so that one of them can be the best.
    """
    clean = (frame["attack"] == CLEAN).to_numpy(dtype=bool)
    column, row = (np.array(places, dtype=np.int64) for places in at)
    cells = Cells.of(frame, column, row, frame["twin_f"].to_numpy(dtype=np.int64), clean)
    values = cells.by_seed(frame["value"].to_numpy(dtype=float), shape)
    states, reasons = standing(cells, shape), refusals(cells, shape)
    silent = cells.silent(shape)
    numbers = squares_of.numbers(values, shown.higher_is_better, silent, None if claims else (), shown.bounds)
    mark = np.full(shape, None, dtype=object)
    if claims:
        mark = marks(numbers.mean, numbers.tied, shown.higher_is_better, numbers.partial | silent)
    found = {}
    for i, j in np.ndindex(shape):
        square: dict[str, Any] = {name: array[i, j].item() for name, array in numbers.names().items()}
        square |= {"planned": int(states.planned[i, j]), "reason": reasons[i, j], "mark": mark[i, j]}
        square |= {name: getattr(states, name)[i, j] for name in ("declared_f", "remark", "caveat")}
        square["state"] = DONE if square["n"] else states.state[i, j]
        if square["state"] == UNDEFINED:
            here = (cells.column == i) & (cells.row == j)
            first = frame.iloc[np.flatnonzero(here & (cells.status == DONE))[0]]
            square["reason"] = why_undefined(shown, first.to_dict(), bool(clean[here].any()) and shown.needs_mapping)
        found[i, j] = square
    return found


def _text(field: str, value: Any, cells: pd.DataFrame) -> str:
    if field == "aggregator":
        return aggregator_label(str(value))
    if field == "attack" and value == EVERY:
        return "mean of all attacks"
    if field == "attack":
        return attack_label(str(value), next((tuple(c) for c in cells["classes"] if c is not None), ()))
    return value_label(field, value)


def _texts(fields: Sequence[str], place: Place, cells: pd.DataFrame) -> list[str]:
    """A text for each field; what a clean place lacks is left open."""
    clean = dict(zip(fields, place, strict=True)).get("attack") == CLEAN
    return ["" if clean and v is None else _text(f, v, cells) for f, v in zip(fields, place, strict=True)]


def _name(fields: Sequence[str], place: Place, cells: pd.DataFrame) -> str:
    return ", ".join(filter(None, _texts(fields, place, cells)))


def _header(fields: Sequence[str], acrosses: Sequence[Place], cells: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """One row a field."""
    return tuple(zip(*(_texts(fields, place, cells) for place in acrosses), strict=True))


def _numbers(
    shown: MetricColumn,
    rows: Sequence[str],
    columns: Sequence[str],
    acrosses: Iterable[Place],
    downs: Sequence[Place],
    squares: Mapping[tuple[Place, Place], Mapping[str, Any]],
) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    numbers = ("state", "n", "planned", "mean", "sd", "low", "high", "tied", "reason", "caveat")
    lines = []
    for across in acrosses:
        for down in downs:
            square = squares[across, down]
            plain = (v.item() if isinstance(v, np.generic) else v for v in (square[name] for name in numbers))
            lines.append((shown.name, *_bare(rows, down), *_bare(columns, across), *plain))
    return ("metric", *rows, *columns, *numbers), tuple(lines)


def _bare(fields: Sequence[str], place: Place) -> list[Any]:
    return [dataset_text(str(v)) if f == "dataset" else v for f, v in zip(fields, place, strict=True)]


def _said(
    cells: pd.DataFrame,
    shown: MetricColumn,
    rows: Sequence[str],
    columns: Sequence[str],
    seeds: int,
    headline: Headline,
    tuned: Sequence[str] = (),
) -> str:
    when = LAST_SAID if shown.last_rounds else headline.short
    text = f"Mean ± half width of the 95 % interval over {seeds} seed{'s' * (seeds != 1)}, in %, {when}."
    if "aggregator" in rows:
        text += f" Best of the column bold, where no seed is missing that another rule has. {said(seeds)}"
    attacked = cells[cells["attack"] != CLEAN] if (cells["attack"] != CLEAN).any() else cells
    implied = {"seed", "malicious_count", *tuned} | ({"declared_byzantine"} if declared_is_true(attacked) else set())
    rest = [f for f in FIELDS if f not in {*rows, *columns, *implied} and len(set(level_values(attacked, [f]))) > 1]
    own = {f: v for f in rest if "aggregator" in (*rows, *columns) and (v := value_of_each_rule(attacked, f))}
    text += by_rule(own)
    text += f" {privacy}" if (privacy := of_tables.sentence(cells)) else ""
    if rest := [f for f in rest if f not in own]:
        text += f" Averaged within each seed over: {', '.join(map(field_label, rest))}."
    return text
