"""Loads a plug-in in a process of its own before this process does: code may abort, exit, crash or hang at import.

The process is a copy of this one where the operating system can make copies, which takes some milliseconds. A copy of a
process with threads may itself die or hang, so its word is taken only where the plug-in loads; otherwise a fresh
process, which takes seconds, decides.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from flipbench.errors import UserError
from flipbench.plugins import loading, registry, source_hashes, source_text, user_imports, user_modules
from flipbench.spec.reference import CODE, Reference, parse_chain
from flipbench.system import child_processes, import_path, safe_children

OF_COPY, OF_FRESH = 10.0, 120.0  # seconds that a load may take
_LOADED = "loaded"
_survived: set[tuple[str, str, str]] = set()


class DeadlyPluginError(UserError):
    """A plug-in that ends the process that loads it; the message names its line."""


class _Ending(NamedTuple):
    """How a load ended.

    Attributes:
        loaded: it came to its end; whether it raised is said when this process loads the plug-in.
        how: it ended else, for messages.
        place: ``file:line`` of the user's that ran last; empty where it is not known.
    """

    loaded: bool
    how: str
    place: str


def check(kind: str, text: str) -> None:
    """See that a reference or chain can be loaded without the end of the process; shipped code is not looked at.

    Args:
        kind: a key of `kinds.KINDS`.
        text: of the reference.

    Raises:
        DeadlyPluginError: it ends its process, or takes too long.
        BadReference: the text is no reference.
    """
    for link_kind, part in registry.links(kind, text):
        if registry.is_shipped(link_kind, part.name) or source_text.is_code(part.name):
            continue
        asked = link_kind, str(part), _state(link_kind, part)
        if asked in _survived:
            continue
        ending = _ending(link_kind, str(part))
        if not ending.loaded:
            raise DeadlyPluginError(
                f"{ending.place or CODE.sub('', part.name)}: the process that loads it {ending.how}; "
                "a plug-in is imported before anything runs: remove what ends the process there"
            )
        _survived.add(asked)


def _state(kind: str, part: Reference) -> str:
    """The content of a loose file and its helpers; another reference is loaded once a process."""
    if ".py:" not in part.name:
        return ""
    with suppress(UserError):  # said by whoever loads it
        return source_hashes.source_hash(kind, part) or ""
    return ""


def _ending(kind: str, ref: str) -> _Ending:
    with tempfile.TemporaryDirectory(prefix="flipbench-") as folder:
        report = Path(folder) / "report"
        if hasattr(os, "fork"):
            pid = _copied(lambda: _load(kind, ref, str(report)))
            if _found(report, _wait_for_copy(pid, OF_COPY)).loaded:
                return _Ending(True, "", "")
            report.unlink(missing_ok=True)
        return _found(report, _in_fresh_process(kind, ref, report))


def _found(report: Path, how: str) -> _Ending:
    said = report.read_text(encoding="utf-8", errors="replace") if report.exists() else ""
    said = said.partition("\0")[0]  # behind it are the rest of longer lines
    return _Ending(said == _LOADED, how, "" if said == _LOADED else said)


def _copied(work: Callable[[], None]) -> int:
    """The process id of a copy of this process that does some work and ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies of a process with threads
        pid = os.fork()
    if pid:
        child_processes.register(pid)
        return pid
    try:
        faulthandler.disable()  # this process says how it ended
        os.setsid()  # processes that a plug-in starts end with it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        work()
    finally:
        os._exit(0)


def _wait_for_copy(pid: int, seconds: float) -> str:
    """How a copy ended; it is killed where it takes too long."""
    until = time.monotonic() + seconds
    ended = 0
    try:
        while time.monotonic() < until:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return child_processes.death(os.waitstatus_to_exitcode(status))
            time.sleep(0.002)
        return f"takes longer than {seconds:g} s"
    finally:
        if not ended:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        child_processes.unregister(pid)


def _in_fresh_process(kind: str, ref: str, report: Path) -> str:
    process = safe_children.start(
        "from flipbench.plugins import first_load; first_load.main()",
        {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    child_processes.register(process.pid)
    request = {"kind": kind, "ref": ref, "report": str(report), "folders": import_path.left_out(sys.path)}
    try:
        process.communicate(json.dumps(request).encode(), OF_FRESH)
        return child_processes.death(process.returncode)
    except subprocess.TimeoutExpired:
        return f"takes longer than {OF_FRESH:g} s"
    finally:
        process.kill()
        process.wait()
        child_processes.unregister(process.pid)


def main() -> None:
    """In the fresh process."""
    given: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    user_imports.install(given["folders"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends this process
    _load(given["kind"], given["ref"], given["report"])
    os._exit(0)


def _load(kind: str, ref: str, report: str) -> None:
    """Load a plug-in, with its last line in the report, and at the end that it was loaded."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core is dumped
    with open(report, "wb", buffering=0) as file:

        def say(text: str) -> None:
            file.seek(0)
            file.write(text.encode("utf-8", "replace") + b"\0")

        sys.settrace(_follow(_own_files(ref), say))
        with suppress(BaseException):  # sys.exit too: the driver says it when it loads the plug-in
            registry.resolve(kind, ref)
        sys.settrace(None)
        say(_LOADED)


def _own_files(ref: str) -> dict[str, str]:
    """Files of a loose plug-in -> how messages name them; empty for a module."""
    name = parse_chain(ref)[0].name
    if ".py:" not in name:
        return {}
    path = name.rpartition(":")[0]
    with suppress(UserError, OSError):
        where = loading.place(path).resolve()
        beside = user_modules.beside(where, loading.read_bytes(path))
        return {str(where): path, **{str(module.path): str(module.path) for module in beside.values()}}
    return {}


def _follow(files: dict[str, str], say: Callable[[str], None]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that says each line of some files before it runs; of the user's modules where there is none."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        shown = files.get(name)
        if shown is None and (files or not _is_users(name)):
            return None
        if event == "line":
            say(f"{shown or name}:{frame.f_lineno}")
        return trace

    return trace


_LIBRARIES: Sequence[str] = tuple({os.path.dirname(os.__file__), *(p for p in sys.path if "site-packages" in p)})


def _is_users(file: str) -> bool:
    return not file.startswith(("<", *_LIBRARIES))
