"""The private parts of multiprocessing, distributed and os that flipbench uses, all of them in this module.

Neither library says in public which process is its fork server, how a worker lets go of it, and how a worker process
ended. `missing` names what an installed version lacks; tests/system/test_private_parts.py fails on such a version.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

_PID, _ALIVE, _EXIT = "_forkserver_pid", "_forkserver_alive_fd", "_on_worker_exit_sync"
_SETTINGS = "_config"  # of a multiprocessing process


def missing() -> list[str]:
    """What the installed versions lack of what is used here, for the reader; empty: nothing."""
    from multiprocessing import forkserver

    from distributed import Nanny

    server = getattr(forkserver, "_forkserver", None)
    lacking = [f"multiprocessing.forkserver._forkserver.{name}" for name in (_PID, _ALIVE) if not hasattr(server, name)]
    settings = getattr(multiprocessing.current_process(), _SETTINGS, {})
    lacking += [] if "semprefix" in settings else ["multiprocessing.current_process()._config['semprefix']"]
    python = ".".join(map(str, sys.version_info[:3]))
    return [f"Python {python} has no {name}" for name in lacking] + (
        [] if hasattr(Nanny, _EXIT) else [f"distributed {version('distributed')} has no Nanny.{_EXIT}"]
    )


def fork_server_pid() -> int | None:
    """The process that worker processes are forked from; None where this process has started none."""
    pid = getattr(_fork_server(), _PID, None)
    return pid if isinstance(pid, int) else None


def let_go_of_fork_server() -> None:
    """Close the pipe by which this process, forked from the server, keeps it alive.

    It keeps the server for workers of its own, has none, and must not outlive its driver through the server.
    """
    server = _fork_server()
    handle = getattr(server, _ALIVE, None)
    if isinstance(handle, int):
        setattr(server, _ALIVE, None)
        os.close(handle)


def keep_temporary_files(folder: str, semaphores: str) -> None:
    """Have multiprocessing write into a folder, where it has not chosen its own yet, and name semaphores so.

    Args:
        folder: of sockets.
        semaphores: what the names of new semaphores begin with.
    """
    settings = getattr(multiprocessing.current_process(), _SETTINGS, None)
    if isinstance(settings, dict):
        settings.setdefault("tempdir", folder)
        settings["semprefix"] = f"/{semaphores}"


def before_worker_exit(nanny: Any, tell: Callable[[int], None]) -> None:
    """Have a nanny call a function with the exit code of its worker process, before it handles the exit itself.

    Args:
        nanny: a ``distributed.Nanny`` that has not started its worker yet.
        tell: called in a thread of Dask's.

    Raises:
        RuntimeError: this version of distributed has no such place.
    """
    handle = getattr(nanny, _EXIT, None)
    if handle is None:
        raise RuntimeError(
            f"distributed {version('distributed')} has no Nanny.{_EXIT}: install the version of constraints.txt"
        )

    def exited(code: int) -> None:
        tell(code)
        handle(code)

    setattr(nanny, _EXIT, exited)


def _fork_server() -> Any:
    """multiprocessing's fork server as this process knows it; None where it was never imported."""
    return getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)


def environment() -> dict[Any, Any]:
    """The environment variables, a hundred times as fast as ``dict(os.environ)``: encoded as the system keeps them."""
    data = getattr(os.environ, "_data", None)
    return dict(data) if isinstance(data, dict) else dict(os.environ)
