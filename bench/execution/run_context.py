"""What a run passes to its workers and counts of them: settings of all stacks, records that come back, workers lost.

A stack whose worker dies is run again cell by cell. A cell whose worker died three times is recorded as failed, as is
one that alone exceeds a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.records import Job, Record, failure
from flipbench.spec.key import key
from flipbench.system.limits import Limits

Stack = list[Job]
TRIES = 3


@dataclass(frozen=True)
class RunContext:
    """What all stacks of a run have in common.

    Attributes:
        provenance: what the driver records about itself.
        attempts: how often each key failed in earlier runs.
        limits: of a worker.
        settled: whether a cell has a result by now, from another driver on the same folder.
        checkpoints: where the states of long cells are kept; None: nowhere.
        workers_changed: called with the number of workers whenever it changes.
    """

    provenance: Mapping[str, Any]
    attempts: Mapping[str, int]
    limits: Limits = field(default_factory=Limits)
    settled: Callable[[str], bool] = lambda _: False
    checkpoints: Checkpoints | None = None
    workers_changed: Callable[[int], None] = lambda _: None

    def task(self, stack: Stack) -> tuple[Any, ...]:
        """The arguments of `run_stack.perform`."""
        tries = {k: n for job in stack if (n := self.attempts.get(k := key_of(job)))}
        return stack, self.provenance, tries, self.checkpoints

    def wanted(self, stack: Stack) -> Stack:
        """The cells of a stack that are still without a result."""
        return [job for job in stack if not self.settled(key_of(job))]

    def failed(self, job: Job, reason: str) -> Record:
        """The record of a cell that could not be run."""
        return failure(job, self.provenance, reason, self.attempts)


@dataclass(frozen=True)
class Source:
    """Records as they come, and after an interrupt those that were finished by then."""

    records: Iterator[Record]
    finished_meanwhile: Callable[[], Iterator[Record]]


class Retries:
    """Counts how often each cell was lost with its worker since its last checkpoint."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
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
                given_up.append(self.context.failed(job, f"its worker died {number} times; the last one {how}"))
        return again, given_up

    def _count(self, key: str) -> int:
        """Deaths since the last checkpoint: a long cell on a machine that kills processes at random is not at fault."""
        places = self.context.checkpoints
        state = 0 if places is None else places.written(key)
        if state != self.states.get(key, 0):
            self.states[key], self.tries[key] = state, 0
        self.tries[key] = self.tries.get(key, 0) + 1
        return self.tries[key]


def key_of(job: Job) -> str:
    """The key of a job's cell."""
    return key(job.cell, job.content)
