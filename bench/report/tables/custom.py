"""A table of one's own: any facts down and across, the clean twins first, FedAvg on top, best and its equals marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import statistics
from flipbench.analysis.columns import level_values, reading_values
from flipbench.analysis.comparisons import said, seed_table, tied
from flipbench.analysis.metric_columns import MetricColumn, metric_column, why_undefined
from flipbench.analysis.metrics import LAST, LAST_SAID
from flipbench.analysis.pages import FIRST, declared_is_true
from flipbench.analysis.pivot import refusal
from flipbench.errors import UserError
from flipbench.report.tables.model import Block, entry_of, with_best
from flipbench.spec.cell import CLEAN, FIELDS
from flipbench.spec.field_groups import ATTACK_FIELDS, LEVEL_FIELDS, PERCENT
from flipbench.spec.labels import (
    aggregator_label,
    attack_label,
    dataset_label,
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
    """One measure, arranged by facts.

    Args:
        frame: of `analysis.frame.load`.
        tidy: of `analysis.metrics.evaluate` on it.
        metric: of `analysis.metrics.METRICS`, or one with ``_damage`` or ``_last5``.
        rows, columns: facts of a cell. Attacked cells alone are averaged; their clean twins stand in front, as columns
            (rows where the aggregators go across) named clean, whether or not the attack is among the facts.
        where: ``FACT=VALUE``; several values of one fact are alternatives; shares also as "20%". ``attack=none``: the
            clean cells.

    Raises:
        UserError: no such fact or metric; nothing is left.
    """
    shown = metric_column(metric)
    for name in (*rows, *columns):
        _need(name)
    if not rows or not columns or set(rows) & set(columns) or "seed" in (*rows, *columns):
        raise UserError(
            "rows and columns need a fact each, none of them twice, and not the seed, which is averaged over"
        )
    cells = _cells(frame, tidy, shown, where)
    given, described = (rows, columns), cells
    if "attack" not in (*rows, *columns) and cells["attack"].eq(CLEAN).any() and cells["attack"].ne(CLEAN).any():
        several = cells.loc[cells["attack"] != CLEAN, "attack"].nunique() > 1
        cells = cells.assign(attack=cells["attack"].where(cells["attack"] == CLEAN, EVERY)) if several else cells
        rows, columns = (("attack", *rows), columns) if "aggregator" in columns else (rows, ("attack", *columns))
    row_of, column_of = _axis(cells, rows, False), _axis(cells, columns, True)
    first = _once(cells, row_of, column_of, shown)
    cells, row_of, column_of = cells[first], _kept(row_of, first), _kept(column_of, first)
    downs = sorted(dict.fromkeys(row_of), key=lambda p: _order(rows, p, cells))
    acrosses = sorted(dict.fromkeys(column_of), key=lambda p: _order(columns, p, cells))
    at = list(zip(column_of, row_of, strict=True))
    column_at, row_at = {p: i for i, p in enumerate(acrosses)}, {p: i for i, p in enumerate(downs)}
    places = [column_at[c] for c in column_of], [row_at[r] for r in row_of]
    values = seed_table(*places, cells["seed"], cells["value"].to_numpy(dtype=float), (len(acrosses), len(downs)))
    equal = tied(values, shown.higher_is_better) if "aggregator" in rows and values.size else set()
    squares = _squares(cells, shown, at, acrosses, downs, values, equal)
    notes: dict[str, str] = {}
    named = [(_name(rows, d, cells), tuple(entry_of(squares[c, d], notes) for c in acrosses)) for d in downs]
    if "aggregator" in rows:
        marked = with_best(shown, named, [[squares[c, d] for c in acrosses] for d in downs])
    else:
        marked = tuple(named)
    block = Block(
        f"{shown.label} (%)",
        tuple(map(field_label, columns)),
        _header(columns, acrosses, cells),
        marked,
        tuple((letter, text) for text, letter in notes.items()),
        corner=", ".join(map(field_label, rows)),
    )
    seeds = int(cells["seed"].nunique())
    told = _said(described, shown, *given, seeds)
    if over := sorted({f for s in squares.values() if len(s["told"]) > 1 for f in s["told"]}):
        told += f" Clean: mean over the declared f of the clean twins ({', '.join(map(str, over))})."
    return Chosen(block, *_numbers(shown, rows, columns, acrosses, downs, squares), told)


def matching(frame: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """The cells that are asked for, as `choose` takes them: of attacked ones also their clean twins.

    Args:
        frame: of `analysis.frame.load`.
        where: ``FIELD=VALUE``, as of `choose`.

    Raises:
        UserError: no such field, or no cell is left.
    """
    known, asked = frame[frame["status"] != "missing"], _asked(where)
    clean = known["attack"] == CLEAN
    if asked.get("attack") == [CLEAN] or clean.all():
        return _filtered(known[clean], asked)
    attacked = _filtered(known[~clean], asked)
    return known[known["key"].isin({*attacked["key"], *attacked["twin"]})]


def _need(name: str) -> None:
    if name not in FIELDS and name != "malicious_fraction":
        raise UserError(f"{name!r} is no fact of a cell: choose among {', '.join(FIELDS)}")


def _cells(frame: pd.DataFrame, tidy: pd.DataFrame, shown: MetricColumn, where: Sequence[str]) -> pd.DataFrame:
    """The cells asked for with their ``value``; each attacked one again with its twin's, as attack ``none``."""
    known = frame[frame["status"] != "missing"]
    own = known.merge(tidy[["key", shown.name]].rename(columns={shown.name: "value"}), on="key", how="left")
    own["twin_f"] = own["twin"].map(own.set_index("key")["declared_byzantine"]).fillna(own["declared_byzantine"])
    asked = _asked(where)
    attacked, clean = own[own["attack"] != CLEAN], own[own["attack"] == CLEAN]
    only_clean = bool(asked.get("attack")) and all(value == CLEAN for value in asked["attack"])
    if only_clean and shown.clean is None:
        raise UserError("a clean cell has no damage: leave attack=none out, or choose the metric without _damage")
    attacked = attacked.iloc[:0] if only_clean else _filtered(attacked, asked)
    parts = [attacked, clean.iloc[:0] if len(attacked) else _filtered(clean, asked)]
    if shown.clean is not None and len(attacked):
        if shown.needs_mapping:
            twins = attacked.assign(value=attacked["key"].map(tidy.set_index("key")[shown.clean]))
        else:
            by_key = own.set_index("key")
            twins = attacked.assign(**{n: attacked["twin"].map(by_key[n]) for n in ("value", "status", "reason")})
            twins = twins[twins["status"].notna()]  # one that was not run is not there, as elsewhere
        parts.insert(0, twins.assign(attack=CLEAN))
    both = pd.concat([p for p in parts if len(p)], ignore_index=True) if any(map(len, parts)) else own.iloc[:0]
    if not len(both):
        raise UserError(f"no cell is left{' by ' + ' and '.join(where) if where else ''}; `flipbench plan` lists them")
    return both


def _asked(where: Sequence[str]) -> dict[str, list[str]]:
    """Fact -> the values that are asked for."""
    asked: dict[str, list[str]] = {}
    for one in where:
        name, equals, value = one.partition("=")
        if not equals:
            raise UserError(f"--where is FACT=VALUE, like attack=mirrored, got {one!r}")
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
        return asked in (value, aggregator_label(value) if name == "aggregator" else value, dataset_label(value))
    try:
        if asked.endswith("%") and name in PERCENT:  # as tables show it: 33.3 % is a third
            return percent(value) == f"{float(asked[:-1]):g}"
        return abs(float(asked) - float(value)) < 1e-9
    except ValueError:
        return asked == str(value)


def _axis(cells: pd.DataFrame, facts: Sequence[str], across: bool) -> list[Place]:
    """Where each cell stands; across, a clean one has no facts of an attack."""
    places: list[Place] = []
    clean = (cells["attack"] == CLEAN).tolist()
    for place, none in zip(level_values(cells, facts), clean, strict=True):
        bare = across and none and "attack" in facts
        places.append(
            tuple(None if bare and f in _OF_ATTACK and f != "attack" else v for f, v in zip(facts, place, strict=True))
        )
    return places


def _once(cells: pd.DataFrame, row_of: list[Place], column_of: list[Place], shown: MetricColumn) -> NDArray[np.bool_]:
    """All cells, of the clean ones each twin only once in a square, however many attacked cells share it."""
    told = pd.DataFrame({"row": pd.factorize(pd.Series(row_of))[0], "column": pd.factorize(pd.Series(column_of))[0]})
    told["twin"] = cells["twin"].to_numpy()
    told["mapping"] = cells["mapping"].to_numpy() if shown.needs_mapping else None
    return (~(told.duplicated() & (cells["attack"] == CLEAN).to_numpy())).to_numpy()


def _kept(places: Sequence[Place], which: NDArray[np.bool_]) -> list[Place]:
    return [place for place, keep in zip(places, which.tolist(), strict=True) if keep]


def _order(facts: Sequence[str], place: Place, cells: pd.DataFrame) -> Place:
    """FedAvg and the clean twins first, rules and attacks in the order of the plan, numbers ascending."""
    keys: list[Any] = []
    for fact, value in zip(facts, place, strict=True):
        if fact in ("aggregator", "attack"):
            order = _plan_order(cells, fact)
            keys.append(((0, float(order.index(value)), ""),))
        else:
            keys.append(reading_values((value,), (fact,)))
    return tuple(keys)


def _plan_order(cells: pd.DataFrame, fact: str) -> list[Any]:
    first = FIRST if fact == "aggregator" else CLEAN
    return sorted(dict.fromkeys(cells[fact]), key=lambda v: v != first)


def _squares(
    cells: pd.DataFrame,
    shown: MetricColumn,
    at: Sequence[tuple[Place, Place]],
    acrosses: Sequence[Place],
    downs: Sequence[Place],
    values: statistics.Values,
    equal: set[tuple[int, int]],
) -> dict[tuple[Place, Place], dict[str, Any]]:
    """Each square as `analysis.pivot.squares` has it."""
    members: dict[tuple[Place, Place], list[dict[Any, Any]]] = {}
    names = ["status", "reason", "seed", "twin_f", "attack", "confusion", "mapping", "classes", "stamped"]
    for place, *one in zip(at, *(cells[name].tolist() for name in names), strict=True):
        members.setdefault(place, []).append(dict(zip(names, one, strict=True)))
    mean, sd, n = statistics.moments(values)
    low, high = statistics.student_interval(values)
    found = {}
    for i, across in enumerate(acrosses):
        for j, down in enumerate(downs):
            numbers = {"mean": mean[i, j], "sd": sd[i, j], "low": low[i, j], "high": high[i, j], "n": int(n[i, j])}
            own = _statement(members.get((across, down), []), shown, int(n[i, j]))
            found[across, down] = {**own, **numbers, "tied": (i, j) in equal}
    return found


def _statement(mine: Sequence[Mapping[Any, Any]], shown: MetricColumn, n: int) -> dict[str, Any]:
    """What the cells of a square say beside their numbers, of which there are ``n``."""
    able = {c["seed"] for c in mine if c["status"] != "infeasible"}
    statuses = {c["status"] for c in mine}
    state = "done" if n else "absent" if not mine else "infeasible" if not able else "undefined"
    state = "failed" if state == "undefined" and "failed" in statuses else state
    reason = next((c["reason"] for c in mine if c["status"] == "infeasible"), None)
    clean = [c for c in mine if c["attack"] == CLEAN]
    if state == "undefined":
        cell = next(c for c in mine if c["status"] == "done")
        reason = why_undefined(shown, cell, bool(clean) and shown.needs_mapping)
    asked = tuple(sorted({int(c["twin_f"]) for c in clean}))
    met = tuple(sorted({int(c["twin_f"]) for c in clean if c["status"] != "infeasible"}))
    about = {"state": state, "planned": len(able), "reason": reason}
    return {**about, "told": asked, "remark": refusal(asked, met)}


def _text(fact: str, value: Any, cells: pd.DataFrame) -> str:
    if fact == "aggregator":
        return aggregator_label(str(value))
    if fact == "attack" and value == EVERY:
        return "mean of all attacks"
    if fact == "attack":
        return attack_label(str(value), next((tuple(c) for c in cells["classes"] if c is not None), ()))
    return value_label(fact, value)


def _name(facts: Sequence[str], place: Place, cells: pd.DataFrame) -> str:
    return ", ".join(_text(f, v, cells) for f, v in zip(facts, place, strict=True))


def _header(facts: Sequence[str], acrosses: Sequence[Place], cells: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """One row a fact; what a clean column lacks is left open."""
    lines = []
    for place in acrosses:
        clean = dict(zip(facts, place, strict=True)).get("attack") == CLEAN
        lines.append(["" if clean and v is None else _text(f, v, cells) for f, v in zip(facts, place, strict=True)])
    return tuple(zip(*lines, strict=True))


def _numbers(
    shown: MetricColumn,
    rows: Sequence[str],
    columns: Sequence[str],
    acrosses: Iterable[Place],
    downs: Sequence[Place],
    squares: Mapping[tuple[Place, Place], Mapping[str, Any]],
) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    numbers = ("state", "n", "planned", "mean", "sd", "low", "high", "tied", "reason")
    lines = []
    for across in acrosses:
        for down in downs:
            square = squares[across, down]
            plain = (v.item() if isinstance(v, np.generic) else v for v in (square[name] for name in numbers))
            lines.append((shown.name, *_bare(rows, down), *_bare(columns, across), *plain))
    return ("metric", *rows, *columns, *numbers), tuple(lines)


def _bare(facts: Sequence[str], place: Place) -> list[Any]:
    return [dataset_label(str(v)) if f == "dataset" else v for f, v in zip(facts, place, strict=True)]


def _said(cells: pd.DataFrame, shown: MetricColumn, rows: Sequence[str], columns: Sequence[str], seeds: int) -> str:
    when = LAST_SAID if shown.name.endswith(f"_last{LAST}") else "last round"
    text = f"Mean ± half width of the 95 % Student interval over {seeds} seed{'s' * (seeds != 1)}, in %, {when}."
    if "aggregator" in rows:
        text += f" Best of the column bold. {said(seeds).format(tied='Underlined')}"
    attacked = cells[cells["attack"] != CLEAN] if (cells["attack"] != CLEAN).any() else cells
    implied = {"seed", "malicious_count"} | ({"declared_byzantine"} if declared_is_true(attacked) else set())
    rest = [f for f in FIELDS if f not in {*rows, *columns, *implied} and len(set(level_values(attacked, [f]))) > 1]
    if rest:
        text += f" Averaged within each seed over: {', '.join(map(field_label, rest))}."
    return text
