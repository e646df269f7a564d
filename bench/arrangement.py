"""Which number stands where: aggregators down; attacks and the facts that vary across; the clean twins first.

Tables and heatmaps draw the same squares. A square is one aggregator under one column, over all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cell import CLEAN, FACTS, expected_malicious
from bench.comparisons import seed_table, tied
from bench.errors import UserError
from bench.labels import is_nothing
from bench.metrics import LAST, METRICS
from bench.remembered import Remembered
from bench.statistics import Values as Numbers
from bench.statistics import moments, student_interval

FIRST = "fedavg"  # the yardstick stands on top, as in papers
PAGE_FACTS = ("dataset", "partition")  # numbers of two data sets have no common scale: one page each
# Facts of the attack that a clean twin lacks (or, declared f, shares with several attacked cells).
LEVEL_FACTS = (
    *("malicious_fraction", "flip_rate", "attack_availability"),
    *("attack_start", "attack_stop", "declared_byzantine"),
)
_ELSEWHERE = {"aggregator", "attack", "seed", "malicious_count"}

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """What all squares below one another share.

    Attributes:
        attack: its reference; ``none`` for the clean twins.
        setting: values of the page's settings.
        level: values of the page's levels; empty for the clean twins.
    """

    attack: str
    setting: Values = ()
    level: Values = ()

    @property
    def clean(self) -> bool:
        """Whether the clean twins stand here."""
        return self.attack == CLEAN


@dataclass(frozen=True)
class Measure:
    """A column of the tidy frame as it is shown.

    Attributes:
        name: the tidy column, like ``accuracy`` or ``accuracy_damage``.
        label: for people.
        higher_is_better: of the shown number.
        needs_mapping: only of attacks with a fixed class map; its clean value then depends on the attack.
        clean: the tidy column of the clean value; None where a clean twin has none (damage).
    """

    name: str
    label: str
    higher_is_better: bool
    needs_mapping: bool
    clean: str | None


@dataclass(frozen=True)
class Page:
    """The cells that share a table and a set of heatmaps.

    Attributes:
        about: facts that tell this page from the others; empty for an only page.
        constant: facts with one value on this page.
        rows: aggregators, FedAvg first, then in the order of the plan.
        attacks: in the order of the plan, the clean twins' ``none`` left out.
        adaptive: those of them that know the rule they face.
        backdoors: those of them whose success is measured on stamped test images.
        settings: names of facts that vary and that a clean twin shares with its attacked cell.
        levels: names of facts of the attack that vary.
        classes: names of the classes.
        seeds: how many distinct seeds the plan has here.
        cells: one row a cell; ``malicious_fraction`` is filled in.
        unknown: cells of the plan without any record, hence without facts, on any page.
    """

    about: Mapping[str, Any]
    constant: Mapping[str, Any]
    rows: tuple[str, ...]
    attacks: tuple[str, ...]
    adaptive: frozenset[str]
    backdoors: frozenset[str]
    settings: tuple[str, ...]
    levels: tuple[str, ...]
    classes: tuple[str, ...]
    seeds: int
    cells: pd.DataFrame
    unknown: int


def measure(name: str) -> Measure:
    """The measure of a metric, ``<metric>_damage`` or ``<metric>_last5``.

    Raises:
        UserError: no such metric.
    """
    base = name.removesuffix("_damage").removesuffix(f"_last{LAST}")
    if base not in METRICS or name not in {base, f"{base}_damage", f"{base}_last{LAST}"}:
        raise UserError(f"there is no metric {name!r}; there are {', '.join(METRICS)}, and each with _damage or _last5")
    one = METRICS[base]
    label = one.label[0].upper() + one.label[1:]
    if name.endswith("_damage"):
        return Measure(name, f"{label} damage", False, one.needs_mapping, None)
    if name != base:
        label += f", mean of the last {LAST} evaluated rounds"
    # A clean twin's last rounds are not told apart by attack, so they stand only where no mapping is needed.
    clean = f"{base}_clean" if one.needs_mapping and name == base else None if one.needs_mapping else name
    return Measure(name, label, one.higher_is_better, one.needs_mapping, clean)


def pages(frame: pd.DataFrame) -> tuple[Page, ...]:
    """The pages of a grid, in the order of the plan.

    Args:
        frame: of `bench.frame.load`.
    """
    return _PAGES.of(frame, (), None, lambda: _pages(frame))


_PAGES, _LAYOUTS, _SQUARES = Remembered(), Remembered(), Remembered()


def _pages(frame: pd.DataFrame) -> tuple[Page, ...]:
    known = frame[frame["status"] != "missing"]
    apart = [f for f in PAGE_FACTS if _varies(known[f])]
    unknown = len(frame) - len(known)
    if not apart:
        return (_page({}, known, unknown),) if len(known) else ()
    groups = known.groupby(apart, sort=False, dropna=False)
    return tuple(_page(dict(zip(apart, which, strict=True)), cells, unknown) for which, cells in groups)


def _page(about: dict[str, Any], cells: pd.DataFrame, unknown: int) -> Page:
    attacked = cells[cells["attack"] != CLEAN]
    telling = attacked if len(attacked) else cells
    vary = [f for f in FACTS if f not in _ELSEWHERE and _varies(telling[f])]
    implied = {"malicious_count"} | ({"declared_byzantine"} if declared_is_true(telling) else set())
    constant = {f: _plain(telling[f].iloc[0]) for f in FACTS if f not in {*vary, *_ELSEWHERE, *implied}}
    vary = [f for f in vary if f not in implied]
    classes = next((tuple(c) for c in cells["classes"] if c is not None), ())
    return Page(
        about=about,
        constant=constant if len(attacked) else {f: v for f, v in constant.items() if f not in LEVEL_FACTS},
        rows=tuple(sorted(dict.fromkeys(cells["aggregator"]), key=lambda name: name != FIRST)),
        attacks=tuple(dict.fromkeys(attacked["attack"])),
        adaptive=frozenset(attacked.loc[attacked["adaptive"].astype(bool), "attack"]),
        backdoors=frozenset(attacked.loc[attacked["stamped"].notna(), "attack"]),
        settings=tuple(f for f in vary if f not in LEVEL_FACTS),
        levels=tuple(f for f in LEVEL_FACTS if f in vary),
        classes=classes,
        seeds=int(cells["seed"].nunique()),
        cells=cells,
        unknown=unknown,
    )


def squares(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> pd.DataFrame:
    """The numbers of some attacks, one row a square, clean twins first.

    Args:
        page: whose cells.
        tidy: of `bench.metrics.evaluate`.
        shown: what to show.
        attacks: references; only one where the measure needs a mapping, which its clean value depends on.

    Returns:
        ``aggregator``, ``column`` (`Column`), ``state``: done, infeasible, failed, missing (the plan holds cells that
        were not run, maybe here) or absent (the grid has no such cell); ``mean, sd, low, high`` (95 % interval over
        seeds), ``n`` (seeds with a number), ``planned`` (seeds that could have one), ``reason`` and ``tied`` (whether
        it cannot be told from the best of its column: `bench.comparisons`). Aggregators in the page's order, columns in
        reading order; every aggregator under every column.
    """
    facts = (page.rows, page.settings, page.levels, page.backdoors, page.unknown, shown, tuple(attacks))
    made = _SQUARES.of(tidy, (page.cells,), facts, lambda: _squares(page, tidy, shown, attacks))
    return made.copy()


def _squares(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> pd.DataFrame:
    cells, columns = _placed(page, tidy, shown, attacks)
    values = cells.by_seed(len(columns), len(page.rows))
    numbers = _statements(page, cells, values)
    equal = tied(values, shown.higher_is_better)
    numbers["tied"] = [(c, r) in equal for r, c in np.ndindex(len(page.rows), len(columns))]
    rules, places = zip(*product(page.rows, columns), strict=True) if columns else ((), ())
    return pd.DataFrame({"aggregator": rules, "column": pd.Series(places, dtype=object), **numbers})


def by_seed(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> tuple[Numbers, list[Column]]:
    """What stands behind `squares`: numbers ``(columns, rules, seeds)``, NaN where there is none; and the columns."""
    cells, columns = _placed(page, tidy, shown, attacks)
    return cells.by_seed(len(columns), len(page.rows)), columns


@dataclass(frozen=True)
class _Cells:
    """Cells with their places, one entry a cell: ``column`` and ``rule`` are codes, ``value`` NaN where unknown."""

    column: NDArray[np.int64]
    rule: NDArray[np.int64]
    seed: NDArray[np.int64]
    value: Numbers
    status: NDArray[np.object_]
    reason: NDArray[np.object_]

    def by_seed(self, columns: int, rules: int) -> Numbers:
        """Numbers ``(columns, rules, seeds)``."""
        return seed_table(self.column, self.rule, self.seed, self.value, (columns, rules))


_CELL = ("key", "twin", "status", "reason", "aggregator", "attack", "seed", "mapping")


def _placed(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> tuple[_Cells, list[Column]]:
    """Cells with their value and column, the clean ones first; and the columns in reading order."""
    kind = "none" if shown.clean is None else "by map" if shown.needs_mapping else "plain"  # of clean cells
    facts = (page.rows, page.settings, page.levels, page.backdoors, kind, tuple(attacks))
    cells, columns, clean, attacked = _LAYOUTS.of(
        tidy, (page.cells,), facts, lambda: _layout(page, tidy, shown, attacks)
    )
    value = np.concatenate([_found(tidy, shown.clean, clean), _found(tidy, shown.name, attacked)])
    return replace(cells, value=value), columns


def _layout(
    page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]
) -> tuple[_Cells, list[Column], NDArray[np.intp], NDArray[np.intp]]:
    """Cells without values; the columns; rows of the tidy frame of the clean cells, and of the attacked ones."""
    cells = page.cells[list(dict.fromkeys([*_CELL, *page.settings, *page.levels]))].reset_index(drop=True)
    at = pd.Index(tidy["key"]).get_indexer(pd.Index(cells["key"]))
    attacked = cells[cells["attack"].isin(list(attacks))]
    clean = _clean_cells(page, cells, attacked, shown)
    both = pd.concat([clean, attacked])
    codes, found = _coded(both, ("attack", *page.settings, *page.levels))
    cut = 1 + len(page.settings)
    own = [Column(v[0], v[1:cut], () if v[0] == CLEAN else v[cut:]) for v in found]
    columns = sorted(dict.fromkeys(own), key=lambda c: _reading_order(c, attacks))
    code = {c: i for i, c in enumerate(columns)}
    return (
        _Cells(
            np.array([code[c] for c in own], dtype=np.int64)[codes],
            pd.Index(page.rows).get_indexer(pd.Index(both["aggregator"])).astype(np.int64),
            both["seed"].to_numpy(dtype=np.int64),
            np.empty(0),
            both["status"].to_numpy(dtype=object),
            both["reason"].to_numpy(dtype=object),
        ),
        columns,
        at[clean.index],
        at[attacked.index],
    )


def _found(tidy: pd.DataFrame, name: str | None, at: NDArray[np.intp]) -> Numbers:
    """A column of the tidy frame at some places; NaN where the place is -1."""
    if name is None or not len(tidy):
        return np.full(len(at), np.nan)
    return np.where(at >= 0, tidy[name].to_numpy(dtype=np.float64)[at], np.nan)


def columns_of(table: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of `squares`, in reading order."""
    return tuple(dict.fromkeys(table["column"]))


def _clean_cells(page: Page, cells: pd.DataFrame, attacked: pd.DataFrame, shown: Measure) -> pd.DataFrame:
    """The cells of the clean column: twins of the attacked ones, else every clean cell.

    Where the measure needs a class map, the attacked cells themselves: the twin's number depends on the map.
    """
    if shown.clean is None:
        return cells.iloc[:0]
    if shown.needs_mapping:
        return (
            attacked[~attacked["attack"].isin(page.backdoors)].drop_duplicates(["twin", "mapping"]).assign(attack=CLEAN)
        )
    clean = cells["attack"] == CLEAN
    twins = set(cells.loc[~clean, "twin"])
    return cells[clean & cells["key"].isin(twins)] if twins else cells[clean]


def _statements(page: Page, cells: _Cells, values: Numbers) -> dict[str, Any]:
    """What each square says of its cells, as columns of `squares`: rules down, columns across."""
    columns, rules, _ = values.shape
    mean, sd, n = (part.T.ravel() for part in moments(values))
    low, high = (end.T.ravel() for end in student_interval(values))
    square, total = cells.rule * columns + cells.column, columns * rules
    refused, failed = cells.status == "infeasible", cells.status == "failed"
    there = np.bincount(square, minlength=total) > 0
    seeds, seed = np.unique(cells.seed, return_inverse=True)
    able = np.zeros((total, len(seeds)), dtype=bool)  # seeds that could have a number
    able[square[~refused], seed[~refused]] = True
    planned = able.sum(-1)
    some_failed = np.bincount(square[failed], minlength=total) > 0
    states = np.full(total, "missing" if page.unknown else "absent", dtype=object)
    # Run, but without a number: no test example of the class, or no class map.
    states[there] = np.where(some_failed, "failed", "undefined")[there]
    states[there & (planned == 0)] = "infeasible"
    states[n > 0] = "done"
    reasons: list[str | None] = [None] * total
    for place, why in zip(square[refused][::-1].tolist(), cells.reason[refused][::-1], strict=True):
        reasons[place] = str(why) if states[place] == "infeasible" else None
    counts = {"n": n, "planned": planned, "reason": pd.Series(reasons, dtype=object)}
    return {"state": states, "mean": mean, "sd": sd, "low": low, "high": high, **counts}


def _reading_order(column: Column, attacks: Sequence[str]) -> tuple[Any, ...]:
    place = -1 if column.clean else list(attacks).index(column.attack)
    return (reading_values(column.setting), place, reading_values(column.level))


def reading_values(values: Values) -> tuple[tuple[int, float, str], ...]:
    """A sorting key: nothing, then numbers, then text."""
    return tuple(
        (0, 0.0, "") if is_nothing(v) else (1, float(v), "") if isinstance(v, int | float) else (2, 0.0, str(v))
        for v in values
    )


def level_values(cells: pd.DataFrame, facts: Sequence[str]) -> list[Values]:
    """The values of some facts, a tuple a cell, as `Column` has them."""
    codes, found = _coded(cells, facts)
    return [found[code] for code in codes.tolist()]


def _coded(cells: pd.DataFrame, facts: Sequence[str]) -> tuple[NDArray[np.int64], list[Values]]:
    """Which of the distinct values of some facts each cell has, and those values, in order of appearance."""
    codes = np.zeros(len(cells), dtype=np.int64)
    for fact in facts:
        own, values = pd.factorize(cells[fact], use_na_sentinel=False)
        codes = pd.factorize(codes * max(1, len(values)) + own)[0].astype(np.int64)
    first = np.unique(codes, return_index=True)[1]
    if not facts:
        return codes, [()] * len(first)
    columns = ([_plain(v) for v in cells[fact].iloc[first]] for fact in facts)
    return codes, list(zip(*columns, strict=True))


def _plain(value: Any) -> Any:
    """A Python value of a pandas one; None for nothing, so that equal facts are equal keys; 3.0 is 3."""
    if is_nothing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _varies(column: pd.Series[Any]) -> bool:
    return len({_plain(v) for v in pd.unique(column)}) > 1


def declared_is_true(cells: pd.DataFrame) -> bool:
    """Whether every f follows from the number of malicious clients (as by default)."""
    names = ["malicious_count", "clients", "clients_per_round", "malicious_data", "declared_byzantine"]
    alike = cells[names].drop_duplicates()
    return all(int(row["declared_byzantine"]) == expected_malicious(row) for row in alike.to_dict("records"))
