"""The worker processes that this driver answers for: started, mourned, killed with all that they started.

A worker leads a session of its own (`execution.dask_worker`): killing its group takes along what a plug-in started.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any

_alive: set[int] = set()


def started(pid: int) -> None:
    """There is a worker."""
    _alive.add(pid)


def ended(pid: int) -> None:
    """It is gone; what it started goes too."""
    _alive.discard(pid)
    _kill(pid)


def kill_all() -> None:
    """End all workers of this process without waiting; for a driver that leaves."""
    for pid in list(_alive):
        _kill(pid)
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def kill_server() -> None:
    """End the server that workers are forked from, in the middle of its imports too."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    pid = getattr(getattr(module, "_forkserver", None), "_forkserver_pid", None)
    if isinstance(pid, int):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _kill(group: int) -> None:
    if hasattr(os, "killpg"):
        with suppress(OSError):  # nobody's group if the worker died before it made one
            os.killpg(group, signal.SIGKILL)


def death(code: int | None) -> str:
    """How a process with this exit code died, for the reader of a record."""
    if code is None or code == 255:
        return "ended for an unknown reason"
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended itself with exit code {code}"
