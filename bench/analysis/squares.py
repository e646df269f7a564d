"""What the squares of a table say of their cells: the state, the mean over seeds and its interval, best, tied, worst.

A square is one row (an aggregator, mostly) under one column, over all seeds. Arrays are ``(columns, rows)``, and
``(columns, rows, seeds)`` where the seeds are still apart. Tables, figures, the report page and a table of one's own
read these numbers; none of them decides any of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import caveats, statistics
from flipbench.analysis.comparisons import seed_table, tied
from flipbench.analysis.statistics import Values

DONE, INFEASIBLE, FAILED, MISSING, UNDEFINED, ABSENT = STATES = (
    *("done", "infeasible", "failed"),
    *("missing", "undefined", "absent"),
)
BEST, TIED = "best", "tied"  # marks
DECIMALS = 1  # of per cent, as numbers are shown: more is less than the spread between seeds

Places = NDArray[np.int64]
Objects = NDArray[np.object_]
Mask = NDArray[np.bool_]
Shape = tuple[int, int]  # columns, rows


@dataclass(frozen=True)
class Cells:
    """Cells in their squares, one entry a cell; a cell stands in several where others share it as their clean twin.

    Attributes:
        column, row: codes of its square.
        seed: of the cell.
        status, reason: of its record.
        declared_f: what the rule was told.
        clean: whether it stands for clean twins.
        caveat: what must be known of it (`caveats.Caveat`).
    """

    column: Places
    row: Places
    seed: Places
    status: Objects
    reason: Objects
    declared_f: Places
    clean: Mask
    caveat: Objects

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        column: Places,
        row: Places,
        declared_f: Places | None = None,
        clean: Mask | None = None,
    ) -> Cells:
        """Cells of a frame that has their seed, status, reason and what `analysis.caveats` reads.

        Args:
            frame: one row a cell.
            column, row: codes of their squares.
            declared_f: what the rules were told; None: what the frame says.
            clean: which stand for clean twins; None: none.
        """
        declared = frame["declared_byzantine"].to_numpy(dtype=np.int64) if declared_f is None else declared_f
        status, reason = (frame[name].to_numpy(dtype=object) for name in ("status", "reason"))
        none = np.zeros(len(frame), dtype=bool)
        seed = frame["seed"].to_numpy(dtype=np.int64)
        clean = none if clean is None else clean
        return cls(column, row, seed, status, reason, declared, clean, caveats.of_cells(frame))

    def silent(self, shape: Shape) -> Mask:
        """Squares with a finished cell whose model gave no prediction for some test image, ``(columns, rows)``."""
        found = np.zeros(shape, dtype=bool)
        without = np.array([bool(c.no_prediction) for c in self.caveat], dtype=bool) & (self.status == DONE)
        found[self.column[without], self.row[without]] = True
        return found

    def by_seed(self, value: Values, shape: Shape) -> Values:
        """A number a cell as ``(columns, rows, seeds)``: `analysis.comparisons.seed_table`."""
        return seed_table(self.column, self.row, self.seed, value, shape)


@dataclass(frozen=True)
class Standing:
    """What squares say of their cells, whatever the metric.

    Attributes:
        state: of a square without a number: infeasible (its rule refuses every cell), failed (some cell), undefined
            (run, but there is no such number), missing (the plan holds cells that were not run, maybe here) or absent
            (the grid has no such cell).
        planned: seeds that could have a number.
        reason: why it is infeasible; None elsewhere.
        declared_f: of a square of clean twins: what its cells were told, ascending; empty elsewhere.
        remark: of a square of clean twins whose rule refuses some of these; None elsewhere.
        caveat: what must be known of its cells, in words (`analysis.caveats.text`); None where there is nothing.
    """

    state: Objects
    planned: Places
    reason: Objects
    declared_f: Objects
    remark: Objects
    caveat: Objects


@dataclass(frozen=True)
class Numbers:
    """One metric in every square.

    Attributes:
        mean, sd, low, high: over seeds, with the 95 % interval of `statistics.interval`; NaN where there is
            none.
        n: seeds with a number.
        tied: whether it cannot be told from the best of its column (`analysis.comparisons.tied`).
        partial: whether it lacks seeds that another of its column has: a mean over something else, no rival of theirs.
    """

    mean: Values
    sd: Values
    low: Values
    high: Values
    n: Places
    tied: Mask
    partial: Mask

    def names(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Worst:
    """The worst of several columns, ``(rows,)`` each.

    Attributes:
        column: where the mean is worst, the first of equals; -1 where there is no number.
        known: columns in which the row has a number.
        asked: columns in which any row has one.
        fewest: the column in which seeds are missing that another row has, the fewest seeds first; -1 for none.
        most: the seeds that another row has there.
        partial: whether the row lacks columns or seeds that another row has: its worst may be yet to come.
    """

    column: Places
    known: Places
    asked: int
    fewest: Places
    most: Places
    partial: Mask


def standing(cells: Cells, shape: Shape, *, unknown: bool = False) -> Standing:
    """States of squares.

    Args:
        cells: in their squares.
        shape: how many columns and rows there are.
        unknown: whether the plan has cells of which nothing is known, so that any empty square may be theirs.
    """
    columns, rows = shape
    square, total = cells.column * rows + cells.row, columns * rows
    refused, failed = cells.status == INFEASIBLE, cells.status == FAILED
    seeds, seed = np.unique(cells.seed, return_inverse=True)
    able = np.zeros((total, max(1, len(seeds))), dtype=bool)
    able[square[~refused], seed[~refused]] = True
    planned = able.sum(-1)
    there = np.bincount(square, minlength=total) > 0
    state = np.full(total, MISSING if unknown else ABSENT, dtype=object)
    state[there] = UNDEFINED
    state[np.bincount(square[failed], minlength=total) > 0] = FAILED
    state[there & (planned == 0)] = INFEASIBLE
    reason = refusals(cells, shape).ravel()
    reason[state != INFEASIBLE] = None
    asked = _declared(square, cells.declared_f, cells.clean, total)
    met = _declared(square, cells.declared_f, cells.clean & ~refused, total)
    remark = np.array([refusal(*both) for both in zip(asked, met, strict=True)], dtype=object)
    each: tuple[Any, ...] = (state, planned, reason, asked, remark, caveat_texts(cells, shape))
    return Standing(*(array.reshape(shape) for array in each))


def caveat_texts(cells: Cells, shape: Shape) -> Objects:
    """What must be known of the finished cells of each square, ``(columns, rows)``."""
    square, total = cells.column * shape[1] + cells.row, shape[0] * shape[1]
    found = np.full(total, None, dtype=object)
    marked = np.array([c != caveats.NOTHING for c in cells.caveat], dtype=bool) & (cells.status == DONE)
    behind = np.bincount(square[cells.status == DONE], minlength=total)
    for place in np.unique(square[marked]):
        found[place] = caveats.text(cells.caveat[marked & (square == place)].tolist(), int(behind[place]))
    return found.reshape(shape)


def refusals(cells: Cells, shape: Shape) -> Objects:
    """Why the first refused cell of each square is infeasible; None where none is, ``(columns, rows)``."""
    found = np.full(shape, None, dtype=object)
    for place in np.flatnonzero(cells.status == INFEASIBLE)[::-1]:  # the first remains
        found[cells.column[place], cells.row[place]] = str(cells.reason[place])
    return found


def _declared(square: Places, declared_f: Places, which: Mask, total: int) -> Objects:
    """The distinct declared f of some cells of each square, ascending."""
    found = np.empty(total, dtype=object)
    found[:] = [()] * total
    for place, f in np.unique(np.stack([square[which], declared_f[which]]), axis=1).T.tolist():
        found[place] = (*found[place], f)
    return found


def refusal(asked: Sequence[int], met: Sequence[int]) -> str | None:
    """What a clean square says whose rule meets some of the declared f and refuses others."""
    if not met or len(met) == len(asked):
        return None
    refused = ", ".join(str(f) for f in asked if f not in met)
    return f"over f {', '.join(map(str, met))} alone: the rule refuses {refused}"


def numbers(
    values: Values,
    higher_is_better: bool,
    silent: Mask,
    families: Sequence[Sequence[int]] | None = None,
    bounds: statistics.Bounds = statistics.UNBOUNDED,
) -> Numbers:
    """Means over seeds and their claims.

    Args:
        values: ``(columns, rows, seeds)``.
        higher_is_better: of the values.
        silent: `Cells.silent`; these are no rivals: a model that predicts nothing has no attack success either.
        families: columns of each table that makes claims of its own; None: all columns are one table.
        bounds: between which any value lies.
    """
    equal, over = np.zeros(values.shape[:2], dtype=bool), statistics.over_seeds(values, bounds)
    partial = (over["n"] > 0) & (over["n"] < over["n"].max(1, keepdims=True, initial=0))
    for columns in [range(len(values))] if families is None else families:
        own = values[list(columns)]
        own = own[..., ~np.isnan(own).all((0, 1))]  # seeds that other tables have
        for column, row in tied(own, higher_is_better, ~(partial | silent)[list(columns)]):
            equal[columns[column], row] = True
    return Numbers(**over, tied=equal, partial=partial)


def marks(mean: Values, equal: Mask, higher_is_better: bool, no_rival: Mask) -> Objects:
    """`BEST` for the best of each column and all that show the same number, `TIED` for what cannot be told from it.

    Args:
        mean: NaN where there is no number; a column with a single one has nothing to choose.
        equal: what cannot be told from the best.
        higher_is_better: of the means.
        no_rival: what lacks seeds or attacks that others have, or predictions (`Cells.silent`).
    """
    found = np.full(mean.shape, None, dtype=object)
    rival = ~np.isnan(mean) & ~no_rival
    for column in np.flatnonzero(rival.sum(-1) > 1):
        rows = np.flatnonzero(rival[column])
        shown = {row: per_cent(value) for row, value in zip(rows.tolist(), mean[column, rows].tolist(), strict=True)}
        best = (max if higher_is_better else min)(shown.values())
        for row, value in shown.items():
            found[column, row] = BEST if value == best else TIED if equal[column, row] else None
    return found


def per_cent(share: float, decimals: int = DECIMALS) -> float:
    """A share in per cent, rounded as it is shown, here alone; no negative zero."""
    return round(100 * float(share), decimals) + 0.0


def worst_of(mean: Values, n: Places, columns: Sequence[int], higher_is_better: bool) -> Worst:
    """The column in which each row is worst.

    Args:
        mean: ``(columns, rows)``; NaN where there is no number.
        n: seeds behind it.
        columns: which to choose among.
        higher_is_better: of the means.
    """
    own, seeds, which = mean[list(columns)], n[list(columns)], np.array(columns, dtype=np.int64)
    if not len(which):
        nothing = np.full(mean.shape[1], -1, dtype=np.int64)
        return Worst(nothing, nothing + 1, 0, nothing, nothing + 1, nothing > 0)
    score = np.where(seeds > 0, own if higher_is_better else -own, np.inf)
    there, most = seeds > 0, seeds.max(1, keepdims=True)
    short = there & (seeds < most)
    fewest = np.where(short, seeds, np.iinfo(np.int64).max).argmin(0)
    lacks = (~there & (most > 0)).any(0)
    return Worst(
        np.where(there.any(0), which[score.argmin(0)], -1),
        there.sum(0),
        int((most > 0).sum()),
        np.where(short.any(0), which[fewest], -1),
        most[fewest, 0],
        there.any(0) & (lacks | short.any(0)),
    )
