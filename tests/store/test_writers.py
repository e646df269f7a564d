"""A record is whole or absent: several writers, killed writers, full disks, folders that may only be read."""

from __future__ import annotations

import builtins
import errno
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flipbench.errors import UserError
from flipbench.store.store import Store
from flipbench.system import atomic_files
from flipbench.system.atomic_files import StoreError
from tests.helpers.records import record
from tests.store.store_cases import files_under, path_of


def in_children(count: int, work: Callable[[int], int]) -> list[int]:
    """Exit codes of forked children that each do ``work(number)``."""
    children = []
    for number in range(count):
        if (pid := os.fork()) == 0:
            code = 99
            try:
                code = work(number)
            finally:
                os._exit(code)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def test_of_processes_that_publish_the_same_keys_exactly_one_wins_each(store: Store) -> None:
    made = [record(seed=seed) for seed in range(40)]
    start = time.monotonic() + 0.2

    def publish_all(number: int) -> int:
        while time.monotonic() < start:
            pass
        return sum(store.publish(one | {"seconds": {"setup": float(number)}}) for one in made)

    assert sum(in_children(3, publish_all)) == len(made)
    assert store.statuses() == {one["key"]: "done" for one in made}
    assert len(files_under(store.folder)) == len(made)  # no temp files, nothing in quarantine


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["open", "fsync", "link", "_sync", "unlink"])
def test_a_writer_killed_at_any_step_leaves_all_or_nothing(store: Store, step: str, after: bool) -> None:
    store.publish(record(seed=1))
    one, other = record(seed=2), record(seed=1)["key"]

    def publish_and_die(_: int) -> int:
        owner: Any = {"open": builtins, "unlink": Path, "_sync": atomic_files}.get(step, os)
        real = getattr(owner, step)

        def deadly(*args: Any, **options: Any) -> Any:
            if after:
                real(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, step, deadly)
        store.publish(one)
        return 0

    assert in_children(1, publish_and_die) == [-signal.SIGKILL]
    known = store.statuses()  # clears what the killed writer left
    assert known.get(other) == "done"
    assert (one["key"] in known) == (store.read(one["key"]) is not None)
    if step == "unlink":
        assert one["key"] in known  # linked before
    assert store.publish(one) == (one["key"] not in known)
    assert store.statuses() == {other: "done", one["key"]: "done"}
    assert len(files_under(store.folder)) == 2


def test_a_writer_whose_temp_file_is_cleaned_away_writes_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    link, calls = os.link, []

    def once_gone(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 1:
            Path(source).unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", once_gone)
    assert store.publish(record())
    assert store.read(record()["key"]) is not None


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "disk is full"), (errno.EIO, "disk reports an error"), (errno.EDQUOT, "quota")],
)
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_or_broken_disk_is_named_and_leaves_no_temp_file(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, advice: str, call: str
) -> None:
    store.publish(record(seed=1))
    before = files_under(store.folder)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(UserError, match=advice) as caught:
            store.publish(record(seed=2))
    assert str(store.folder) in str(caught.value)
    assert [f for f in files_under(store.folder) if f not in before] == []
    assert store.publish(record(seed=2))  # once there is room again


def test_a_real_write_that_does_not_fit(store: Store) -> None:
    store.publish(record(seed=1))

    def publish_within_a_kilobyte(_: int) -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(UserError, match="file size limit") as caught:
            store.publish(record(seed=2))
        return 0 if str(store.folder) in str(caught.value) else 1

    assert in_children(1, publish_within_a_kilobyte) == [0]
    assert len(files_under(store.folder)) == 1
    assert store.statuses() == {record(seed=1)["key"]: "done"}


@pytest.fixture
def readable() -> Iterator[Store]:
    """A store of one good and one bad cell, that may only be read; where anybody can reach it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Store(Path(folder) / "grid")
        store.publish(record(seed=1))
        store.publish(record(seed=2))
        store.write_plan({"keys": [record(seed=1)["key"]]})
        path_of(store, record(seed=2)["key"]).write_bytes(b"bad")
        places = [store.folder, *store.folder.rglob("*")]
        for path in places:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield store
        for path in places:
            path.chmod(0o755)


def test_a_folder_that_may_only_be_read(readable: Store) -> None:
    def look(_: int) -> int:
        if os.getuid() == 0:  # root may write anywhere
            os.setgid(65534)
            os.setuid(65534)
        good, bad = record(seed=1)["key"], record(seed=2)["key"]
        assert readable.statuses() == {good: "done"}
        assert readable.read(good) is not None
        assert readable.read(bad) is None  # not believed, though it cannot be moved away
        assert readable.read_plan()["keys"] == [good]
        for refused in (lambda: readable.publish(record(seed=3)), lambda: readable.write_plan({"keys": []})):
            with pytest.raises(UserError, match="permission denied") as caught:
                refused()
            assert str(readable.folder) in str(caught.value)
            assert "--results" in str(caught.value)
        return 0

    assert in_children(1, look) == [0]


def test_a_file_in_place_of_the_folder_is_an_advising_error(tmp_path: Path) -> None:
    (tmp_path / "grid").write_text("I was here first")
    with pytest.raises(StoreError, match="grid"):
        Store(tmp_path / "grid").publish(record())


def test_where_there_are_no_hard_links_a_rename_does(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "link", no_links)
    assert store.publish(record())
    assert not store.publish(record())
    assert len(files_under(store.folder)) == 1


def test_temp_files_of_living_writers_stay(store: Store) -> None:
    store.publish(record())
    shard = path_of(store, record()["key"]).parent
    mine = shard / f".x.json.{os.getpid()}.{'0' * 8}.tmp"
    gone = shard / f".x.json.{2**22 + 1}.{'0' * 8}.tmp"  # no such process
    for temp in (mine, gone):
        temp.write_bytes(b"half")
    store.statuses()
    assert mine.exists()
    assert not gone.exists()
    old = os.stat(mine).st_mtime - 2 * atomic_files.STALE
    os.utime(mine, (old, old))
    store.statuses()
    assert not mine.exists()
