"""Stacks over worker processes of this machine; a worker's death, delay or greed costs the cell that caused it alone.

A stack whose worker dies is run again cell by cell. A cell whose worker died three times is recorded as failed, as is
one that alone exceeds a limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from bench import cage, experiment
from bench.cage import Cage
from bench.cell import key
from bench.checkpoint import Checkpoints
from bench.experiment import Job, Record
from bench.limits import Limits, size_text
from bench.stopping import Stop

Stack = list[Job]
TRIES = 3
_LOOK = 0.1  # seconds between looks at the workers' memory; what is reserved and never touched does not count


@dataclass(frozen=True)
class Errand:
    """What all stacks of a run have in common.

    Attributes:
        facts: provenance that the driver knows.
        attempts: how often each key failed in earlier runs.
        limits: of a worker.
        settled: whether a cell has a result by now, from another driver on the same folder.
        checkpoints: where the states of long cells are kept; None: nowhere.
    """

    facts: Mapping[str, Any]
    attempts: Mapping[str, int]
    limits: Limits = field(default_factory=Limits)
    settled: Callable[[str], bool] = lambda _: False
    checkpoints: Checkpoints | None = None

    def task(self, stack: Stack) -> tuple[Any, ...]:
        """The arguments of `experiment.perform`."""
        mine = {k: n for job in stack if (n := self.attempts.get(k := key_of(job)))}
        return stack, self.facts, mine, self.checkpoints

    def wanted(self, stack: Stack) -> Stack:
        """The cells of a stack that are still without a result."""
        return [job for job in stack if not self.settled(key_of(job))]

    def failed(self, job: Job, reason: str) -> Record:
        """The record of a cell that could not be run."""
        return experiment.failure(job, self.facts, reason, self.attempts)


@dataclass(frozen=True)
class Source:
    """Records as they come, and after an interrupt those that are finished already."""

    records: Iterator[Record]
    last_words: Callable[[], Iterator[Record]]


class Retries:
    """Which cells were lost with their workers, and how often since they last got further."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.tries: dict[str, int] = {}
        self.states: dict[str, int] = {}

    def after(self, stack: Stack, how: str) -> tuple[list[Stack], list[Record]]:
        """What to run again, cell by cell, and the records of what is given up.

        Args:
            stack: that was lost.
            how: the worker died, as the record will say.
        """
        again: list[Stack] = []
        given_up: list[Record] = []
        for job in stack:
            number = self._count(key_of(job))
            if number < TRIES:
                again.append([job])
            else:
                given_up.append(self.errand.failed(job, f"its worker died {number} times; the last one {how}"))
        return again, given_up

    def _count(self, key: str) -> int:
        """Deaths without getting any further: a long cell on a machine that kills at random is no poison."""
        places = self.errand.checkpoints
        state = 0 if places is None else places.written(key)
        if state != self.states.get(key, 0):
            self.states[key], self.tries[key] = state, 0
        self.tries[key] = self.tries.get(key, 0) + 1
        return self.tries[key]


@dataclass
class _Desk:
    """A place for a worker, and what lies on it."""

    gpu: str | None
    worker: Cage | None = None
    stack: Stack | None = None
    until: float | None = None


class Pool:
    """So many workers; started when there is work for them."""

    def __init__(self, desks: Sequence[str | None], errand: Errand, stop: Stop) -> None:
        self.errand, self.stop = errand, stop
        self.desks = [_Desk(gpu) for gpu in desks]
        self.retries = Retries(errand)
        self.waiting: deque[Stack] = deque()

    def results(self, stacks: Sequence[Stack]) -> Iterator[Record]:
        """The records of all cells, as they come."""
        self.waiting = deque(stacks)
        while True:
            for desk in self.desks:
                if desk.stack is None:
                    self._fill(desk)
            busy = [d for d in self.desks if d.stack is not None]
            if not busy:
                return
            with self.stop.interruptible():
                ready = self._wait(busy)
            for desk in busy:
                if desk.worker is not None and (desk.worker.channel in ready or desk.worker.process.sentinel in ready):
                    yield from self._collect(desk)
                elif (why := self._exceeded(desk)) is not None:
                    yield from self._evict(desk, why)

    def last_words(self) -> Iterator[Record]:
        """What workers have finished already when the run is interrupted."""
        for desk in self.desks:
            if desk.stack is not None and desk.worker is not None and desk.worker.channel.poll():
                yield from desk.worker.answer() or []

    def close(self) -> None:
        """End all workers."""
        for desk in self.desks:
            if desk.worker is not None:
                desk.worker.kill()
                desk.worker = desk.stack = None

    def _fill(self, desk: _Desk) -> None:
        while self.waiting:
            stack = self.errand.wanted(self.waiting.popleft())
            if stack:
                break
        else:
            return
        if desk.worker is None:
            desk.worker = Cage(desk.gpu)
        desk.worker.give(*self.errand.task(stack))
        desk.stack = stack
        limit = self.errand.limits.seconds
        desk.until = None if limit is None else cage.now() + limit * len(stack)

    def _wait(self, busy: Sequence[_Desk]) -> list[Any]:
        timeouts = [max(0.0, d.until - cage.now()) for d in busy if d.until is not None]
        timeouts += [_LOOK] * (self.errand.limits.memory is not None)
        workers = [d.worker for d in busy if d.worker is not None]
        watched = [w.channel for w in workers] + [w.process.sentinel for w in workers]
        return connection.wait(watched, min(timeouts, default=None))

    def _collect(self, desk: _Desk) -> Iterator[Record]:
        worker, stack = desk.worker, desk.stack
        assert worker is not None
        assert stack is not None
        answer = worker.answer() if worker.channel.poll() else None
        desk.stack = None
        if answer is not None:
            yield from answer
            return
        how = worker.death()
        worker.kill()
        desk.worker = None
        again, given_up = self.retries.after(stack, how)
        self.waiting.extendleft(reversed(again))
        yield from given_up

    def _exceeded(self, desk: _Desk) -> str | None:
        limits = self.errand.limits
        if desk.until is not None and cage.now() >= desk.until:
            return f"took longer than the time limit of {limits.seconds:g} s (--cell-timeout)"
        if limits.memory is not None and desk.worker is not None and desk.worker.memory() > limits.memory:
            return f"took more than the memory limit of {size_text(limits.memory)} (--memory-limit)"
        return None

    def _evict(self, desk: _Desk, why: str) -> Iterator[Record]:
        assert desk.worker is not None
        assert desk.stack is not None
        stack = desk.stack
        desk.worker.kill()
        desk.worker = desk.stack = None
        if len(stack) > 1:
            self.waiting.extendleft([job] for job in reversed(stack))
        else:
            yield self.errand.failed(stack[0], why)


def key_of(job: Job) -> str:
    """The key of a job's cell."""
    return key(job.cell, job.content)
