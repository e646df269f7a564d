"""Which number stands where: aggregators down; attacks and the facts that vary across; the clean twins first.

Tables and heatmaps draw the same squares. A square is one aggregator under one column, over all seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.columns import Column, Values, coded, reading_values
from flipbench.analysis.comparisons import seed_table, tied
from flipbench.analysis.frame_cache import Remembered
from flipbench.analysis.metric_columns import MetricColumn, why_undefined
from flipbench.analysis.pages import Page
from flipbench.analysis.statistics import Values as Numbers
from flipbench.analysis.statistics import moments, student_interval
from flipbench.spec.cell import CLEAN

_LAYOUTS, _SQUARES = Remembered(), Remembered()


def squares(
    page: Page, tidy: pd.DataFrame, shown: MetricColumn, attacks: Sequence[str], among: Collection[Column] | None = None
) -> pd.DataFrame:
    """The numbers of some attacks, one row a square, clean twins first.

    Args:
        page: whose cells.
        tidy: of `analysis.metrics.evaluate`.
        shown: what to show.
        attacks: references; only one where the measure needs a mapping, which its clean value depends on.
        among: attacked columns of a table that shows these alone: its clean columns hold their twins. None: all. What
            cannot be told from the best is found among all of them either way.

    Returns:
        ``aggregator``, ``column`` (`Column`), ``state``: done, infeasible, failed, undefined (no such number here),
        missing (the plan holds cells that were not run, maybe here) or absent (the grid has no such cell);
        ``mean, sd, low, high`` (95 % interval over seeds), ``n`` (seeds with a number), ``planned`` (seeds that could
        have one), ``reason`` (why infeasible or undefined), ``told`` (of a clean square: the declared f of its cells),
        ``remark`` (of a clean square whose rule refuses some of them) and ``tied`` (whether it cannot be told from the
        best of its column: `analysis.comparisons`). Aggregators in the page's order, columns in reading order; every
        aggregator under every column.
    """
    some = None if among is None else frozenset(among)
    facts = (page.rows, page.settings, page.levels, page.backdoors, page.unknown, shown, tuple(attacks), some)
    made = _SQUARES.of(tidy, (page.cells,), facts, lambda: _squares(page, tidy, shown, attacks, some))
    return made.copy()


def several_f(table: pd.DataFrame) -> tuple[int, ...]:
    """The declared f over which a clean column of `squares` is averaged; empty where each holds a single one."""
    found: set[int] = set()
    for _, of_column in table.loc[table["told"].map(len) > 0].groupby("column", sort=False)["told"]:
        own = set().union(*of_column)
        found |= own if len(own) > 1 else set()
    return tuple(sorted(found))


def _squares(
    page: Page, tidy: pd.DataFrame, shown: MetricColumn, attacks: Sequence[str], among: frozenset[Column] | None
) -> pd.DataFrame:
    cells, columns = _placed(page, tidy, shown, attacks, among)
    values = cells.by_seed(len(columns), len(page.rows))
    numbers = _statements(page, shown, cells, values, np.array([c.clean for c in columns], dtype=bool))
    equal = tied(values, shown.higher_is_better)
    numbers["tied"] = [(c, r) in equal for r, c in np.ndindex(len(page.rows), len(columns))]
    rules, places = zip(*product(page.rows, columns), strict=True) if columns else ((), ())
    table = pd.DataFrame({"aggregator": rules, "column": pd.Series(places, dtype=object), **numbers})
    if among is None:
        return table
    settings = {c.setting for c in among}
    shows = [c in among or (c.clean and c.setting in settings) for c in columns]
    return table[shows * len(page.rows)].reset_index(drop=True)


def by_seed(
    page: Page, tidy: pd.DataFrame, shown: MetricColumn, attacks: Sequence[str]
) -> tuple[Numbers, list[Column]]:
    """What stands behind `squares`: numbers ``(columns, rules, seeds)``, NaN where there is none; and the columns."""
    cells, columns = _placed(page, tidy, shown, attacks)
    return cells.by_seed(len(columns), len(page.rows)), columns


@dataclass(frozen=True)
class _Cells:
    """Cells with their places, one entry a cell: ``column`` and ``rule`` are codes, ``value`` NaN where unknown,
    ``row`` and ``cell`` their places in the tidy frame (-1: none) and on the page, ``f`` what the rule was told,
    ``twin`` a number that a clean cell shares with the attacked ones whose twin it is."""

    column: NDArray[np.int64]
    rule: NDArray[np.int64]
    seed: NDArray[np.int64]
    value: Numbers
    status: NDArray[np.object_]
    reason: NDArray[np.object_]
    row: NDArray[np.intp]
    cell: NDArray[np.int64]
    f: NDArray[np.int64]
    twin: NDArray[np.int64]

    def some(self, which: NDArray[np.bool_]) -> _Cells:
        """Those of them that are wanted."""
        return _Cells(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def by_seed(self, columns: int, rules: int) -> Numbers:
        """Numbers ``(columns, rules, seeds)``."""
        return seed_table(self.column, self.rule, self.seed, self.value, (columns, rules))


_CELL = ("key", "twin", "status", "reason", "aggregator", "attack", "seed", "mapping", "declared_byzantine")


def _placed(
    page: Page, tidy: pd.DataFrame, shown: MetricColumn, attacks: Sequence[str], among: frozenset[Column] | None = None
) -> tuple[_Cells, list[Column]]:
    """Cells with their value and column, the clean ones first; and the columns in reading order."""
    kind = "none" if shown.clean is None else "by map" if shown.needs_mapping else "plain"  # of clean cells
    facts = (page.rows, page.settings, page.levels, page.backdoors, kind, tuple(attacks))
    cells, columns, clean = _LAYOUTS.of(tidy, (page.cells,), facts, lambda: _layout(page, tidy, shown, attacks))
    value = [_found(tidy, shown.clean, cells.row[:clean]), _found(tidy, shown.name, cells.row[clean:])]
    cells = replace(cells, value=np.concatenate(value))
    if among is not None:
        telling = np.array([c in among for c in columns], dtype=bool)[cells.column]
        there = np.isin(cells.twin, cells.twin[telling])
        there[clean:] = True
        cells = cells.some(there)
    return cells, columns


def _layout(
    page: Page, tidy: pd.DataFrame, shown: MetricColumn, attacks: Sequence[str]
) -> tuple[_Cells, list[Column], int]:
    """Cells without values; the columns; how many cells are clean ones, which stand first."""
    cells = page.cells[list(dict.fromkeys([*_CELL, *page.settings, *page.levels]))].reset_index(drop=True)
    at = pd.Index(tidy["key"]).get_indexer(pd.Index(cells["key"]))
    attacked = cells[cells["attack"].isin(list(attacks))]
    clean = _clean_cells(page, cells, attacked, shown)
    both = pd.concat([clean, attacked])
    codes, found = coded(both, ("attack", *page.settings, *page.levels))
    own = [_column(page, values) for values in found]
    columns = sorted(dict.fromkeys(own), key=lambda c: _reading_order(page, c, attacks))
    code = {c: i for i, c in enumerate(columns)}
    return (
        _Cells(
            np.array([code[c] for c in own], dtype=np.int64)[codes],
            pd.Index(page.rows).get_indexer(pd.Index(both["aggregator"])).astype(np.int64),
            both["seed"].to_numpy(dtype=np.int64),
            np.full(len(both), np.nan),
            both["status"].to_numpy(dtype=object),
            both["reason"].to_numpy(dtype=object),
            at[both.index],
            both.index.to_numpy(dtype=np.int64),
            both["declared_byzantine"].to_numpy(dtype=np.int64),
            coded(both, ("twin", "mapping") if shown.needs_mapping else ("twin",))[0],
        ),
        columns,
        len(clean),
    )


def _column(page: Page, values: Values) -> Column:
    """The column of an attack with the values of the page's settings and levels behind it."""
    cut = 1 + len(page.settings)
    return Column(values[0], values[1:cut], () if values[0] == CLEAN else values[cut:])


def _found(tidy: pd.DataFrame, name: str | None, at: NDArray[np.intp]) -> Numbers:
    """A column of the tidy frame at some places; NaN where the place is -1."""
    if name is None or not len(tidy):
        return np.full(len(at), np.nan)
    return np.where(at >= 0, tidy[name].to_numpy(dtype=np.float64)[at], np.nan)


def _clean_cells(page: Page, cells: pd.DataFrame, attacked: pd.DataFrame, shown: MetricColumn) -> pd.DataFrame:
    """The cells of the clean column: twins of the attacked ones, else (where there are none) of the page's, else every
    clean cell.

    Where the measure needs a class map, the attacked cells themselves: the twin's number depends on the map.
    """
    if shown.clean is None:
        return cells.iloc[:0]
    if shown.needs_mapping:
        own = attacked[~attacked["attack"].isin(page.backdoors)].drop_duplicates(["twin", "mapping"])
        f = own["twin"].map(cells.set_index("key")["declared_byzantine"]).fillna(own["declared_byzantine"])
        return own.assign(attack=CLEAN, declared_byzantine=f)
    clean = cells["attack"] == CLEAN
    twins = set(attacked["twin"] if len(attacked) else cells.loc[~clean, "twin"])
    return cells[clean & cells["key"].isin(twins)] if twins else cells[clean]


def _statements(
    page: Page, shown: MetricColumn, cells: _Cells, values: Numbers, clean: NDArray[np.bool_]
) -> dict[str, Any]:
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
    for place in np.flatnonzero(states == "undefined").tolist():
        mine = cells.cell[(square == place) & (cells.row >= 0)]
        if len(mine):
            cell = {name: page.cells[name].iat[int(mine[0])] for name in ("confusion", "mapping", "classes", "stamped")}
            reasons[place] = why_undefined(shown, cell, bool(clean[place % columns]))
    told, remarks = _told(cells, square, clean[cells.column], ~refused, total)
    counts = {"n": n, "planned": planned, "reason": pd.Series(reasons, dtype=object)}
    counts |= {"told": pd.Series(told, dtype=object), "remark": pd.Series(remarks, dtype=object)}
    return {"state": states, "mean": mean, "sd": sd, "low": low, "high": high, **counts}


def _told(
    cells: _Cells, square: NDArray[np.int64], clean: NDArray[np.bool_], able: NDArray[np.bool_], total: int
) -> tuple[list[tuple[int, ...]], list[str | None]]:
    """Of each square its clean cells' declared f, and what to say where the rule refuses some of them."""
    asked: list[tuple[int, ...]] = [()] * total
    met: list[tuple[int, ...]] = [()] * total
    for found, which in ((asked, clean), (met, clean & able)):
        for place, f in np.unique(np.stack([square[which], cells.f[which]]), axis=1).T.tolist():
            found[place] = (*found[place], f)
    remarks: list[str | None] = [None] * total
    for place, (every, some) in enumerate(zip(asked, met, strict=True)):
        remarks[place] = refusal(every, some)
    return asked, remarks


def refusal(every: Sequence[int], some: Sequence[int]) -> str | None:
    """What a clean square says whose rule meets some of the declared f and refuses others."""
    if not some or len(some) == len(every):
        return None
    refused = ", ".join(str(f) for f in every if f not in some)
    return f"over f {', '.join(map(str, some))} alone: the rule refuses {refused}"


def _reading_order(page: Page, column: Column, attacks: Sequence[str]) -> tuple[Any, ...]:
    place = -1 if column.clean else list(attacks).index(column.attack)
    return (reading_values(column.setting, page.settings), place, reading_values(column.level, page.levels))
