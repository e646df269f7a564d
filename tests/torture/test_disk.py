"""Full disks, I/O errors, torn and foreign files."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from records import record

from bench.errors import UserError
from bench.store import Store, encode

Told = Callable[[str, str], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_named_loses_nothing_and_goes_on_once_there_is_room(small_disk: Path, told: Told) -> None:
    store, published = Store(small_disk / "r"), []
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)

    def fill() -> None:
        for seed in range(1000):
            store.publish(record(seed=seed))
            published.append(seed)

    with pytest.raises(UserError, match="disk is full") as caught:
        fill()
    number = len(published)
    assert str(store.folder) in str(caught.value)
    assert number > 3
    done = {record(seed=n)["key"]: "done" for n in range(number)}
    assert store.statuses() == done
    assert not list(small_disk.rglob("*.tmp"))
    ballast.unlink()
    assert store.publish(record(seed=number))
    assert store.statuses() == done | {record(seed=number)["key"]: "done"}
    told("disk full (tmpfs of 512 kB)", f"named; {number} earlier cells whole, no temp file, goes on after clearing")


def test_an_error_at_any_call_leaves_what_was_there(
    tmp_path: Path, full: bool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = ["open", "fsync", "link", "close", "scandir"]
    cases = 0
    for name in calls:
        for nth in range(12 if full else 3):
            store, one = Store(tmp_path / f"{name}{nth}"), record(seed=2)
            store.publish(record(seed=1))
            real, seen = getattr(os, name), [0]

            def faulty(*args: Any, real: Any = real, seen: list[int] = seen, nth: int = nth, **options: Any) -> Any:
                seen[0] += 1
                if seen[0] == nth + 1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return real(*args, **options)

            said = "disk reports an error"
            with monkeypatch.context() as patch:
                patch.setattr(os, name, faulty)
                try:
                    store.publish(one)
                    store.statuses()
                except UserError as error:
                    said = str(error)
            assert "disk reports an error" in said
            assert store.statuses()[record(seed=1)["key"]] == "done"
            store.publish(one)
            assert set(store.statuses().values()) == {"done"}
            assert len(store.statuses()) == 2
            cases += 1
    told("I/O error at the nth call", f"{cases} cases: an advising error or none, nothing lost")


def test_torn_and_foreign_files_are_never_used(tmp_path: Path, full: bool, told: Told) -> None:
    store, draw = Store(tmp_path / "r"), random.Random(1)
    made = [record(seed=n, confusion=[[3, 1], [0, 4]], rounds=[1], clients=2) for n in range(3)]
    bad: list[tuple[dict[str, Any], bytes]] = []
    for one in made:
        raw = encode(one)
        bad += [(one, raw[:end]) for end in range(0, len(raw), 1 if full else 60)]
        for _ in range(1000 if full else 20):
            flipped = bytearray(raw)
            flipped[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            bad.append((one, bytes(flipped)))
        bad += [(one, b""), (one, b"null"), (one, encode({**one, "key": "0" * 64})), (one, raw * 2)]
    for one, raw in bad:
        path = store.folder / "cells" / one["key"][:2] / f"{one['key']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        assert store.read(one["key"]) is None
        assert not path.exists()
    assert len(store.quarantined()) == len(bad)
    assert set(store.quarantined().values()) <= {"empty", "torn", "foreign"}
    assert all(store.publish(one) for one in made)
    told("torn results", f"{len(bad):,} damaged files: all quarantined and made again, none read")
