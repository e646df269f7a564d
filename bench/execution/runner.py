"""Pending cells -> stacks of alike cells -> this process, local workers or a Dask cluster -> store.

The driver alone writes. A cell's stored numbers depend on its fields only: not on its stack, the order or the workers.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipbench.execution.progress import Progress
from flipbench.execution.run_context import RunContext, Source, Stack
from flipbench.federation import records, run_stack
from flipbench.federation.checkpoints.files import EVERY, FOLDER, Checkpoints
from flipbench.federation.records import Job, Record
from flipbench.grid.reader import Grid, contents
from flipbench.spec.cell import Cell
from flipbench.spec.headline import LAST_ROUND
from flipbench.spec.key import key
from flipbench.store.store import Store
from flipbench.system import private_paths
from flipbench.system.atomic_files import StoreError
from flipbench.system.limits import Limits
from flipbench.system.signals import Stop, stoppable

if TYPE_CHECKING:
    from flipbench.execution.remote_cluster import Address


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        total: cells of the grid, twins included.
        done: of them with a result now.
        ran: run and stored this time, whatever came of them.
        infeasible: number of cells where the conditions of the rule do not hold.
        failed: (key, reason) of those that failed.
        interrupted: the user stopped the run; what was finished is kept.
        elsewhere: run in vain, for another run on the same folder was first.
        only_trials: the run of a tuned grid ended with its trials; nothing was chosen.
    """

    total: int
    done: int
    ran: int
    infeasible: int
    failed: tuple[tuple[str, str], ...]
    interrupted: bool = False
    elsewhere: int = 0
    only_trials: bool = False


@dataclass(frozen=True)
class WorkerOptions:
    """How the cells are run, beyond how many at a time.

    Attributes:
        limits: of each worker.
        scheduler: of a Dask cluster, which then does the work; None: this machine does.
        checkpoint_every: seconds between the states that long cells keep; 0: after every round.
    """

    limits: Limits = field(default_factory=Limits)
    scheduler: Address | None = None
    checkpoint_every: float = EVERY


def run(
    grid: Grid,
    folder: Path,
    *,
    workers: int,
    progress: Progress,
    command: str | None = None,
    retry_failed: bool = True,
    options: WorkerOptions = WorkerOptions(),
) -> Outcome:
    """Run what a grid still lacks.

    SIGINT and SIGTERM end the run in order (`system.signals`): what is finished is published.

    Args:
        grid: the cells.
        folder: ``results/<grid>``.
        workers: processes; 1 runs in this one.
        progress: notified of every finished cell.
        command: stored with the plan, for the reader of the tables.
        retry_failed: run cells again that failed before.
        options: limits, or a cluster in place of this machine.

    Raises:
        UserError: the data cannot be found, the store cannot be written, or the cluster cannot be used.
    """
    folder = folder.absolute()  # whatever becomes of the working folder meanwhile
    store, ran, elsewhere, interrupted = Store(folder), 0, 0, False
    with stoppable() as stop:
        with stop.interruptible():
            jobs = {key(cell, content): Job(cell, content) for cell, content in ((c, contents(c)) for c in grid.cells)}
            plan = _plan(grid, list(jobs), command)
            store.write_plan(plan)
            known = store.survey(whole=jobs).statuses
            settled = {"done", "infeasible"} if retry_failed else {"done", "infeasible", "failed"}
            pending = {k: job for k, job in jobs.items() if known.get(k) not in settled}
            stacks = list(plan_stacks(list(pending.values()), workers))
            attempts = {k: store.attempts(k) for k in pending if known.get(k) == "failed"}
        places = Checkpoints(str(folder / FOLDER), options.checkpoint_every)
        context = RunContext(
            records.run_provenance(), attempts, options.limits, store.has, places, progress.workers_changed
        )
        progress.start(len(jobs), len(jobs) - len(pending))
        stored = set(jobs) - set(pending)
        places.clear(pending, {k for k, status in known.items() if status != "failed"})

        def keep(record: Record) -> None:
            nonlocal ran, elsewhere
            stored.add(record["key"])
            if store.publish(record):
                ran += 1
            else:
                elsewhere += 1
            if record["status"] != "failed":  # the next try goes on from there
                places.forget(record["key"])
            progress.cell_finished(Cell(**record["facts"]), record["status"], sum(record["seconds"].values()))

        try:
            with _working(stacks, min(workers, max(1, len(stacks))), options, context, stop) as source:
                try:
                    for record in source.records:
                        keep(record)
                except KeyboardInterrupt:
                    interrupted = True
                    for record in source.finished_meanwhile():
                        keep(record)
        finally:
            progress.stop()
        if not interrupted:
            _check_kept(store, stored)
            if not store.has_plan():  # removed meanwhile
                store.write_plan(plan)
        return replace(_outcome(store, list(jobs), ran, interrupted), elsewhere=elsewhere)


def _check_kept(store: Store, stored: set[str]) -> None:
    """Results that this run found or stored are still there.

    Raises:
        StoreError: something removed them meanwhile.
    """
    if gone := len(stored - set(store.statuses())):
        raise StoreError(
            f"{store.folder}: {gone} of {len(stored)} results of this run are gone: the folder or files in it were "
            "removed or damaged while the run went on; run the same command again, which computes what is missing"
        )


def _plan(grid: Grid, keys: list[str], command: str | None) -> dict[str, Any]:
    return {
        "grid": grid.name,
        "title": grid.title,
        "source": private_paths.in_text(grid.source),
        "command": None if command is None else private_paths.in_text(command),
        "keys": keys,
        "figures": list(grid.figures),
        "labels": [list(entry) for entry in grid.labels],
        **({} if grid.headline == LAST_ROUND else {"headline": str(grid.headline)}),
        **({} if grid.seeds is None else {"seeds": grid.seeds.as_json()}),
        **({"figure_options": dict(grid.figure_options)} if grid.figure_options else {}),
        **grid.in_plan,
    }


def _outcome(store: Store, keys: Sequence[str], ran: int, interrupted: bool) -> Outcome:
    known = store.statuses()
    statuses = {k: known.get(k) for k in keys}
    failed = tuple((k, store.failure(k)) for k, s in statuses.items() if s == "failed")
    count = list(statuses.values()).count
    return Outcome(len(keys), count("done"), ran, count("infeasible"), failed, interrupted)


def plan_stacks(jobs: Sequence[Job], workers: int = 1) -> Iterator[Stack]:
    """Alike cells side by side, as many as fit beside those of the other workers; one experiment is never split."""
    order: dict[tuple[Any, ...], int] = {}
    keyed = []
    for job in jobs:
        alike = (run_stack.stackable(job.cell), tuple(sorted((k, v) for k, v in job.content.items() if k != "attack")))
        keyed.append((order.setdefault(alike, len(order)), job))
    for _, group in groupby(sorted(keyed, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        members = iter([job for _, job in group])
        first = next(members)
        size = run_stack.width(first.cell, workers, first.content["dataset"])
        yield [first, *islice(members, size - 1)]
        while stack := list(islice(members, size)):
            yield stack


@contextmanager
def _working(
    stacks: Sequence[Stack], workers: int, options: WorkerOptions, context: RunContext, stop: Stop
) -> Iterator[Source]:
    """Whoever runs the stacks: this process, workers on this machine, or a Dask cluster."""
    if options.scheduler is not None:
        from flipbench.execution import remote_cluster

        with remote_cluster.connected(options.scheduler, stacks, context, stop) as source:
            yield source
    elif not stacks or (workers <= 1 and not context.limits.any):
        yield Source(_here(stacks, context, stop), lambda: iter(()))
    else:
        from flipbench.execution import local_cluster

        with local_cluster.working(_devices(stacks, workers), stacks, context, stop) as source:
            yield source


def _here(stacks: Sequence[Stack], context: RunContext, stop: Stop) -> Iterator[Record]:
    """In this process: nothing to start, and a debugger works; but nothing that could be fenced in either."""
    with suppress(ValueError, AttributeError, OSError):  # there may be no real stderr
        faulthandler.enable()  # a plug-in that crashes ends the run: say in which line
    for stack in stacks:
        if wanted := context.wanted(stack):
            with stop.interruptible():
                records = run_stack.perform(*context.task(wanted))
            yield from records


def _devices(stacks: Sequence[Stack], workers: int) -> list[str | None]:
    """Which CUDA device each worker sees; None: no matter."""
    if not any(stack[0].cell.device == "cuda" for stack in stacks):
        return [None] * workers
    from flipbench.system import cuda_devices

    return cuda_devices.devices_of_workers(workers)
