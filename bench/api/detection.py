"""How many seeds a grid needs to show a difference: from finished pilot seeds, or from a stated spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import isfinite
from operator import attrgetter
from pathlib import Path

import numpy as np

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.comparisons import tests_of
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pivot import pivots
from flipbench.analysis.seeds import power
from flipbench.analysis.statistics import LEVEL
from flipbench.errors import UserError
from flipbench.execution.progress import counted
from flipbench.grid.reader import Grid, contents
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.key import key_of_normal
from flipbench.store.store import Store

_SHARES = (("half of the comparisons", 0.5), ("80 % of the comparisons", 0.8), ("all comparisons", 1.0))
_column = attrgetter(*(f for f in FIELDS if f not in {"aggregator", "seed"}))


@dataclass(frozen=True, repr=False)
class TableSeeds:
    """The seeds that one table needs.

    Attributes:
        about: what tells it from other tables of the grid; empty for an only one.
        comparisons: that are corrected together.
        needed: seeds for each of them, ascending; `power.MOST` + 1 where more than `power.MOST`.
        careful: the same with the upper 80 % limit of the spreads; None where the spread was stated.
        pilot: the fewest and the most seeds that a spread was measured over; None where it was stated.
        seeds: of the grid.
    """

    about: str
    comparisons: int
    needed: tuple[int, ...]
    careful: tuple[int, ...] | None
    pilot: tuple[int, int] | None
    seeds: int

    def seeds_for(self, share: float = 0.8) -> int:
        """Seeds with which this share of the comparisons can show the difference."""
        return _quantile(self.needed, share)

    @property
    def enough(self) -> int:
        """How many comparisons the grid's seeds suffice for."""
        return sum(n <= self.seeds for n in self.needed)


@dataclass(frozen=True, repr=False)
class Detection:
    """The seeds that a grid needs for a difference; prints as ``flipbench plan --detect`` does.

    Attributes:
        difference: in points.
        metric: its label.
        tables: one a table with claims of its own.
    """

    difference: float
    metric: str
    tables: tuple[TableSeeds, ...]

    @property
    def seeds(self) -> int:
        """Seeds with which 80 % of the comparisons of every table can show the difference."""
        return max(table.seeds_for() for table in self.tables)

    def __repr__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def detect(
    grid: Grid, folder: Path, difference: float, metric: str = "accuracy", spread: float | None = None
) -> Detection:
    """How many seeds show a difference between two rules with a power of 80 %.

    Args:
        grid: whose comparisons; its seeds do not matter.
        folder: of its results, whose seeds are the pilot.
        difference: in points, above 0.
        metric: ``accuracy``, another metric, or one with ``_damage``.
        spread: in points: the standard deviation over seeds of the difference between two rules; None: of the pilot.

    Raises:
        UserError: a number out of range, no such metric, a single rule, or no pilot.
    """
    for name, value in (("the difference to detect", difference), ("the spread", spread)):
        if value is not None and not (isfinite(value) and 0 < value <= 100):
            raise UserError(f"{name} is in points, above 0 and at most 100, got {value:g}")
    shown = metric_column(metric)
    tables = _stated(grid, difference, spread) if spread is not None else _piloted(grid, folder, difference, shown)
    return Detection(difference, shown.label[0].lower() + shown.label[1:], tables)


def _stated(grid: Grid, difference: float, spread: float) -> tuple[TableSeeds, ...]:
    pages: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        pages.setdefault((cell.dataset, cell.partition), []).append(cell)
    found = []
    for about, cells in pages.items():
        columns = len({_column(c) for c in cells if c.attacked}) + 1  # and the clean one
        tests = tests_of(columns, len({c.aggregator for c in cells}))
        if tests:
            needed = int(power.seeds_needed(difference, spread, LEVEL / tests))
            name = ", ".join(about) if len(pages) > 1 else ""
            found.append(TableSeeds(name, tests, (needed,) * tests, None, None, len({c.seed for c in cells})))
    if not found:
        raise UserError(f"{grid.name} has a single aggregator, so there is nothing to compare")
    return tuple(found)


def _piloted(grid: Grid, folder: Path, difference: float, shown: MetricColumn) -> tuple[TableSeeds, ...]:
    advice = f"run some seeds first, like flipbench run {grid.name} --set 'seed=[0, 1, 2, 3]', or state a --spread"
    if not Store(folder).has_plan():
        raise UserError(f"{folder} holds no finished seeds of {grid.name} to measure the spread over: {advice}")
    frame = frames.load(folder)
    known = frame["seed"].dropna()
    seeds = sorted({*map(int, known), *(c.seed for c in grid.cells)})
    alike = dict.fromkeys(replace(cell, seed=0) for cell in grid.cells)
    wanted = {key_of_normal(cell, contents(cell)) for base in alike for cell in (replace(base, seed=s) for s in seeds)}
    frame = frame[frame["key"].isin(wanted)].reset_index(drop=True)
    spreads = []
    if len(frame) and (frame["status"] == "done").any():
        spreads = power.pilot_spreads(pivots(frame, metrics.evaluate(frame)), shown)
    if not spreads:
        raise UserError(
            f"{folder} holds no two finished seeds of {grid.name} with two rules that have a number of "
            f"{shown.name}: {advice}"
        )
    planned = len({c.seed for c in grid.cells})
    return tuple(_table(s, difference, planned) for s in spreads)


def _table(of: power.Spreads, difference: float, planned: int) -> TableSeeds:
    tests, share = len(of.spread), difference / 100
    needed, careful = (
        tuple(sorted(power.seeds_needed(share, spread, LEVEL / tests).tolist()))
        for spread in (of.spread, power.upper_spread(of.spread, of.seeds))
    )
    return TableSeeds(", ".join(of.about), tests, needed, careful, (int(of.seeds.min()), int(of.seeds.max())), planned)


def _quantile(needed: Sequence[int], share: float) -> int:
    return needed[max(0, int(np.ceil(share * len(needed))) - 1)]


def _lines(found: Detection) -> Iterator[str]:
    points = f"{found.difference:g} point{'s' * (found.difference != 1)}"
    yield f"seeds to claim a difference of {points} in {found.metric} with a power of 80 %:"
    for table in found.tables:
        yield from ([f" {table.about}"] if table.about else [])
        if table.careful is None or table.pilot is None:
            yield f"  {_number(table.needed[0])} for each of {counted(table.comparisons, 'comparison')}"
        else:
            for name, share in _SHARES:
                careful = _number(_quantile(table.careful, share))
                yield f"  {name:<24} {_number(_quantile(table.needed, share)):>5}   (careful: {careful})"
            low, high = table.pilot
            pilot = f"{low}" if low == high else f"{low} to {high}"
            yield f"  spreads measured over {pilot} stored seeds; careful: with their upper 80 % limits"
        enough = f"{table.enough} of {counted(table.comparisons, 'comparison')}"
        yield f"  this grid has {counted(table.seeds, 'seed')}: enough for {enough}"
    yield (
        "  (paired t test at 0.05 / number of comparisons, the first step of Holm's correction, so the power holds "
        "however the other comparisons turn out)"
    )


def _number(seeds: int) -> str:
    return f"{seeds}" if seeds <= power.MOST else f"more than {power.MOST}"
