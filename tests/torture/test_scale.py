"""A hundred thousand cells in the store: planned, counted, reported within seconds and a gigabyte."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.torture import big_store
from tests.torture.torture_size import FULL, size

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]
SEEDS, CELLS = size(11, 1), size(101_376, 400)
GIB = 2**30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the grid and its results."""
    where = tmp_path_factory.mktemp("scale")
    sheet = big_store.write_sheet(where / "big.yaml", SEEDS)
    assert big_store.fill(where / "results" / "big", sheet, CELLS) == CELLS
    return where


def flipbench(place: Path, *arguments: str) -> tuple[str, float, float]:
    """What a command says, its seconds, and the most memory that it and its children took together, in GiB."""
    command = [sys.executable, "-m", "flipbench", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began, most = time.monotonic(), 0.0
    with (place / "out").open("w+") as out:
        process = subprocess.Popen(command, cwd=place, env=env, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(0.02)
        spent = time.monotonic() - began
        out.seek(0)
        said = out.read()
    assert process.returncode == 0, said
    return said, spent, most / GIB


def memory(pid: int) -> float:
    """Bytes of a process and all below it; 0 where it is gone."""
    total, below = 0.0, [str(pid)]
    while below:
        one = Path("/proc") / below.pop()
        try:
            lines = (one / "status").read_text().splitlines()
            below += (one / "task" / one.name / "children").read_text().split()
        except OSError:
            continue
        total += next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0.0)
    return total


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by /proc")
def test_a_full_store_is_planned_counted_and_reported(place: Path, told: Told) -> None:
    said, spent, most = flipbench(place, "plan", "big.yaml")
    assert f"{CELLS:,}" in next(line for line in said.splitlines() if "done" in line)
    told("plan", f"{CELLS:,} cells in {spent:.1f} s, {most:.2f} GiB")
    said, counted, _ = flipbench(place, "results", "results/big")
    assert f"{CELLS:,}" in next(line for line in said.splitlines() if "done" in line)
    told("results", f"{counted:.1f} s")
    said, drawn, peak = flipbench(place, "report", "results/big")
    made = [p for p in (place / "results" / "big").rglob("*") if p.is_file() and p.suffix != ".json"]
    assert (place / "results" / "big" / "report.html") in made
    told("report", f"{len(made)} files in {drawn:.1f} s, {peak:.2f} GiB")
    with (place / "results" / "big" / "tables" / "cells.csv").open() as lines:
        assert sum(1 for _ in lines) == CELLS + 1
    if FULL:
        assert spent <= 10, f"plan took {spent:.1f} s"
        assert drawn <= 60, f"report took {drawn:.1f} s"
        assert max(most, peak) <= 1, f"{max(most, peak):.2f} GiB"
