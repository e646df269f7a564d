"""What libraries write into the temporary folder: gone at the end of a process, or when the next one starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from flipbench.system import process_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks of files")
START = """
import multiprocessing, os, signal, sys
from multiprocessing import util
from flipbench.system import process_folder, signals
folder = process_folder.ensure()
assert process_folder.ensure() == folder
assert util.get_temp_dir() == str(folder)
(folder / "dask-scratch-space" / "worker").mkdir(parents=True)
lock = multiprocessing.get_context("spawn").Lock()
{end}
"""


def started(folder: Path, end: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"TMPDIR": str(folder)}
    return subprocess.run([sys.executable, "-c", START.format(end=end)], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("raise RuntimeError", 1), ("signals.leave_at_once()", 130), ("os.fork() or sys.exit()\nos.wait()", 0)],
)
def test_nothing_is_left_by_a_process_that_ends(tmp_path: Path, end: str, code: int) -> None:
    done = started(tmp_path, end)
    assert done.returncode == code, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fork_leaves_the_folder_of_its_parent(tmp_path: Path) -> None:
    done = started(tmp_path, "if os.fork() == 0:\n    sys.exit()\nos.wait()\nassert folder.is_dir()")
    assert done.returncode == 0, done.stderr


def semaphores(folder: Path) -> list[Path]:
    return list(Path("/dev/shm").glob(f"sem.flipbench-{folder.name.removeprefix('flipbench-run-')}-*"))


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_uses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = started(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode < 0, killed.stderr
    (left,) = tmp_path.iterdir()
    if Path("/dev/shm").is_dir():  # as when multiprocessing's own tracker is killed too
        Path(f"/dev/shm/sem.flipbench-{left.name.removeprefix('flipbench-run-')}-test").touch()
    living = subprocess.Popen(
        [sys.executable, "-c", START.format(end="print(folder, flush=True)\nsys.stdin.read()")],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert living.stdout is not None
    used = Path(living.stdout.readline().strip())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process_folder.remove_abandoned()
    assert not left.exists()
    assert not semaphores(left)
    assert (used / "dask-scratch-space" / "worker").is_dir()
    living.communicate("")
    assert living.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_folders_without_a_lock_links_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target, other = tmp_path / "target", tmp_path / "other"
    for folder in (target, other, tmp_path / "flipbench-run-new", tmp_path / "flipbench-run-old"):
        folder.mkdir()
    (target / "lock").touch()
    (tmp_path / "flipbench-run-link").symlink_to(target)
    then = time.time() - 3600
    os.utime(tmp_path / "flipbench-run-old", (then, then))
    process_folder.remove_abandoned()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flipbench-run-link", "flipbench-run-new", "other", "target"]
    assert (target / "lock").exists()
