"""Sends stacks of cells to the workers of a Dask cluster, one at a time each, and receives their records.

The driver chooses the worker of each stack. So it knows at which stack a worker died, no second stack waits on the same
worker, and Dask's own treatment of tasks whose workers die does not matter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from flipbench import data
from flipbench.data.dataset import Dataset
from flipbench.errors import UserError
from flipbench.execution import dask_worker as worker
from flipbench.execution.run_context import Retries, RunContext, Stack
from flipbench.federation.records import Record
from flipbench.plugins import source_text
from flipbench.system import exception_text
from flipbench.system.fingerprint import fingerprint
from flipbench.system.limits import size_text
from flipbench.system.signals import Stop

SILENCE = logging.CRITICAL + 1  # Dask logs even a client that leaves as critical
_UNHEARD = 10  # answers in a row that may be lost on their way
_AGAIN = 0.2  # seconds before a stack whose answer was lost is run again
_CHECK = 2.0  # seconds between checks that the scheduler is still there
_NEARLY = 0.98  # of the time limit: where exit codes do not travel, a death so late was the limit's
_GRACE = 5.0  # seconds beyond the time limit after which the driver ends a worker that did not end itself
_LATE = 60.0  # seconds from being given a stack to saying that the time limit counts
_ARRIVING = 1.0  # seconds that finished records get to arrive after an interrupt


class ClusterError(UserError):
    """The cluster cannot be reached or used; the message says what to do."""


@dataclass(frozen=True)
class Site:
    """How workers on this machine differ from those elsewhere.

    Attributes:
        here: they load data and keep checkpoints by themselves, in the driver's folders.
        death: how the worker at an address died.
        patience: seconds without a single worker after which there will be none; None: they may come back any day.
        end: ends the worker at an address that is far beyond the time limit; None: not from here.
    """

    here: bool
    death: Callable[[str], Death]
    patience: float | None = None
    end: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Death:
    """How a worker died.

    Attributes:
        how: for the reader of a record: "was killed by SIGKILL".
        limit: ``seconds`` or ``memory`` where it died of a limit that this driver set; None: not, or not known.
    """

    how: str
    limit: str | None = None


@dataclass(frozen=True)
class _Given:
    """A stack that a worker was given."""

    stack: Stack
    future: Any
    since: float


class Dispatch:
    """The workers of a cluster and the stack that each has been given."""

    def __init__(self, client: Any, context: RunContext, stop: Stop, site: Site) -> None:
        self.client, self.context, self.stop, self.site = client, context, stop, site
        self.retries = Retries(context)
        self.waiting: deque[Stack] = deque()
        self.idle: dict[str, None] = {}  # addresses, in the order that they became idle
        self.busy: dict[str, _Given] = {}
        self.began: dict[str, float] = {}  # when the time limit of the worker at an address began to count
        self.sent: dict[tuple[str, str], Any] = {}  # data sets on the cluster
        self.unheard = 0  # answers that did not arrive since the last one that did
        self.events: SimpleQueue[Callable[[], Iterator[Record]]] = SimpleQueue()
        self.alone_since = time.monotonic()
        client.subscribe_topic("all", self._heard)
        client.subscribe_topic(worker.BEGAN, self._heard_beginning)

    def results(self, stacks: Sequence[Stack]) -> Iterator[Record]:
        """The records of all cells, as they come.

        Raises:
            ClusterError: the scheduler is gone, or all workers are.
            RefusedError: a worker differs from the driver.
        """
        self.waiting = deque(stacks)
        for address in self.client.nthreads():
            self._joined(address)
        while True:
            self._hand_out()
            if not self.busy and not self.waiting:
                return
            with self.stop.interruptible():
                event = self._next()
            yield from event()

    def finished_meanwhile(self) -> Iterator[Record]:
        """Records that were finished when the run was interrupted."""
        until = time.monotonic() + _ARRIVING
        while any(given.future.status == "finished" for given in self.busy.values()) and time.monotonic() < until:
            try:
                yield from self.events.get(timeout=0.05)()
            except (Empty, UserError):
                continue

    def close(self) -> None:
        """Take back what is not finished, and listen no longer."""
        with suppress(Exception):  # the scheduler may be gone, which was said already
            for topic in ("all", worker.BEGAN):
                self.client.unsubscribe_topic(topic)
            self.client.cancel([given.future for given in self.busy.values()], force=True)

    def _next(self) -> Callable[[], Iterator[Record]]:
        while True:
            self._end_the_overdue()
            try:
                return self.events.get(timeout=_CHECK)
            except Empty:
                self._check_scheduler()

    def _check_scheduler(self) -> None:
        if self.client.status in ("closed", "closing") or self.client.scheduler is None:
            raise ClusterError("the scheduler is gone: finished cells are kept, run the same command again")
        alone = time.monotonic() - self.alone_since
        if not self.idle and not self.busy and self.site.patience is not None and alone > self.site.patience:
            raise ClusterError(f"no worker process has started in {alone:.0f} s; finished cells are kept")

    def _end_the_overdue(self) -> None:
        """A worker ends itself at the time limit, unless it was stopped (SIGSTOP): then the driver ends it."""
        seconds = self.context.limits.seconds
        if seconds is None or self.site.end is None:
            return
        now = time.monotonic()
        for address, given in self.busy.items():
            if now > self.began.get(address, given.since + _LATE) + seconds * len(given.stack) + _GRACE:
                self.site.end(address)

    def _heard(self, event: tuple[float, Any]) -> None:
        """In Dask's thread: a worker came or went."""
        news = event[1]
        if not isinstance(news, dict) or "worker" not in news:
            return
        address = news["worker"]
        if news.get("action") == "add-worker":
            self.events.put(lambda: self._joined(address))
        elif news.get("action") == "remove-worker":
            self.events.put(lambda: self._lost(address, bool(news.get("expected"))))

    def _heard_beginning(self, event: tuple[float, Any]) -> None:
        self.began[event[1]["worker"]] = time.monotonic()

    def _joined(self, address: str) -> Iterator[Record]:
        if address not in self.busy:
            self.idle[address] = None
        self._count()
        return iter(())

    def _count(self) -> None:
        number = len(self.idle) + len(self.busy)
        if number == 0:
            self.alone_since = time.monotonic()
        self.context.workers_changed(number)

    def _hand_out(self) -> None:
        while self.idle and self.waiting:
            stack = self.context.wanted(self.waiting.popleft())
            if stack:
                address = next(iter(self.idle))
                del self.idle[address]
                self.began.pop(address, None)
                future = self._submit(address, stack)
                self.busy[address] = _Given(stack, future, time.monotonic())
                asyncio.run_coroutine_threadsafe(self._fetch(address, future), self.client.loop.asyncio_loop)

    def _submit(self, address: str, stack: Stack) -> Any:
        jobs, provenance, attempts, places = self.context.task(stack)
        limit = self.context.limits.seconds
        seconds = None if limit is None else limit * len(stack)
        code = source_text.mentioned(v for job in jobs for v in vars(job.cell).values() if isinstance(v, str))
        if self.site.here:
            task, dataset = worker.Task(jobs, provenance, attempts, places, seconds, fingerprint(), code), None
        else:
            task = worker.Task(jobs, provenance, attempts, None, seconds, fingerprint(), code)
            dataset = self._data(stack)
        return self.client.submit(worker.perform, task, dataset, workers=[address], pure=False, retries=0)

    def _data(self, stack: Stack) -> Any:
        """A data set that the cluster keeps under its hash and sends to the workers that need it."""
        cell, content = stack[0].cell, stack[0].content
        place = (cell.dataset, content["dataset"])
        if place not in self.sent:
            name = "-".join(("flipbench-data", content["dataset"], fingerprint()["source"][:16]))
            self.sent[place] = self.client.submit(_received, data.load(cell.dataset), key=name)
        return self.sent[place]

    async def _fetch(self, address: str, future: Any) -> None:
        """In Dask's thread: wait for an answer, and leave it to the driver's thread."""
        try:
            answer = await future
        except (Exception, CancelledError, asyncio.CancelledError) as error:
            answer = error
        self.events.put(lambda: self._answered(address, future, answer))

    def _answered(self, address: str, future: Any, answer: Any) -> Iterator[Record]:
        from distributed.scheduler import KilledWorker

        given = self.busy.get(address)
        if given is None or given.future is not future:
            return  # the worker was lost meanwhile
        if isinstance(answer, KilledWorker) and answer.task == future.key:
            return  # the event of that death is on its way
        if isinstance(answer, worker.RefusedError):
            raise answer
        if isinstance(answer, CancelledError | asyncio.CancelledError):
            raise ClusterError("the scheduler is gone: finished cells are kept, run the same command again")
        del self.busy[address]
        self.idle[address] = None
        if isinstance(answer, KilledWorker):  # of the data set: send it again
            self.sent.clear()
            self.waiting.appendleft(given.stack)
        elif isinstance(answer, BaseException):
            self._repeat(given.stack, answer)
        elif not isinstance(answer, worker.Failed):
            self.unheard = 0
            yield from answer
        elif len(given.stack) > 1:
            self._alone(given.stack)
        else:
            yield self.context.failed(given.stack[0], answer.reason)

    def _repeat(self, stack: Stack, error: BaseException) -> None:
        """An answer that did not arrive is the connection's fault, never the cell's: run the stack again."""
        self.unheard += 1
        if self.unheard > _UNHEARD:
            raise ClusterError(
                f"the answers of workers do not arrive, {self.unheard} times in a row; the last time: "
                f"{exception_text.with_type(error)}; finished cells are kept, run the same command again"
            ) from error
        time.sleep(_AGAIN)
        self.waiting.appendleft(stack)

    def _lost(self, address: str, expected: bool) -> Iterator[Record]:
        """A worker is gone, on purpose or not; its stack is run again, or given up."""
        self.idle.pop(address, None)
        given = self.busy.pop(address, None)
        self._count()
        if given is None:
            return
        self.client.cancel([given.future], force=True)
        if expected:
            self.waiting.appendleft(given.stack)
            return
        death = self.site.death(address)
        reason = self._exceeded(address, death, len(given.stack))
        if reason is None:
            again, given_up = self.retries.after(given.stack, death.how)
            self.waiting.extendleft(reversed(again))
            yield from given_up
        elif len(given.stack) > 1:
            self._alone(given.stack)
        else:
            yield self.context.failed(given.stack[0], reason)

    def _exceeded(self, address: str, death: Death, cells: int) -> str | None:
        """Which limit a dead worker exceeded, in the words of the record; None: it exceeded none."""
        limits = self.context.limits
        if limits.seconds is not None:
            took = time.monotonic() - self.began.get(address, float("inf"))
            if death.limit == "seconds" or (not self.site.here and took >= _NEARLY * limits.seconds * cells):
                return f"took longer than the time limit of {limits.seconds:g} s (--cell-timeout)"
        if limits.memory is not None and death.limit == "memory":
            return f"took more than the memory limit of {size_text(limits.memory)} (--memory-limit)"
        return None

    def _alone(self, stack: Stack) -> None:
        self.waiting.extendleft([job] for job in reversed(stack))


def silence() -> None:
    """Turn Dask's logs off for the rest of the process: the run reports the same, and some come after its end."""
    import distributed  # noqa: F401 - which sets levels

    for name in ("distributed", "distributed.client"):  # the latter has a level of its own
        logging.getLogger(name).setLevel(SILENCE)


def _received(dataset: Dataset) -> Dataset:
    """The data set; run on the cluster, which keeps the result under its hash."""
    return dataset
