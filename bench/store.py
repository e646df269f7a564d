"""One JSON file a cell under ``results/<grid>``: what is there is whole, and what was there first stays.

    cells/ab/<key>.json        done and infeasible cells
    failures/<key>.<n>.json    the n-th failed attempt, kept apart so that a later success can still be published
    quarantine/                files that cannot be trusted, ``<name>.<defect>.<token>``; each counts as missing
    checkpoints/               of long cells at work (`bench.checkpoint`)
    plan.json                  the keys of the latest run's grid, in its order

Publishing: temp file in the same folder, write, fsync, link (the first writer wins), fsync the folder, unlink. A
writer killed at any step leaves either nothing, or the whole record, or a temp file that nobody reads.

A file is the canonical JSON of its record with the hash of exactly those bytes spliced in as the last member, so that
a check costs one pass of SHA-256 and no second encoding. A record of another schema is another experiment (the schema
is in the key): it stays where it lies and is not read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # four times as fast as json.loads, and as exact

from bench.cell import SCHEMA, canonical_json
from bench.errors import UserError

Record = dict[str, Any]

_KEY = re.compile(r"[0-9a-f]{64}")
_FAILURE = re.compile(r"([0-9a-f]{64})\.(\d{1,9})\.json")
_ASIDE = re.compile(r".+\.(empty|torn|foreign|schema)\.[0-9a-f]{8}")
_OF_SCHEMA = re.compile(rb',"schema":\d{1,9},')
_TEMP = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")
_STATUS = re.compile(rb',"status":"([a-z]+)",')  # cannot occur inside a JSON text: its quotes would be escaped
_BODY = b',"body":"'
DEFECTS = {
    "empty": "nothing in it",
    "torn": "cut off, or changed after it was written: the bytes do not have the hash they carry",
    "foreign": "another cell's record under this name",
    "schema": "a record of another version of flipbench",
}
_LEAVE = frozenset({"schema"})
_STALE = 60.0  # seconds; a temp file lives for milliseconds
_TRIES = 5
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again (finished cells are kept)",
    errno.EDQUOT: "the quota is used up: free some space and run the same command again (finished cells are kept)",
    errno.EFBIG: "the file size limit is reached: raise it (ulimit -f) and run the same command again",
    errno.EIO: "the disk reports an error: check it, or choose another folder with --results",
    errno.EACCES: "permission denied: make the folder readable and writable, or choose another one with --results",
    errno.EPERM: "permission denied: make the folder readable and writable, or choose another one with --results",
    errno.EROFS: "the file system is read-only: choose another folder with --results",
}


class StoreError(UserError):
    """The results folder cannot be read or written; the message names it and says what to do."""


@dataclass(frozen=True)
class Store:
    """The results of one grid.

    Attributes:
        folder: ``results/<grid>``; made when first written to.
    """

    folder: Path

    def publish(self, record: Mapping[str, Any]) -> bool:
        """Store a record unless its place is taken; non-finite floats become null.

        Args:
            record: everything but the body hash; ``key``, ``status`` and ``attempts`` choose the file.

        Returns:
            Whether this call published it (not: another writer was first).

        Raises:
            StoreError: the folder cannot be written.
        """
        key = _checked_key(record["key"])
        path = self._failure_path(key, record["attempts"]) if record["status"] == "failed" else self._cell_path(key)
        raw = encode(record)
        with self._advising():
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):  # somebody cleaned our temp file away: write it again
                    if _publish(path, raw):
                        return True
                    if self._intact(path, key) is not None:
                        return False
        raise StoreError(f"{path}: holds something that can be neither read as a result nor moved away: remove it")

    def read(self, key: str) -> Record | None:
        """The record of a cell: its result, else its latest failure, else None. A bad file is put in quarantine."""
        with self._advising():
            raw = self._intact(self._cell_path(_checked_key(key)), key)
            if raw is None:
                raw = self._latest_failure(key)
        return None if raw is None else dict(from_json(raw))

    def keys(self) -> list[str]:
        """The keys of all done and infeasible cells, of older plans too, sorted; the files are not opened."""
        with self._advising():
            return sorted(path.stem for path in self._cell_files())

    def statuses(self) -> dict[str, str]:
        """Key -> done, infeasible, or failed where there are only failures.

        Reads and checks every file once, parses none, and clears away what killed writers left.
        """
        found: dict[str, str] = {}
        with self._advising():
            for path in _files(self.folder / "failures"):
                if (name := _FAILURE.fullmatch(path.name)) and self._intact(path, name[1], _LEAVE) is not None:
                    found[name[1]] = "failed"
            for path in self._cell_files():
                raw = self._intact(path, path.stem, _LEAVE)
                if raw is not None and (status := _STATUS.search(raw)):
                    found[path.stem] = status[1].decode()
            list(_files(self.folder))  # clears the temp files of a killed writer of the plan
        return found

    def has(self, key: str) -> bool:
        """Whether a cell's place is taken; a look at the name only."""
        with self._advising():
            return self._cell_path(_checked_key(key)).exists()

    def quarantined(self) -> dict[str, str]:
        """The files in quarantine -> what is wrong with them: one of `DEFECTS`, or ``unknown`` for a stranger."""
        with self._advising():
            names = sorted(path.name for path in _files(self.folder / "quarantine"))
        return {name: found[1] if (found := _ASIDE.fullmatch(name)) else "unknown" for name in names}

    def of_other_schemas(self) -> list[str]:
        """Keys of whole records that another version of flipbench wrote or will read; sorted."""
        with self._advising():
            paths = list(self._cell_files())
            return sorted(p.stem for p in paths if defect(_bytes(p), p.stem) == "schema")

    def attempts(self, key: str) -> int:
        """How often a cell failed so far."""
        number = 0
        with self._advising():
            # One gap is bridged: a failure's file may have gone to quarantine.
            while any(self._failure_path(key, number + step).exists() for step in (1, 2)):
                number += 1
        return number

    def failure(self, key: str) -> str:
        """Why a cell failed the last time; empty when it did not."""
        with self._advising():
            raw = self._latest_failure(_checked_key(key))
        return "" if raw is None else str(from_json(raw)["reason"])

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Replace ``plan.json``, whole or not at all.

        Raises:
            StoreError: the folder cannot be written.
        """
        text = json.dumps(finite(plan), indent=1, allow_nan=False) + "\n"
        with self._advising():
            _make(self.folder)
            with _temp(self.folder / "plan.json", text.encode()) as temp:
                os.replace(temp, self.folder / "plan.json")
                _sync(self.folder)

    def read_plan(self) -> dict[str, Any]:
        """The plan of the latest run.

        Raises:
            StoreError: there is none, or it is no plan.
        """
        path = self.folder / "plan.json"
        with self._advising():
            try:
                plan = json.loads(path.read_bytes())
            except FileNotFoundError:
                raise StoreError(f"{self.folder} holds no plan.json, so no results: run the grid first") from None
            except ValueError as error:
                raise StoreError(f"{path} cannot be read ({error}): run the grid again, finished cells stay") from None
        keys = plan.get("keys") if isinstance(plan, dict) else None
        if not isinstance(keys, list) or not all(isinstance(k, str) and _KEY.fullmatch(k) for k in keys):
            raise StoreError(f"{path} is no plan (needs 'keys', a list of 64 hex digits each): run the grid again")
        return dict(plan)

    def _cell_path(self, key: str) -> Path:
        return self.folder / "cells" / key[:2] / f"{key}.json"

    def _failure_path(self, key: str, attempt: int) -> Path:
        return self.folder / "failures" / f"{key}.{attempt:d}.json"

    def _latest_failure(self, key: str) -> bytes | None:
        attempts = range(self.attempts(key), 0, -1)
        return next((raw for n in attempts if (raw := self._intact(self._failure_path(key, n), key)) is not None), None)

    def _cell_files(self) -> Iterator[Path]:
        for shard in _folders(self.folder / "cells"):
            for path in _files(shard):
                if path.suffix == ".json" and _KEY.fullmatch(path.stem):
                    yield path

    def _intact(self, path: Path, key: str, leave: frozenset[str] = frozenset()) -> bytes | None:
        """The bytes of a file that can be trusted; None when there is none, or after putting it in quarantine.

        Args:
            path: of the file.
            key: of its cell.
            leave: defects with which a file stays where it is.
        """
        raw = _bytes(path)
        if raw is None or (wrong := defect(raw, key)) is None:
            return raw
        if wrong not in leave:
            self._quarantine(path, key, wrong)
        return None

    def _quarantine(self, path: Path, key: str, wrong: str) -> None:
        aside = self.folder / "quarantine" / f"{path.name}.{wrong}.{secrets.token_hex(4)}"
        try:
            aside.parent.mkdir(exist_ok=True)
            os.rename(path, aside)
        except FileNotFoundError:
            return  # another process was quicker
        except OSError:
            return  # a folder that may only be read: the file counts as missing where it lies
        # Between our look and our move another process may have mended the place: put a good file back.
        if is_intact(aside.read_bytes(), key):
            with suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()

    @contextmanager
    def _advising(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = _ADVICE.get(error.errno or 0, "check the folder, or choose another one with --results")
            raise StoreError(f"{self.folder}: {error.strerror or error}; {what}") from error


def encode(record: Mapping[str, Any]) -> bytes:
    """The file of a record: its canonical JSON (non-finite floats as null) with the hash of it as last member."""
    rest = {name: value for name, value in record.items() if name != "body"}
    try:
        text = canonical_json(rest)
    except ValueError:  # a NaN or an infinity somewhere: rare, so looked for only now
        text = canonical_json(finite(rest))
    return text[:-1] + _BODY + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


def is_intact(raw: bytes, key: str) -> bool:
    """Whether a file is exactly what `encode` wrote for this key and schema."""
    return defect(raw, key) is None


def defect(raw: bytes | None, key: str) -> str | None:
    """What is wrong with the bytes of a record's file: one of `DEFECTS`; None when they can be trusted."""
    if not raw:
        return "empty"
    text, _, tail = raw.rpartition(_BODY)
    if tail != hashlib.sha256(text + b"}").hexdigest().encode() + b'"}\n':
        return "torn"
    if f',"key":"{key}",'.encode() not in text:
        return "foreign"
    if f',"schema":{SCHEMA},'.encode() in text:
        return None
    return "schema" if _OF_SCHEMA.search(text) else "foreign"


def finite(value: Any) -> Any:
    """The same nested value with every non-finite float replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value


def _checked_key(key: str) -> str:
    """Keys reach paths: nothing but 64 hex digits passes."""
    if not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise StoreError(f"a cell's key is 64 hex digits, got {str(key)[:80]!r}")
    return key


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _publish(path: Path, raw: bytes) -> bool:
    _make(path.parent)
    if path.exists():
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


@contextmanager
def _temp(path: Path, raw: bytes) -> Iterator[Path]:
    """A written and synced temp file beside ``path``; gone afterwards, whatever happens."""
    temp = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temp, "xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    """Make a folder that lasts: its parent is synced too."""
    if not folder.is_dir():
        _make(folder.parent)
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


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if e.is_dir())
    except FileNotFoundError:
        return []


def _files(folder: Path) -> Iterator[Path]:
    """The plain files of a folder; temp files that killed writers left are removed on the way."""
    try:
        with os.scandir(folder) as entries:
            paths = [Path(e.path) for e in entries if e.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for path in paths:
        if not (temp := _TEMP.fullmatch(path.name)):
            yield path
        elif _abandoned(path, int(temp[1])):
            with suppress(OSError):  # a folder that may only be read
                path.unlink()


def _abandoned(temp: Path, pid: int) -> bool:
    """Old, or its writer is gone. A wrong guess (another machine's writer) costs that writer one repetition."""
    try:
        if time.time() - temp.stat().st_mtime > _STALE:
            return True
        if os.name == "posix":
            os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except PermissionError:
        pass  # alive, and somebody else's
    return False
