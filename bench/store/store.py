"""One JSON file a cell under ``results/<grid>``: what is there is whole, and what was there first stays.

    cells/ab/<key>.json        done and infeasible cells
    failures/<key>.<n>.json    the n-th failed attempt, kept apart so that a later success can still be published
    quarantine/                what cannot be trusted, ``<name>.<defect>.<token>``; each counts as missing
    checkpoints/               of long cells at work (`federation.checkpoints`)
    plan.json                  the keys of the latest run's grid, in its order

How a file is written whole is `system.atomic_files`, what its bytes are `store.record_format`. A record of another
schema is another experiment (the schema is in the key): it stays where it lies and is not read.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.spec import headline, seed_plan
from flipbench.store.record_check import Odd, parsed
from flipbench.store.record_format import DEFECTS, Record, defect, encode, finite, is_intact, status, well_formed
from flipbench.system import atomic_files
from flipbench.system.atomic_files import IrregularError, StoreError, advising

_KEY = re.compile(r"[0-9a-f]{64}")
_CELL = re.compile(r"([0-9a-f]{64})\.json")
_FAILURE = re.compile(r"([0-9a-f]{64})\.(\d{1,9})\.json")
_ASIDE = re.compile(rf".+\.({'|'.join(DEFECTS)})\.[0-9a-f]{{8}}")
_TRIES = 5
_WRITTEN = ("tables", "heatmaps", "checkpoints", "quarantine")  # folders of others in which writers may be killed


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_figures(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(isinstance(text, str) for text in entry.values()) for entry in value
    )


def _is_headline(value: Any) -> bool:
    with suppress(UserError):
        return isinstance(value, str) and bool(headline.parse(value))
    return False


def _is_labels(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, list) and list(map(type, entry))[::2] == [str, str] and not isinstance(entry[1], list | dict)
        for entry in value
    )


_OF_PLAN = (
    *((name, "text", _is_text) for name in ("grid", "title", "source", "command")),
    ("figures", "list of figures", _is_figures),
    ("figure_options", "mapping of options of figures", lambda value: isinstance(value, dict)),
    ("headline", "headline", _is_headline),
    ("seeds", "plan of seeds", lambda value: isinstance(value, dict) and not seed_plan.problems(value)),
    ("labels", "list of labels", _is_labels),
    ("tuning", "mapping of what was tuned", lambda value: isinstance(value, dict)),
    ("trials", "mapping of what is tried", lambda value: isinstance(value, dict)),
)


@dataclass(frozen=True)
class Survey:
    """What one look over a folder found.

    Attributes:
        statuses: key -> done, infeasible, or failed where there are only failures.
        other: keys of whole records that another version of flipbench wrote or will read; sorted.
        damaged: names of files that cannot be trusted; their cells count as missing.
    """

    statuses: Mapping[str, str]
    other: tuple[str, ...]
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Store:
    """The results of one grid.

    Attributes:
        folder: ``results/<grid>``; made when first written to.
        repairs: put damaged files in quarantine and remove what killed writers left; False: leave all as it lies.
    """

    folder: Path
    repairs: bool = True

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
        with advising(self.folder, writes=True):
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):  # another process removed the temp file: write it again
                    if atomic_files.publish(path, raw):
                        return True
                    if self._intact(path, key) is not None:
                        return False
        raise StoreError(f"{path}: holds something that can be neither read as a result nor moved away: remove it")

    def read(self, key: str) -> Record | None:
        """The record of a cell: its result, else its latest failure, else None. A bad file is put in quarantine."""
        _checked_key(key)
        with advising(self.folder):
            record = self._record(f"{self.folder}/cells/{key[:2]}/{key}.json", key, {"done", "infeasible"})
            return self._latest_failure(key) if record is None else record

    def keys(self) -> list[str]:
        """The keys of all done and infeasible cells, of older plans too, sorted; the files are not opened."""
        with advising(self.folder):
            return sorted(key for _, key in self._cell_files())

    def statuses(self) -> dict[str, str]:
        """Key -> done, infeasible, or failed where there are only failures; a `survey` of everything."""
        return dict(self.survey().statuses)

    def survey(self, whole: Collection[str] = ()) -> Survey:
        """Look over the folder: every file is read and its hash checked once.

        Bad files go to quarantine, and what killed writers left is cleared away.

        Args:
            whole: keys of results that are parsed and checked in full as well, which takes some 0.4 ms each: those that
                a run would otherwise pass over, and a report then refuse.
        """
        found: dict[str, str] = {}
        other: list[str] = []
        damaged: list[str] = []
        with advising(self.folder):
            place = self.folder / "failures"
            for name in atomic_files.files(place, everything=True, tidy=self.repairs):
                if match := _FAILURE.fullmatch(name):
                    raw, wrong = self._look(f"{place}/{name}", match[1])
                    if raw is not None and self._told(f"{place}/{name}", match[1], raw, {"failed"}):
                        found[match[1]] = "failed"
                    elif wrong not in (None, "schema"):
                        damaged.append(name)
            for path, key in self._cell_files(everything=True):
                raw, wrong = self._look(path, key)
                if raw is not None and key in whole and _is_odd(raw):
                    self._quarantine(Path(path), key, "odd")
                    damaged.append(f"{key}.json")
                elif raw is not None and (told := self._told(path, key, raw, {"done", "infeasible"})):
                    found[key] = told
                elif wrong == "schema":
                    other.append(key)
                elif wrong is not None:
                    damaged.append(f"{key}.json")
            if self.repairs:
                for folder in (self.folder, *(self.folder / name for name in _WRITTEN)):
                    list(atomic_files.files(folder))  # clears the temp files of killed writers
        return Survey(found, tuple(sorted(other)), tuple(sorted(damaged)))

    def has(self, key: str) -> bool:
        """Whether a cell's place is taken; a look at the name only."""
        with advising(self.folder):
            return atomic_files.is_there(self._cell_path(_checked_key(key)))

    def quarantined(self) -> dict[str, str]:
        """What is in quarantine -> what is wrong: one of `record_format.DEFECTS`, or ``unknown`` for a foreign file."""
        with advising(self.folder):
            names = sorted(atomic_files.files(self.folder / "quarantine", everything=True))
        return {name: found[1] if (found := _ASIDE.fullmatch(name)) else "unknown" for name in names}

    def attempts(self, key: str) -> int:
        """How often a cell failed so far."""
        number = 0
        with advising(self.folder):
            # One gap is bridged: a failure's file may have gone to quarantine.
            while any(os.path.lexists(self._failure_path(key, number + step)) for step in (1, 2)):
                number += 1
        return number

    def failure(self, key: str) -> str:
        """Why a cell failed the last time; empty when it did not."""
        with advising(self.folder):
            record = self._latest_failure(_checked_key(key))
        return "" if record is None else str(record["reason"])

    def damage(self, keys: Collection[str]) -> dict[str, str]:
        """Of cells that count as missing: key -> file whose content cannot be trusted, and what is wrong with it.

        Args:
            keys: of cells without a record.
        """
        found: dict[str, str] = {}
        for name, wrong in self.quarantined().items():
            if name[:64] in keys and wrong in DEFECTS:
                found[name[:64]] = f"{self.folder / 'quarantine' / name}: {self._why(name, wrong)}"
        for key in keys:
            if key not in found and self.has(key):  # not put in quarantine: by a reader, or it may only be read
                found[key] = f"{self._cell_path(key)}: {self._wrong_with(self._cell_path(key), key)}"
        return found

    def reasons(self) -> dict[str, str]:
        """What is in quarantine -> what is wrong with it, in one sentence."""
        return {name: self._why(name, wrong) for name, wrong in self.quarantined().items()}

    def _why(self, name: str, wrong: str) -> str:
        if wrong == "odd":
            with suppress(OSError, StoreError, IrregularError):
                return _oddity(atomic_files.read(self.folder / "quarantine" / name) or b"")
        return DEFECTS.get(wrong, "not put there by flipbench")

    def _wrong_with(self, path: Path, key: str) -> str:
        """What is wrong with a file that cannot be trusted, in one sentence."""
        with suppress(OSError, StoreError):
            try:
                raw = atomic_files.read(path) or b""
            except IrregularError:
                return DEFECTS["irregular"]
            wrong = defect(raw, key)
            return _oddity(raw) if wrong is None else DEFECTS[wrong]
        return "cannot be read"

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Replace ``plan.json``, whole or not at all.

        Raises:
            StoreError: the folder cannot be written.
        """
        text = json.dumps(well_formed(finite(plan)), indent=1, allow_nan=False) + "\n"
        with advising(self.folder, writes=True):
            atomic_files.replace(self.folder / "plan.json", text.encode())

    def has_plan(self) -> bool:
        """Whether there is a plan, of whatever run."""
        return (self.folder / "plan.json").exists()

    def read_plan(self) -> dict[str, Any]:
        """The plan of the latest run.

        Raises:
            StoreError: there is none, or it is no plan.
        """
        path = self.folder / "plan.json"
        with advising(self.folder):
            raw = atomic_files.read(path)
        if raw is None:
            raise StoreError(f"{self.folder} holds no plan.json, so no results: run the grid first")
        try:
            plan = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{path} cannot be read ({error}): run the grid again, finished cells stay") from None
        keys = plan.get("keys") if isinstance(plan, dict) else None
        if not isinstance(keys, list) or not all(isinstance(k, str) and _KEY.fullmatch(k) for k in keys):
            raise StoreError(f"{path} is no plan (needs 'keys', a list of 64 hex digits each): run the grid again")
        for name, what, fits in _OF_PLAN:
            if (value := plan.get(name)) is not None and not fits(value):
                raise StoreError(f"{path} is no plan ({name!r} is no {what}): run the grid again, finished cells stay")
        return dict(plan)

    def _cell_path(self, key: str) -> Path:
        return self.folder / "cells" / key[:2] / f"{key}.json"

    def _failure_path(self, key: str, attempt: int) -> Path:
        return self.folder / "failures" / f"{key}.{attempt:d}.json"

    def _latest_failure(self, key: str) -> Record | None:
        attempts = range(self.attempts(key), 0, -1)
        found = (self._record(self._failure_path(key, n), key, {"failed"}) for n in attempts)
        return next((record for record in found if record is not None), None)

    def _record(self, path: str | Path, key: str, statuses: Collection[str]) -> Record | None:
        """The record in a file; None when there is none, or after putting it in quarantine."""
        if (raw := self._intact(path, key)) is None:
            return None
        try:
            record = parsed(raw)
        except Odd:
            record = None
        if record is None or record["status"] not in statuses:
            self._quarantine(Path(path), key, "odd")
            return None
        return record

    def _told(self, path: str, key: str, raw: bytes, statuses: Collection[str]) -> str | None:
        """The status of a record whose bytes are intact; None after putting it in quarantine for a strange one."""
        if (told := status(raw)) in statuses:
            return told
        self._quarantine(Path(path), key, "odd")
        return None

    def _cell_files(self, everything: bool = False) -> Iterator[tuple[str, str]]:
        """Path and key of every cell's file; of everything that lies in the place of one."""
        for shard in atomic_files.folders(self.folder / "cells"):
            for name in atomic_files.files(shard, everything, self.repairs):
                if match := _CELL.fullmatch(name):
                    yield f"{shard}/{name}", match[1]

    def _intact(self, path: str | Path, key: str) -> bytes | None:
        """The bytes of a file that can be trusted; None when there is none, or after putting it in quarantine."""
        raw, wrong = self._look(path, key)
        if wrong == "schema":  # asked for by its key, it is in the way
            self._quarantine(Path(path), key, wrong)
        return raw

    def _look(self, path: str | Path, key: str) -> tuple[bytes | None, str | None]:
        """The bytes of a file that can be trusted, and what is wrong with it; one of another version is left there."""
        try:
            raw = atomic_files.read(path)
        except IrregularError:
            self._quarantine(Path(path), key, "irregular")
            return None, "irregular"
        if raw is None or (wrong := defect(raw, key)) is None:
            return raw, None
        if wrong != "schema":
            self._quarantine(Path(path), key, wrong)
        return None, wrong

    def _quarantine(self, path: Path, key: str, wrong: str) -> None:
        if not self.repairs:
            return
        aside = self.folder / "quarantine" / f"{path.name}.{wrong}.{secrets.token_hex(4)}"
        try:
            aside.parent.mkdir(exist_ok=True)
            os.rename(path, aside)
        except FileNotFoundError:
            return  # another process was quicker
        except OSError:
            return  # a folder that may only be read: the file counts as missing where it lies
        # Between our look and our move another process may have repaired the place: put a good file back.
        with suppress(IrregularError):
            if wrong != "odd" and is_intact(atomic_files.read(aside) or b"", key):
                with suppress(FileExistsError):
                    os.link(aside, path)
                aside.unlink()


def _is_odd(raw: bytes) -> bool:
    """Whether a file that is whole holds something else than flipbench writes."""
    try:
        parsed(raw)
    except Odd:
        return True
    return False


def _oddity(raw: bytes) -> str:
    """What is wrong with a file that is whole, in one sentence."""
    try:
        record = parsed(raw)
    except Odd as error:
        return f"{DEFECTS['odd']}: {error}"
    return f"{DEFECTS['odd']}: status: a cell that is {record['status']} does not belong there"


def _checked_key(key: str) -> str:
    """Keys reach paths: nothing but 64 hex digits passes."""
    if not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise StoreError(f"a cell's key is 64 hex digits, got {str(key)[:80]!r}")
    return key
