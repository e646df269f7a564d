"""Registry of this driver's child processes; kills each one's whole process group.

A child process leads a session of its own (`execution.dask_worker`): killing its group also kills what a plug-in
started in it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from flipbench.system import private_parts

_alive: set[int] = set()


def register(pid: int) -> None:
    """Note a child process that has started."""
    _alive.add(pid)


def unregister(pid: int) -> None:
    """Forget a child process that has ended, and kill what it started."""
    _alive.discard(pid)
    _kill(pid)


def kill_all() -> None:
    """Kill all child processes of this driver, without waiting for their end."""
    for pid in list(_alive):
        _kill(pid)
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def kill_server() -> None:
    """Kill the fork server, even in the middle of its imports."""
    pid = private_parts.fork_server_pid()
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _kill(group: int) -> None:
    if hasattr(os, "killpg"):
        with suppress(OSError):  # there is no such group if the process died before it made one
            os.killpg(group, signal.SIGKILL)


def death(code: int | None) -> str:
    """How a process with this exit code ended, for the reader of a record."""
    if code is None or code == 255:
        return "ended for an unknown reason"
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended itself with exit code {code}"
