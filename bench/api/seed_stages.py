"""A sequential run in stages: all cells of the first seeds, then seed by seed those that undecided comparisons need.

What the next stage has follows from the stored results of the stages before, in the order of the seeds. So it is the
same wherever the run was interrupted and however many workers it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics, statistics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.analysis.seeds import race
from flipbench.execution.progress import counted
from flipbench.execution.runner import Outcome
from flipbench.grid.reader import Grid, contents
from flipbench.spec.cell import Cell
from flipbench.spec.key import key_of_normal
from flipbench.store.store import Store

_SETTLED = ("done", "infeasible")


@dataclass(frozen=True)
class Look:
    """What was found after some seeds.

    Attributes:
        seeds: of the look.
        decided: comparisons that are decided.
        compared: all comparisons.
        keys: of the cells of the first seed whose experiments go on.
    """

    seeds: int
    decided: int
    compared: int
    keys: frozenset[str]

    def __str__(self) -> str:
        told = f"after {counted(self.seeds, 'seed')}: {self.decided} of {self.compared} comparisons are decided; "
        if self.keys:
            return told + f"{counted(len(self.keys), 'experiment')} {'goes' if len(self.keys) == 1 else 'go'} on"
        return told + ("the run is over" if self.decided == self.compared else "the others are futile")


def run(grid: Grid, folder: Path, run_cells: Callable[[Grid, Path], Outcome], say: Callable[[str], None]) -> Outcome:
    """Run a grid, in stages where its seeds are sequential.

    Args:
        grid: with all cells that may be needed.
        folder: of its results.
        run_cells: runs what a folder lacks of the cells of a grid.
        say: is told of every look.

    Returns:
        The outcome of all stages; of the first that was interrupted or has failed cells, which ends the run.
    """
    if grid.seeds is None:
        return run_cells(grid, folder)
    store, ran, elsewhere = Store(folder), 0, 0
    cells = [cell for cell in grid.cells if cell.seed < grid.seeds.least]
    experiments = {_key(cell): cell for cell in cells if cell.seed == 0}
    for look, following in pairwise(grid.seeds.looks):
        known = store.statuses()
        if any(known.get(_key(cell)) not in _SETTLED for cell in cells):
            outcome = run_cells(replace(grid, cells=_in_order(grid, cells)), folder)
            ran, elsewhere = ran + outcome.ran, elsewhere + outcome.elsewhere
            if outcome.interrupted or outcome.failed:
                return replace(outcome, ran=ran, elsewhere=elsewhere)
        found = look_at(grid, folder, map(_key, cells), look)
        say(str(found))
        if not found.keys:
            break
        cells += [replace(experiments[k], seed=s) for k in found.keys for s in range(look, following)]
    outcome = run_cells(replace(grid, cells=_in_order(grid, cells)), folder)
    return replace(outcome, ran=ran + outcome.ran, elsewhere=elsewhere + outcome.elsewhere)


def look_at(grid: Grid, folder: Path, keys: Iterable[str], seeds: int) -> Look:
    """Which experiments go on after some seeds.

    Args:
        grid: with a plan of seeds.
        folder: with the results.
        keys: of the cells so far, all of them finished.
        seeds: of this look.
    """
    plan = grid.seeds
    assert plan is not None
    frame = frames.of_plan(folder, {"keys": list(keys), "headline": str(grid.headline), **grid.in_plan})
    decided = compared = 0
    going_on: set[str] = set()
    with statistics.sequential(plan):
        views = [pivot.pooled for pivot in pivots(frame, metrics.evaluate(frame))]
        numbers = [view.by_seed(metric_column(plan.metric), view.page.attacks) for view in views]
    for view, (values, columns) in zip(views, numbers, strict=True):
        found = race.after_looks(values, plan, seeds)
        decided, compared = decided + int(found.decided.sum()), compared + found.compared
        squares = {(columns[c], int(r)) for c, r in zip(*np.nonzero(found.running), strict=True)}
        going_on |= _experiments(view, squares)
    return Look(seeds, decided, compared, frozenset(going_on))


def _experiments(pivot: Pivot, squares: set[tuple[object, int]]) -> set[str]:
    """Keys of the first seed's cells in some squares, with their clean twins.

    A clean square is a mean over the declared f of the attacked cells: where one of its cells goes on, all do, or a
    seed's mean would be over some f alone.
    """
    placed, cells = pivot.placement, pivot.page.cells
    first = cells["seed"].to_numpy()[placed.cell] == 0
    places = pd.DataFrame(
        {
            "key": cells["key"].to_numpy()[placed.cell],
            "twin": cells["twin"].to_numpy()[placed.cell],
            "square": [(placed.columns[c], r) for c, r in zip(placed.cells.column, placed.cells.row, strict=True)],
            "clean": placed.cells.clean,
        }
    )[first]
    own = places[places["square"].isin(squares)]
    wanted = {*own["key"], *own["twin"].dropna()}
    shared = places[places["clean"] & places["key"].isin(wanted)]["square"]
    return wanted | set(places[places["clean"] & places["square"].isin(set(shared))]["key"])


def _in_order(grid: Grid, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    wanted = set(cells)
    return tuple(cell for cell in grid.cells if cell in wanted)


def _key(cell: Cell) -> str:
    return key_of_normal(cell, contents(cell))
