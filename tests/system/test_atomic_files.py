"""Files that are written over others: whole or not at all, and untouched where nothing has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flipbench.system import atomic_files


@pytest.mark.parametrize("lasting", [True, False])
def test_a_file_takes_the_place_of_another_in_a_folder_that_is_made(tmp_path: Path, lasting: bool) -> None:
    path = tmp_path / "a" / "b"
    for raw, wanted in ((b"one", b"one"), ([b"t", b"wo"], b"two")):
        atomic_files.replace(path, raw, lasting=lasting)
        assert path.read_bytes() == wanted
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is full")

    path = tmp_path / "file"
    atomic_files.replace(path, b"former")
    with pytest.raises(OSError, match="full"):
        atomic_files.replace(path, parts())
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("raw", [b"same", [b"sa", b"me"]])
def test_an_equal_file_keeps_its_date_only_where_that_is_asked_for(tmp_path: Path, raw: bytes | list[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"same")
    os.utime(path, (1, 1))
    atomic_files.replace(path, raw, keep_equal=True)
    assert path.stat().st_mtime == 1
    atomic_files.replace(path, raw)
    assert path.stat().st_mtime > 1
    atomic_files.replace(path, b"other", keep_equal=True)
    assert path.read_bytes() == b"other"
