"""Starts the process that worker processes are forked from; early, because its imports take seconds."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType

from flipbench.system import child_processes, process_folder, safe_children

_PRELOAD = ["flipbench.execution.fork_server_preload"]
_PATIENCE = 60.0  # seconds for a process to import it
_LINES = 4  # of its traceback that are shown


def method() -> str:
    """How worker processes are started on this system: ``forkserver`` or ``spawn``."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def start() -> None:
    """Start the fork server, if it is not running and the system has fork.

    Here and not by Dask: the list of modules to import counts only before its start.
    """
    process_folder.ensure()
    if method() != "forkserver":
        return
    from multiprocessing import forkserver

    with safe_children.safe_children(), undisturbed():
        multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
        forkserver.ensure_running()
    atexit.unregister(child_processes.kill_server)
    atexit.register(child_processes.kill_server)  # by itself it would notice our end only after its imports


def why_imports_fail() -> str | None:
    """Why a process cannot import what workers need: the end of what Python says; None where it can.

    The fork server swallows it, and a worker that lacks a module ends without a word.
    """
    imports = "; ".join(f"import {module}" for module in _PRELOAD)
    child = safe_children.start(imports, {}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    child_processes.register(child.pid)
    try:
        said = child.communicate(timeout=_PATIENCE)[1].decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return None
    finally:
        child_processes.unregister(child.pid)
    if child.returncode == 0:
        return None
    last = "\n".join(f"  {line}" for line in said.splitlines()[-_LINES:])
    return f"a fresh Python process {child_processes.death(child.returncode)} while it imported flipbench\n{last}"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Processes and threads started within do not get a terminal's interrupt: the driver gets it, and ends them.

    They inherit the blocked signal. An interrupt that comes meanwhile reaches the driver afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal when the first process starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main() -> Iterator[None]:
    """Processes started within do not run the program's main module again, as multiprocessing does.

    It may be a script whose next line is this run; worker processes need nothing of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
