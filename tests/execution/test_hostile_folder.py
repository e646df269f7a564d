"""Runs in a folder whose files and folders are named like modules: they are not imported, and change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_runs import numbers
from tests.packaging import hostile_folder

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

GRID = """
name: tiny
base: {dataset: digits, clients: 5, model: softmax, rounds: 1, local_steps: 1, batch_size: 8}
axes: {aggregator: [fedavg, median, "random.py:mine", "attacks.py:mine", "project.rules:half"], seed: [0]}
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Files that note that they were imported, and a package of the user's own."""
    hostile_folder.fill(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "bench_of_mine").mkdir()
    (tmp_path / "project" / "rules.py").write_text("import statistics\nfrom project.shares import HALF\n")
    with (tmp_path / "project" / "rules.py").open("a") as file:
        file.write("def half(updates, cohort, /):\n    return updates.mean(-2) * statistics.mean([HALF, HALF])\n")
    (tmp_path / "project" / "shares.py").write_text("HALF = 0.5\n")
    (tmp_path / "tiny.yaml").write_text(GRID)
    return tmp_path


def ran(folder: Path, *command: str, searched: str | None = None) -> str:
    env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    if searched is not None:
        env["PYTHONPATH"] = searched
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not hostile_folder.executed(folder)
    return done.stdout


def test_no_file_of_the_working_folder_is_imported_with_any_number_of_workers(hostile: Path) -> None:
    def command(*words: str, how: str = "-m") -> list[str]:
        start = ["-m", "flipbench"] if how == "-m" else ["-P", "-c", "from flipbench.__main__ import main; main()"]
        return [*start, *words, "tiny.yaml"]

    assert "likely" not in ran(hostile, *command("plan"))
    said = ran(hostile, *command("run"), "--workers", "1", "--no-progress", "--results", "one")
    assert "5 cells run, 5 done" in said
    said = ran(hostile, *command("run", how="-P"), "--workers", "2", "--no-progress", "--results", "two")
    assert "5 cells run, 5 done" in said
    assert numbers(hostile / "one/tiny") == numbers(hostile / "two/tiny")


SCRIPT = """
import sys
sys.path[0] = ""  # as in a notebook
import flipbench
flipbench.run("tiny.yaml", workers=2, results="r")
"""


def test_a_session_whose_search_path_begins_with_the_working_folder_has_safe_workers(hostile: Path) -> None:
    for name in ("pyarrow", "cupy"):  # which libraries may look for in the session itself
        (hostile / f"{name}.py").unlink()
    ran(hostile, "-P", "-c", PREPARED + SCRIPT)
    assert len(numbers(hostile / "r/tiny")) == 5


PREPARED = """
import json, random, statistics, types, torch, numpy, yaml, logging, dataclasses, socket, signal, threading
import multiprocessing, pickle, dask, distributed, pandas, numba, rich, click, flipbench.execution.local_cluster
"""
