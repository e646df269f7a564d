"""What runs inside a worker process of a Dask cluster: its set-up and the one task that it is given.

A worker of this machine (``dask_setup``) leads a session of its own, so that a terminal's interrupt does not reach it.
It ends with its driver, even in the middle of a plug-in that holds the interpreter lock: on Linux the kernel ends it;
elsewhere Dask's own thread does, once the plug-in releases the lock.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from flipbench.data import in_memory
from flipbench.data.dataset import Dataset
from flipbench.errors import UserError
from flipbench.federation import run_stack
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.records import Job, Record
from flipbench.grid.fields import REFERENCES
from flipbench.plugins import source_hashes, source_text, user_imports
from flipbench.spec.cell import CLEAN
from flipbench.spec.key import ENGINE
from flipbench.system import exception_text, private_parts
from flipbench.system.fingerprint import fingerprint
from flipbench.system.malloc import keep_freed_memory

CONFIG = "flipbench"  # of a local worker: where its `DriverEnvironment` stand in Dask's configuration
BEGAN = "flipbench-began"  # a topic: from now on the time limit counts
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def keep_dask_from_drawing() -> None:
    """Dask guesses sizes of what it sends from samples, in a thread of its own, by Python's global generator.

    While code of a plug-in runs beside it, the change would be taken for the plug-in's (`plugins.guard`).
    """
    sizes: Any = import_module("dask.sizeof")
    if not isinstance(sizes.random, random.Random):
        sizes.random = random.Random(0)


class RefusedError(UserError):
    """A worker differs from the driver in code, plug-ins or data, so its numbers would not belong to the keys."""


@dataclass(frozen=True)
class Task:
    """A stack and what goes with it.

    Attributes:
        jobs: alike cells.
        provenance: what the driver records about itself.
        attempts: how often each key failed before.
        checkpoints: where the states of long cells are kept; None: nowhere.
        seconds: until the worker's end; None: no limit.
        driver: fingerprint of the driver.
        code: source of the functions that were passed in Python (`plugins.source_text`).
    """

    jobs: Sequence[Job]
    provenance: Mapping[str, Any]
    attempts: Mapping[str, int]
    checkpoints: Checkpoints | None
    seconds: float | None
    driver: Mapping[str, str]
    code: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Failed:
    """A stack that raised, as a worker's answer; whatever else reaches the driver is an error of the connection.

    Attributes:
        reason: type and text of the exception.
    """

    reason: str


def perform(task: Task, dataset: Dataset | None) -> list[Record] | Failed:
    """Run a stack.

    Args:
        task: the stack.
        dataset: that came over the wire; None: the worker loads it, as the driver did.

    Raises:
        RefusedError: code, plug-ins or data are not the driver's.
    """
    try:
        return _perform(task, dataset)
    except RefusedError:
        raise
    except BaseException as error:  # of a plug-in: nothing interrupts a worker, and Dask would misread it
        return Failed(exception_text.with_type(error))


def _perform(task: Task, dataset: Dataset | None) -> list[Record]:
    keep_dask_from_drawing()
    own, wanted = fingerprint(), task.driver
    if own != wanted:  # remote ones are inspected before, but this one may have joined later
        differs = ", ".join(f"{name} {own.get(name)}" for name, value in wanted.items() if own.get(name) != value)
        raise RefusedError(
            f"a worker that joined later differs from the driver: it has {differs} (was flipbench edited or installed "
            "anew meanwhile?); finished cells are kept, run the same command again"
        )
    if task.seconds is not None:
        from distributed import get_worker

        own_worker = get_worker()
        own_worker.log_event(BEGAN, {"worker": own_worker.address})
    source_text.add(task.code or {})
    with _alarm(task.seconds):
        for job in task.jobs:
            check_content(job, dataset)
        if dataset is not None:
            in_memory.supply(task.jobs[0].cell.dataset, dataset)
        return run_stack.perform(task.jobs, task.provenance, task.attempts, task.checkpoints)


def check_content(job: Job, dataset: Dataset | None) -> None:
    """Plug-ins, and data that were sent, are what the key says.

    Raises:
        RefusedError: they are not.
    """
    if dataset is not None and dataset.sha256 != job.content["dataset"]:
        raise RefusedError(f"data set {job.cell.dataset} has hash {dataset.sha256}, needs {job.content['dataset']}")
    if source_hashes.engine_mark() != job.content.get(ENGINE):
        raise RefusedError(
            "a worker has other source files of flipbench than the driver: do not edit them during a run"
        )
    for field, kind in REFERENCES.items():
        text = getattr(job.cell, field)
        if field == "dataset" or text == CLEAN:
            continue
        try:
            own = source_hashes.source_hash(kind, text)
        except UserError as error:
            raise RefusedError(f"a worker lacks the {kind} {text}: {error}") from error
        if own != job.content.get(field):
            raise RefusedError(
                f"a worker has another version of the {kind} {text}: hash {own}, the driver has "
                f"{job.content.get(field)}; put the same files on all workers, and leave them as they are during a run"
            )


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """End the worker process after so many seconds, whatever it does; its nanny starts another."""
    if seconds is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)  # it has no handler, so the kernel ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass(frozen=True)
class DriverEnvironment:
    """What a worker of this machine takes over from the driver; the fork server's own may be older.

    Attributes:
        folder: the working directory; paths of plug-in files are relative to it.
        searched: further folders for the imports of plug-ins (`system.import_path.left_out`).
        environment: all of it.
        gpu: the one CUDA device that the worker may see; None: as the driver.
    """

    folder: str
    searched: Sequence[str]
    environment: Mapping[str, str]
    gpu: str | None = None


def dask_setup(worker: Any) -> None:
    """Called by Dask in each new worker process of this machine, before it takes tasks (a *preload*)."""
    import dask

    _end_with_the_driver()
    around = DriverEnvironment(**dask.config.get(CONFIG))
    os.chdir(around.folder)
    os.environ.clear()
    os.environ.update(around.environment)
    user_imports.install(around.searched)
    if around.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = around.gpu  # before CUDA is used for the first time
    _be_killed_first()
    keep_freed_memory()


def _end_with_the_driver() -> None:
    if hasattr(os, "setsid"):
        with suppress(OSError):  # it leads one already
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
    server = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server or server == 1:  # it was gone before the kernel was told
            os._exit(1)
    private_parts.let_go_of_fork_server()


def _be_killed_first() -> None:
    """When the machine runs out of memory, the kernel takes a worker and not the driver."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")
