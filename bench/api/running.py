"""Plan and run a grid from Python: what ``flipbench plan`` and ``flipbench run`` do, without their exit codes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path, PurePath
from typing import Any

from flipbench.api import detection, grids, notebook_progress, planning, seed_stages, tuning
from flipbench.api.results import Results
from flipbench.errors import UserError
from flipbench.execution import cell_trials, remote_cluster, runner
from flipbench.execution.progress import counted
from flipbench.grid.fields import REFERENCES
from flipbench.grid.reader import Grid
from flipbench.plugins import source_text
from flipbench.spec.distinct_texts import printable
from flipbench.store.store import Store
from flipbench.system import atomic_files, limits, private_paths

FUNCTIONS = "functions"  # folder beside the cells: the source of functions that were passed in Python


def plan(
    grid: Grid | str | Path | Mapping[str, Any],
    *,
    results: str | Path = "results",
    device: str | None = None,
    workers: int = 0,
) -> planning.Plan:
    """What a run would do: cells, done, infeasible, failed before, and how long the rest takes. Nothing is written.

    >>> import flipbench as fb
    >>> fb.plan("smoke", results="nowhere", workers=1)  # doctest: +ELLIPSIS
    smoke: ... cells, ... of them clean
      done                    0
      infeasible, recorded    0
      failed before           0
      to run                 ...

    Args:
        grid: of `read_grid`, or what it reads.
        results: folder of the folders of grids.
        device: ``cpu`` or ``cuda``, in place of the grid's.
        workers: worker processes that the estimate counts with; 0: one a core.

    Returns:
        A small object that prints as ``flipbench plan`` does; ``states`` maps the key of each cell to ``done``,
        ``infeasible``, ``failed`` or ``new``, ``seconds`` estimates the rest on one worker.

    Raises:
        UserError: an argument of a wrong type, the data cannot be found, or (GridError) the grid has mistakes.
    """
    _check_arguments(workers=workers, results=results)
    asked = _grid(grid, device)
    planned = planning.plan(asked, Path(results) / asked.name, workers=limits.worker_count(workers))
    return replace(planned, warnings=asked.warnings)


def detect(
    grid: Grid | str | Path | Mapping[str, Any],
    difference: float,
    *,
    metric: str = "accuracy",
    spread: float | None = None,
    results: str | Path = "results",
) -> detection.Detection:
    """How many seeds show a difference between two rules with a power of 80 %, as ``flipbench plan --detect`` says.

    >>> import flipbench as fb
    >>> fb.detect("smoke", 2, spread=1.5).seeds
    13

    Args:
        grid: of `read_grid`, or what it reads.
        difference: in points.
        metric: ``accuracy``, another metric, or one with ``_damage``.
        spread: in points: the standard deviation over seeds of the difference between two rules; None: that of the
            seeds which the results folder holds.
        results: folder of the folders of grids.

    Returns:
        A small object that prints as the command does; ``seeds`` is enough for 80 % of the comparisons, and ``tables``
        has the seeds of each comparison.

    Raises:
        UserError: a number out of range, no such metric, a single rule, no stored seeds and no spread, or (GridError)
            the grid has mistakes.
    """
    _check_arguments(results=results)
    asked = _grid(grid, None)
    return detection.detect(asked, Path(results) / asked.name, difference, metric, spread)


def run(
    grid: Grid | str | Path | Mapping[str, Any],
    *,
    workers: int = 0,
    results: str | Path = "results",
    device: str | None = None,
    progress: bool = True,
    retry_failed: bool = True,
    trial: bool = True,
    cell_timeout: float | None = None,
    memory_limit: str | None = None,
    scheduler: str | None = None,
    tls: tuple[Path, Path, Path] | None = None,
) -> Results:
    """Run what is missing of a grid; cells that are in the results folder are not run again.

    >>> import flipbench as fb
    >>> small = fb.read_grid("smoke", {"rounds": 2, "aggregator": ["fedavg", "median"]})
    >>> results = fb.run(small, workers=1, results=folder, progress=False)
    >>> results.table("accuracy").frame.shape
    (2, 3)

    It works in a notebook and in a script without ``if __name__ == "__main__"``. An interrupt (Ctrl-C, the stop button
    of a notebook) ends it with KeyboardInterrupt; finished cells are kept, and the same call goes on from there.

    Args:
        grid: of `read_grid`, or what it reads.
        workers: worker processes; 1: everything in this process; 0: one a core.
        results: folder of the folders of grids; the cells lie in ``results/<name of the grid>``.
        device: ``cpu`` or ``cuda``, in place of the grid's.
        progress: show it: a live table on a terminal, a bar in a notebook, one line a cell elsewhere.
        retry_failed: run cells again that failed before.
        trial: try one small cell of each kind of plug-in first, and run nothing where one fails.
        cell_timeout: seconds; a cell that takes longer is recorded as failed.
        memory_limit: of each worker, like ``4G``; a cell that needs more fails.
        scheduler: address of a Dask cluster that does the work, like ``tcp://host:8786``.
        tls: for a ``tls://`` scheduler: the files of its authority, our certificate and its key.

    Returns:
        The results; tables and figures on disk are written by `Results.report`.

    Raises:
        UserError: an argument of a wrong type, the data cannot be found, the folder cannot be written, trials of a
            tuned grid failed, or (GridError) the grid has mistakes.
        KeyboardInterrupt: the run was interrupted.

    Warns:
        UserWarning: cells failed; a dictionary without a name takes the folder of another; the workers are likely to
            need more memory than this machine has; or the grid has what is sound and hardly meant, like an attack that
            cannot act.
    """
    _check_arguments(
        workers=workers,
        results=results,
        progress=progress,
        retry_failed=retry_failed,
        trial=trial,
        cell_timeout=cell_timeout,
        memory_limit=memory_limit,
        scheduler=scheduler,
        tls=tls,
    )
    asked = _grid(grid, device)
    for text in asked.warnings:
        warnings.warn(printable(text, 500), stacklevel=2)
    folder, count = Path(results).absolute() / asked.name, limits.worker_count(workers)
    if (shared := _shared(asked, folder)) is not None:
        warnings.warn(shared, stacklevel=2)
    size = None if memory_limit is None else limits.parse_size(memory_limit)
    address = remote_cluster.address(scheduler, *(map(Path, tls) if tls else (None, None, None)))
    cells = asked.cells if asked.tuning is None else (*asked.cells, *asked.tuning.trials)
    cell_trials.before_run(cells, folder, trial, elsewhere=address is not None)
    if address is None and (need := cell_trials.memory(cells, folder, count)) and need.warning:
        warnings.warn(need.warning, stacklevel=2)
    _write_functions(asked, folder)
    options = runner.WorkerOptions(limits.Limits(cell_timeout, size), address)

    def cells_of(part: Grid, into: Path) -> runner.Outcome:
        shown = notebook_progress.choose(count, quiet=not progress)
        given: Any = {"retry_failed": retry_failed, "options": options}
        return runner.run(part, into, workers=count, progress=shown, **given)

    def one(part: Grid, into: Path) -> runner.Outcome:
        return seed_stages.run(part, into, cells_of, print if progress else lambda _: None)

    outcome = tuning.run(asked, folder, one, retry_failed=retry_failed)
    if outcome.interrupted:
        kept = f"{counted(outcome.done, 'cell')} {'is' if outcome.done == 1 else 'are'}"
        raise KeyboardInterrupt(f"interrupted: {kept} kept in {folder}; the same call goes on from there")
    if outcome.only_trials:
        key, reason = outcome.failed[0]
        failed = f"{counted(len(outcome.failed), 'trial')} failed, so nothing is chosen"
        raise UserError(
            f"{failed}; the first, {key[:12]}: {printable(reason)}; run again to try again, or with retry_failed=False "
            "to leave these candidates out"
        )
    if outcome.failed:
        key, reason = outcome.failed[0]
        text = f"{counted(len(outcome.failed), 'cell')} failed; the first, {key[:12]}: {printable(reason)}"
        warnings.warn(f"{text}; see results.failures, and run again to try again", stacklevel=2)
    return Results(folder)


_NEEDED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "workers": ("a whole number, 0 (one a core) or more", lambda v: _is_number(v, int) and v >= 0),
    "results": ("a path", lambda v: isinstance(v, str | PurePath)),
    "progress": ("True or False", lambda v: isinstance(v, bool)),
    "retry_failed": ("True or False", lambda v: isinstance(v, bool)),
    "trial": ("True or False", lambda v: isinstance(v, bool)),
    "cell_timeout": ("seconds above 0 or None", lambda v: v is None or (_is_number(v, int | float) and 0 < v < inf)),
    "memory_limit": ("a size like '4G' or None", lambda v: v is None or isinstance(v, str)),
    "scheduler": ("an address like 'tcp://host:8786' or None", lambda v: v is None or isinstance(v, str)),
    "tls": (
        "three paths, of the authority, our certificate and its key, or None",
        lambda v: (
            v is None or (isinstance(v, tuple | list) and len(v) == 3 and all(isinstance(p, str | PurePath) for p in v))
        ),
    ),
}


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_arguments(**given: Any) -> None:
    """All arguments at once.

    Raises:
        UserError: arguments of a wrong type or out of range.
    """
    wrong = [
        f"{name} is {_NEEDED[name][0]}, got {value!r}" for name, value in given.items() if not _NEEDED[name][1](value)
    ]
    if wrong:
        raise UserError("; ".join(wrong))


def _grid(grid: Grid | str | Path | Mapping[str, Any], device: str | None) -> Grid:
    found = grid if isinstance(grid, Grid) else grids.read_grid(grid)
    if device is None:
        return found
    if device not in ("cpu", "cuda"):
        raise UserError(f"device is cpu or cuda, got {device!r}")
    where: Any = device
    tuned = None if found.tuning is None else tuning.on_device(found.tuning, where)
    cells = tuple(dict.fromkeys(replace(cell, device=where) for cell in found.cells))
    return replace(found, cells=cells, tuning=tuned)


def _shared(grid: Grid, folder: Path) -> str | None:
    """What to say where a dictionary without a name goes to the folder of another one; None: it does not."""
    store = Store(folder)
    if (grid.name, grid.file) != (grids.UNNAMED, grids.IN_PYTHON) or not store.has_plan():
        return None
    if store.read_plan().get("source") in (None, private_paths.in_text(grid.source)):
        return None
    return (
        f"{folder} has the results of another dictionary without a name: its cells stay, but tables and figures there "
        "are of the latest one; give each a name, like {'name': 'mine', 'base': ...}"
    )


def _write_functions(grid: Grid, folder: Path) -> None:
    """For the reader of the results: the source behind the names that mean functions passed in Python."""
    cells = grid.cells if grid.tuning is None else (*grid.cells, *grid.tuning.trials)
    references = {getattr(cell, field) for cell in cells for field in REFERENCES}
    for name, text in source_text.mentioned(references).items():
        atomic_files.publish(folder / FUNCTIONS / f"{name}.py", private_paths.in_text(text).encode())
