"""One temporary folder for what libraries write while this process has workers; nothing of it stays, even after a kill.

multiprocessing keeps sockets and named semaphores, Dask its scratch space, and neither is removed when a process is
killed. They are in a folder, or have its name, whose lock this process holds while it lives. The next process that
starts workers removes those whose lock is free.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flipbench.system import private_parts

_PREFIX = "flipbench-run-"
_LOCK = "lock"
_SEMAPHORES = Path("/dev/shm")  # where Linux keeps named ones
_MAKING = 60.0  # seconds after which a folder without a lock was left by a process that was killed as it made it

_own: tuple[Path, Any, int] | None = None  # the folder, its open lock, and the process that made it


def ensure() -> Path:
    """The folder of this process; made when first asked for, after abandoned ones of the same user were removed."""
    global _own
    if _own is None or _own[2] != os.getpid() or not _own[0].is_dir():
        remove_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        _own = folder, _locked(folder), os.getpid()
        private_parts.keep_temporary_files(str(folder), _semaphores(folder))
        atexit.unregister(remove)
        atexit.register(remove)
    return _own[0]


def remove() -> None:
    """Remove the folder of this process, if there is one; for its end."""
    global _own
    if _own is not None and _own[2] == os.getpid():  # and not a fork of that process
        (folder, lock, _), _own = _own, None
        _remove(folder)
        if lock is not None:
            lock.close()


def remove_abandoned() -> None:
    """Remove the folders, and what has their names, of this user's processes that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _is_ours(folder):
                with _free(folder) as free:
                    if free:
                        _remove_semaphores(folder)
                        _remove(folder)


def _locked(folder: Path) -> Any:
    """The lock of a new folder; it gets its name once it is locked, so that it is never seen without an owner."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    lock = (folder / "new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.rename(folder / "new", folder / _LOCK)
    return lock


@contextmanager
def _free(folder: Path) -> Iterator[bool]:
    """Whether no process holds the lock of a folder; within, no other does either."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    try:
        lock = (folder / _LOCK).open("r+")
    except FileNotFoundError:
        yield time.time() - folder.stat().st_mtime > _MAKING
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _is_ours(folder: Path) -> bool:
    return not folder.is_symlink() and folder.is_dir() and (not hasattr(os, "getuid") or _owner(folder) == os.getuid())


def _owner(path: Path) -> int:
    return path.lstat().st_uid


def _remove_semaphores(folder: Path) -> None:
    """Those that multiprocessing's tracker did not remove, because it was killed too."""
    for semaphore in _SEMAPHORES.glob(f"sem.{_semaphores(folder)}-*"):
        with suppress(OSError):
            semaphore.unlink()


def _remove(folder: Path) -> None:
    """The lock goes last: what is left of a removal that was killed is removed by the next one."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _semaphores(folder: Path) -> str:
    """What the names of this folder's semaphores begin with; macOS allows 30 characters in all."""
    return f"flipbench-{folder.name.removeprefix(_PREFIX)}"
