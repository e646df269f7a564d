"""Full disks, I/O errors, torn and foreign files."""

from __future__ import annotations

import csv
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flipbench.errors import UserError
from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.grid import reader
from flipbench.report import write
from flipbench.store.record_format import defect, encode
from flipbench.store.store import Store
from flipbench.system import atomic_files as disk
from tests.helpers.paths import ROOT
from tests.helpers.records import record
from tests.helpers.tiny_runs import numbers

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_named_loses_nothing_and_goes_on_once_there_is_room(small_disk: Path, told: Told) -> None:
    store, published = Store(small_disk / "r"), []
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 200_000))

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
    told("disk full (tmpfs of 4 MB)", f"named; {number} earlier cells whole, no temp file, goes on after clearing")


POINTS: list[tuple[Any, str]] = [
    *((os, name) for name in ("open", "fsync", "link", "close", "scandir")),
    (disk, "open"),
]


def test_an_error_at_any_call_leaves_what_was_there(
    tmp_path: Path, full: bool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit, failed = 0, 0
    for owner, name in POINTS:
        for nth in range(12 if full else 4):
            store, one = Store(tmp_path / f"{owner.__name__}{name}{nth}"), record(seed=2)
            store.publish(record(seed=1))
            real, calls = getattr(owner, name, open), [0]

            def faulty(*args: Any, real: Any = real, calls: list[int] = calls, nth: int = nth, **options: Any) -> Any:
                calls[0] += 1
                if calls[0] == nth + 1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return real(*args, **options)

            said = None
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, faulty, raising=False)
                try:
                    store.publish(one)
                    store.statuses()
                except UserError as error:
                    said = str(error)
            hit += calls[0] > nth
            assert (said is not None) == (calls[0] > nth), (name, nth, said)  # no error is passed over
            if said is not None:
                failed += 1
                assert "disk reports an error" in said
                assert str(store.folder) in said
            assert store.statuses()[record(seed=1)["key"]] == "done"
            store.publish(one)
            assert store.statuses() == {record(seed=n)["key"]: "done" for n in (1, 2)}
    assert failed == hit > len(POINTS)
    told("I/O error at the nth call", f"{hit} calls failed, each with advice; nothing lost")


GRID = """
name: small
base: {dataset: digits, clients: 5, model: softmax, rounds: 8, local_steps: 1, batch_size: 8, malicious_count: 1}
axes:
  aggregator: [fedavg, median, krum]
  attack: [mirrored]
  seed: [0, 1, 2, 3]
"""


def flipbench(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and words of a command."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flipbench", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_a_run_on_a_full_disk_ends_with_one_message_and_goes_on_later(
    small_disk: Path, tmp_path: Path, told: Told
) -> None:
    (tmp_path / "small.yaml").write_text(GRID)
    results = small_disk / "r"
    ballast = small_disk / "ballast"
    (results / "small" / "cells").mkdir(parents=True)
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 120_000))  # room for the plan and some cells
    code, said = flipbench(tmp_path, "run", "small.yaml", "--workers", "1", "--no-progress", "--results", str(results))
    assert code not in (0, 1), said
    assert "disk is full" in said
    assert str(results / "small") in said
    assert "Traceback" not in said
    store = Store(results / "small")
    kept = store.statuses()
    assert 0 < len(kept) < 15
    assert set(kept.values()) == {"done"}
    assert not list(small_disk.rglob("*.tmp"))
    ballast.unlink()
    code, said = flipbench(tmp_path, "run", "small.yaml", "--workers", "1", "--no-progress", "--results", str(results))
    assert code == 0, said
    assert set(kept) < set(store.statuses())
    runner.run(reader.read(tmp_path / "small.yaml"), tmp_path / "plain", workers=1, progress=Quiet())
    assert numbers(store.folder) == numbers(tmp_path / "plain")
    told("a run on a full disk", f"exit code 2, {len(kept)} cells kept; the same command later: the numbers of one run")


def test_torn_cells_are_in_no_report_and_are_run_again(tmp_path: Path, told: Told) -> None:
    (tmp_path / "small.yaml").write_text(GRID)
    one, folder = reader.read(tmp_path / "small.yaml"), tmp_path / "small"
    runner.run(one, folder, workers=1, progress=Quiet())
    before, store = numbers(folder), Store(folder)
    spoils: list[Callable[[bytes], bytes]] = [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.replace(b'"seed":0', b'"seed":1'),
        lambda raw: raw[:-1],
    ]
    spoilt = store.keys()[: len(spoils)]
    for key, spoil in zip(spoilt, spoils, strict=True):
        path = folder / "cells" / key[:2] / f"{key}.json"
        raw = path.read_bytes()
        path.write_bytes(spoil(raw))
        assert path.read_bytes() != raw or b'"seed":0' not in raw
    changed = [key for key in spoilt if defect((folder / "cells" / key[:2] / f"{key}.json").read_bytes(), key)]
    assert len(changed) >= 3
    write.write(folder, write.read(folder, repairs=True))
    with (folder / "tables" / "cells.csv").open(newline="") as file:
        shown = {row["key"] for row in csv.DictReader(file)}
    assert shown == set(before) - set(changed)
    assert len(store.quarantined()) == len(changed)
    again = runner.run(one, folder, workers=1, progress=Quiet())
    assert again.ran == len(changed)
    assert numbers(folder) == before
    told("torn cells of a run", f"{len(changed)} in no table, run again: the same numbers")


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
