"""Writes files that are whole or absent, even if the writer is killed: cells, plans, checkpoints, caches, reports.

Publishing: temp file in the same folder, write, fsync, link (the first writer wins), fsync the folder, unlink. A
writer killed at any step leaves either nothing, or the whole file, or a temp file that is never read.
"""

from __future__ import annotations

import errno
import filecmp
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flipbench.errors import UserError

STALE = 60.0  # seconds; a temp file lives for milliseconds
_TEMP = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again (finished cells are kept)",
    errno.EDQUOT: "the quota is used up: free some space and run the same command again (finished cells are kept)",
    errno.EFBIG: "the file size limit is reached: raise it (ulimit -f) and run the same command again",
    errno.EIO: "the disk reports an error: check it",
    errno.EACCES: "permission denied: make the folder readable and writable",
    errno.EPERM: "permission denied: make the folder readable and writable",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "something else lies where a folder belongs: move it away",
    errno.EEXIST: "something else lies where a folder belongs: move it away",
    errno.EISDIR: "a folder lies where a file belongs: move it away",
}
_ELSEWHERE = ", or choose another folder with --results"  # where a command writes, and so has the option
_FINAL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # their advice is whole
_OPENED = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))


class StoreError(UserError):
    """The results folder cannot be read or written; the message names what is wrong and says what to do."""


class IrregularError(StoreError):
    """What lies in the place of a file is a link, a pipe, a folder: none is followed, waited for or opened."""


@contextmanager
def advising(folder: Path, writes: bool = False) -> Iterator[None]:
    """An error of the disk as one that names the culprit and says what to do.

    Args:
        folder: named where the error does not know what it is about.
        writes: whether the user could have chosen another folder to write to.

    Raises:
        StoreError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        what = _ADVICE.get(error.errno or 0, "check the folder")
        if writes and error.errno not in _FINAL:
            what += _ELSEWHERE
        raise StoreError(f"{_culprit(error) or folder}: {error.strerror or error}; {what}") from error


def _culprit(error: OSError) -> str | None:
    """What an error is about: the place that was to be taken rather than the temp file that should have taken it."""
    given = error.filename2 or error.filename
    if given is None or isinstance(given, int):
        return None
    name = os.fsdecode(given)
    return os.path.dirname(name) if _TEMP.fullmatch(os.path.basename(name)) else name


def read(path: str | Path) -> bytes | None:
    """All bytes of a file; None where there is none.

    Raises:
        IrregularError: it is no regular file; whatever it is, it does not hold the reader up.
    """
    try:
        if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):
            raise IrregularError(_irregular(path))
        with open(path, "rb", buffering=0, opener=_open) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        with suppress(OSError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise IrregularError(_irregular(path)) from error
        raise
    raise IrregularError(_irregular(path))


def _open(path: str, _: int) -> int:
    return os.open(path, _OPENED)


def _irregular(path: str | Path) -> str:
    return f"{path}: is no regular file but a link, a pipe or a folder; move it away"


def is_there(path: str | Path) -> bool:
    """Whether a regular file lies there; a link is none."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def publish(path: Path, raw: bytes) -> bool:
    """Make a file unless its place is taken.

    Returns:
        Whether this call made it (not: another writer was first).

    Raises:
        FileNotFoundError: another process removed the temp file; try again.
        OSError: the folder cannot be written.
    """
    make(path.parent)
    if os.path.lexists(path):
        return False
    with _temp(path, raw) as temp:
        try:
            os.link(temp, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.replace(temp, path)  # no hard links here; the same cell has the same numbers, whoever comes last
        _sync(path.parent)
    return True


def replace(path: Path, raw: bytes | Iterable[bytes], *, lasting: bool = True, keep_equal: bool = False) -> None:
    """Write a file over what lies there, whole or not at all.

    Args:
        path: the file; its folder is made.
        raw: what goes into it, or its parts.
        lasting: wait until the disk has it; without, a power failure may leave an older or an empty file.
        keep_equal: leave a file with the same content as it is, with its date.

    Raises:
        OSError: the disk does not take it.
    """
    if keep_equal and isinstance(raw, bytes) and path.is_file() and path.read_bytes() == raw:
        return
    make(path.parent)
    with _temp(path, raw, lasting) as temp:
        if keep_equal and path.is_file() and filecmp.cmp(temp, path, shallow=False):
            return
        os.replace(temp, path)
        if lasting:
            _sync(path.parent)


@contextmanager
def _temp(path: Path, raw: bytes | Iterable[bytes], lasting: bool = True) -> Iterator[Path]:
    """A written (and synced, if lasting) temp file beside ``path``; gone afterwards, whatever happens."""
    temp = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temp, "xb") as file:
            file.writelines([raw] if isinstance(raw, bytes) else raw)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def make(folder: Path) -> None:
    """Make a folder that lasts: its parent is synced too."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder last; a no-op where folders cannot be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if e.is_dir())
    except FileNotFoundError:
        return []


def files(folder: Path, everything: bool = False, tidy: bool = True) -> Iterator[str]:
    """The names of a folder's regular files; temp files that killed writers left are removed on the way.

    Args:
        folder: may be absent.
        everything: links, pipes and folders too.
        tidy: remove temp files that killed writers left.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if everything or e.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for name in names:
        if not (name.startswith(".") and (temp := _TEMP.fullmatch(name))):
            yield name
        elif tidy and _abandoned(folder / name, int(temp[1])):
            with suppress(OSError):  # a folder that may only be read
                (folder / name).unlink()


def _abandoned(temp: Path, pid: int) -> bool:
    """Old, or its writer is gone. A wrong guess (another machine's writer) costs that writer one repetition."""
    try:
        if time.time() - temp.stat().st_mtime > STALE:
            return True
        if os.name == "posix":
            os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except PermissionError:
        pass  # alive, and of another user
    return False
