"""A worker process that may die: it runs one stack at a time, and whatever a plug-in does ends with it.

Workers are forked from a server process that has imported everything and runs no thread, so that a new one is there in
milliseconds; where there is no fork they are started afresh. A worker leads a session of its own: a terminal's
interrupt does not reach it, and killing its group takes along what a plug-in started. It outlives its driver by a
moment at most: the kernel ends it (Linux), and a thread watches for the driver's end (everywhere).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from pathlib import Path
from typing import Any

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_alive: set[Cage] = set()


@dataclass(frozen=True)
class Surroundings:
    """What a worker takes over from the driver, whose own may have changed since the server was started.

    Attributes:
        folder: the current one; plug-in files are named from there.
        environment: all of it.
        gpu: the one CUDA device that the worker may see; None: as the driver.
    """

    folder: str
    environment: Mapping[str, str]
    gpu: str | None = None


class Cage:
    """The driver's handle on one worker process."""

    def __init__(self, gpu: str | None = None) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.gpu, self.channel = gpu, ours
        around = Surroundings(os.getcwd(), dict(os.environ), gpu)
        self.process: Any = _context().Process(target=_serve, args=(theirs, around), daemon=True)
        self.process.start()
        theirs.close()
        _alive.add(self)

    def give(self, *task: Any) -> None:
        """Let it run ``experiment.perform(*task)``; a dead worker is noticed when its answer is asked for."""
        with suppress(OSError):
            self.channel.send(task)

    def answer(self) -> Any:
        """What the task returned; None when the worker died instead."""
        try:
            return self.channel.recv()
        except (EOFError, OSError):
            return None

    def memory(self) -> int:
        """Resident bytes now; 0 where that cannot be told."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    def kill(self) -> None:
        """End it and what it started, at once."""
        pid = self.process.pid
        if hasattr(os, "killpg"):
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # nobody's group if the worker died before it made one
        with suppress(OSError):
            self.process.kill()
        self.process.join(5)
        self.channel.close()
        _alive.discard(self)

    def death(self) -> str:
        """How it died, for the reader of the record."""
        self.process.join(5)
        code = self.process.exitcode
        if code is None or code == 255:
            return "ended for an unknown reason"
        if code < 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended itself with exit code {code}"


def kill_all() -> None:
    """End all workers of this process without waiting; for a driver that leaves at once."""
    for cage in list(_alive):
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(cage.process.pid, signal.SIGKILL)


def start_server() -> None:
    """Start the process that workers are forked from, if it is not running; its start is what takes seconds."""
    context = _context()
    if context.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()


@cache
def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.experiment", "typer"])  # the latter for the script's own import
    return context


def _serve(channel: connection.Connection, around: Surroundings) -> None:
    """The worker's life: read a stack, run it, answer."""
    _end_with_the_driver()
    os.chdir(around.folder)
    os.environ.clear()
    os.environ.update(around.environment)
    if around.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = around.gpu  # before CUDA is used for the first time
    _die_first()
    from bench import experiment

    while True:
        try:
            task = channel.recv()
        except (EOFError, OSError):
            return
        channel.send(experiment.perform(*task))


def _end_with_the_driver() -> None:
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
    server = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server:  # it was gone before the kernel was told
            os._exit(1)
    _let_go_of_the_server()
    driver = multiprocessing.parent_process()
    if driver is not None:
        threading.Thread(target=_watch, args=(driver.sentinel,), daemon=True).start()


def _let_go_of_the_server() -> None:
    """A worker keeps the server alive, lest it want workers of its own: it does not, and must die with the server."""
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    handle = getattr(server, "_forkserver_alive_fd", None)
    if isinstance(handle, int):
        server._forkserver_alive_fd = None
        os.close(handle)


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_first() -> None:
    """When the machine runs out of memory, the kernel takes a worker and not the driver."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


def now() -> float:
    """Seconds on the clock that time limits are kept by."""
    return time.monotonic()
