"""Pending cells -> stacks of alike cells -> this process or local workers -> store.

The driver alone writes. A cell's stored numbers depend on its facts only: not on its stack, the order or the workers.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from bench import experiment
from bench.cell import Cell, key
from bench.experiment import Job, Record
from bench.grid import Grid, contents
from bench.progress import Progress
from bench.store import Store

Stack = list[Job]


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        total: cells of the grid, twins included.
        done: of them with a result now.
        ran: run this time, whatever came of them.
        infeasible: whose rule's conditions do not hold.
        failed: (key, reason) of those that failed.
        interrupted: the user stopped the run; what was finished is kept.
    """

    total: int
    done: int
    ran: int
    infeasible: int
    failed: tuple[tuple[str, str], ...]
    interrupted: bool = False


def run(
    grid: Grid,
    folder: Path,
    *,
    workers: int,
    progress: Progress,
    command: str | None = None,
    retry_failed: bool = True,
) -> Outcome:
    """Run what a grid still lacks.

    Args:
        grid: the cells.
        folder: ``results/<grid>``.
        workers: processes; 1 runs in this one.
        progress: told of every finished cell.
        command: stored with the plan, for the reader of the tables.
        retry_failed: run cells again that failed before.

    Raises:
        UserError: the data cannot be found, or the store cannot be written.
    """
    store = Store(folder)
    jobs = {key(cell, content): Job(cell, content) for cell, content in ((c, contents(c)) for c in grid.cells)}
    store.write_plan(
        {
            "grid": grid.name,
            "title": grid.title,
            "source": grid.source,
            "command": command,
            "keys": list(jobs),
            "figures": list(grid.figures),
        }
    )
    known = store.statuses()
    settled = {"done", "infeasible"} if retry_failed else {"done", "infeasible", "failed"}
    pending = {k: job for k, job in jobs.items() if known.get(k) not in settled}
    progress.start(len(jobs), len(jobs) - len(pending))
    ran, interrupted = 0, False
    stacks = list(plan_stacks(list(pending.values())))
    attempts = {k: store.attempts(k) for k in pending if known.get(k) == "failed"}
    try:
        with closing(_results(stacks, min(workers, max(1, len(stacks))), attempts)) as results:
            for record in results:
                store.publish(record)
                ran += 1
                seconds = sum(record["seconds"].values())
                progress.cell_finished(Cell(**record["facts"]), record["status"], seconds)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        progress.stop()
    return _outcome(store, list(jobs), ran, interrupted)


def _outcome(store: Store, keys: Sequence[str], ran: int, interrupted: bool) -> Outcome:
    known = store.statuses()
    statuses = {k: known.get(k) for k in keys}
    failed = tuple((k, store.failure(k)) for k, s in statuses.items() if s == "failed")
    count = list(statuses.values()).count
    return Outcome(len(keys), count("done"), ran, count("infeasible"), failed, interrupted)


def plan_stacks(jobs: Sequence[Job]) -> Iterator[Stack]:
    """Alike cells side by side, as many as fit; one experiment is never split."""
    order: dict[tuple[Any, ...], int] = {}
    keyed = []
    for job in jobs:
        alike = (experiment.stackable(job.cell), tuple(sorted((k, v) for k, v in job.content.items() if k != "attack")))
        keyed.append((order.setdefault(alike, len(order)), job))
    for _, group in groupby(sorted(keyed, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        members = iter([job for _, job in group])
        first = next(members)
        size = experiment.width(first.cell)
        yield [first, *islice(members, size - 1)]
        while stack := list(islice(members, size)):
            yield stack


def _results(stacks: Sequence[Stack], workers: int, attempts: Mapping[str, int]) -> Generator[Record]:
    facts = experiment.circumstances()
    if workers <= 1:
        for stack in stacks:
            yield from experiment.perform(stack, facts, attempts)
        return
    yield from _on_local_workers(stacks, workers, facts, attempts)


def _on_local_workers(
    stacks: Sequence[Stack], workers: int, facts: Mapping[str, Any], attempts: Mapping[str, int]
) -> Generator[Record]:
    """A Dask cluster on loopback: one thread a process, results travel back to this one."""
    import dask
    from distributed import Client, LocalCluster, as_completed

    logging.getLogger("distributed").setLevel(logging.ERROR)
    quiet = {
        "distributed.admin.tick.limit": "1h",
        "distributed.scheduler.allowed-failures": 3,
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    }
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port: 8787 may be another cluster's
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        # Few in flight: the scheduler stays small for a grid of 100,000 cells.
        waiting = iter(stacks)
        futures = {
            client.submit(experiment.perform, s, facts, attempts, pure=False): s for s in islice(waiting, 4 * workers)
        }
        finished = as_completed(list(futures))
        for future in finished:
            stack = futures.pop(future)
            if (after := next(waiting, None)) is not None:
                new = client.submit(experiment.perform, after, facts, attempts, pure=False)
                futures[new] = after
                finished.add(new)
            yield from future.result() if future.status == "finished" else _lost(stack, future, facts, attempts)
            future.release()


def _lost(stack: Stack, future: Any, facts: Mapping[str, Any], attempts: Mapping[str, int]) -> list[Record]:
    """The records of a stack whose worker died (three times), or whose answer could not travel."""
    reason = f"{type(future.exception()).__name__}: {future.exception()}"
    return [experiment.failure(job, facts, reason, attempts) for job in stack]
