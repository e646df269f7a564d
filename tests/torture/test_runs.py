"""Real grids under fire: workers and drivers killed, resumed; the stored numbers of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flipbench.grid.reader import Grid
from flipbench.store.store import Store
from tests.helpers.calibration import eventually
from tests.helpers.paths import ROOT
from tests.helpers.poisoned_runs import marked, read, run
from tests.helpers.tiny_runs import numbers
from tests.torture.torture_size import FULL, size

pytestmark = pytest.mark.torture

GRID = """
name: tiny
base: {dataset: digits, clients: 5, model: softmax, rounds: ROUNDS, local_steps: 2, batch_size: 8, malicious_count: 1}
axes:
  aggregator: [fedavg, median, krum]
  attack: [mirrored]
  seed: [0, 1]
"""
REAL = """
name: tiny
base: {dataset: mnist5k, clients: 20, model: "mlp(widths=[64])", rounds: 40, local_steps: 4, batch_size: 32}
axes:
  aggregator: [fedavg, krum, trimmed_mean, median]
  attack: [mirrored, "all_to_one(target=0)"]
  malicious_fraction: [0.1, 0.3]
  seed: [0, 1, 2]
"""
Told = Callable[[str, str], None]


def under_fire(
    folder: Path, name: str, kills: int, pause: tuple[float, float], victim: Callable[[int, list[int]], int | None]
) -> list[bool]:
    """Run ``tiny.yaml`` on two workers until it is done, and kill on the way.

    Args:
        folder: holds the grid and gets the results.
        name: marks the processes.
        kills: how often.
        pause: least and most seconds between two.
        victim: chooses among the driver and all other processes; None: nobody this time.

    Returns:
        For each kill whether it was the driver's.
    """
    draw, killed, runs, code = random.Random(0), list[bool](), 0, -1
    mark = f"FLIPBENCH_TEST_MARK={os.getpid()}-{name}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict([mark.split("=")])
    command = [sys.executable, "-m", "flipbench", "run", "tiny.yaml", "--workers", "2"]
    while code != 0:
        runs += 1
        assert runs < 60
        with (folder / "out").open("w") as out:
            driver = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
        while driver.poll() is None:
            time.sleep(draw.uniform(*pause))
            if len(killed) >= kills or not (folder / "results" / "tiny" / "plan.json").exists():
                continue
            chosen = victim(driver.pid, [pid for pid in marked(mark) if pid != driver.pid])
            if chosen is not None:
                try:
                    os.kill(chosen, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(chosen == driver.pid)
        code = driver.returncode
    assert eventually(lambda: not marked(mark))
    return killed


def the_same(folder: Path, of: Grid) -> int:
    """How many cells are stored; they are those of an undisturbed run in one process."""
    store = Store(folder / "results" / "tiny")
    assert store.quarantined() == {}
    assert not list(store.folder.rglob("*.tmp"))
    run(of, folder / "plain", workers=1)
    assert numbers(store.folder) == numbers(folder / "plain")
    return len(store.keys())


def trainers(others: list[int]) -> list[int]:
    """Which of a driver's processes are workers: those that the fork server made."""
    servers = {pid for pid in others if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    return [
        pid for pid in servers if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) in servers
    ]


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
def test_a_run_whose_workers_and_drivers_are_killed_stores_what_an_undisturbed_one_does(
    tmp_path: Path, told: Told
) -> None:
    of = read(tmp_path, text=GRID.replace("ROUNDS", str(size(400, 60))))
    draw = random.Random(1)

    def anybody(driver: int, others: list[int]) -> int | None:
        return driver if draw.random() < 0.2 else draw.choice(others) if others else None

    killed = under_fire(tmp_path, "fire", size(20, 2), (0.3, 1.5), anybody)
    cells = the_same(tmp_path, of)
    told(
        "real cells killed and resumed",
        f"{cells} cells, {len(killed)} kills ({sum(killed)} of drivers): the same numbers",
    )


@pytest.mark.timeout(900)
@pytest.mark.skipif(not FULL, reason="a grid of minutes: make torture (a short one is above)")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
def test_a_grid_on_two_workers_one_of_which_is_killed_every_few_seconds(tmp_path: Path, told: Told) -> None:
    of, draw, seen = read(tmp_path, text=REAL), random.Random(2), 0

    def a_worker(driver: int, others: list[int]) -> int | None:
        nonlocal seen
        done, found = len(list((tmp_path / "results" / "tiny" / "cells").glob("*/*.json"))), trainers(others)
        if not found or done == seen:  # on a busy machine a new worker may not get to work within the pause
            return None
        seen = done
        return draw.choice(found)

    killed = under_fire(tmp_path, "grid", 1000, (2.0, 4.0), a_worker)
    cells = the_same(tmp_path, of)
    assert len(killed) >= 8
    told("grid on two workers, one killed every 2 to 4 s", f"{cells} cells, {len(killed)} kills: the same numbers")


def test_the_same_numbers_under_another_hash_seed(tmp_path: Path, told: Told) -> None:
    read(tmp_path, text=GRID.replace("ROUNDS", "2"))
    for seed in ("0", "12345"):
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}
        code = (
            "from pathlib import Path; from flipbench.grid import reader; from flipbench.execution import runner; "
            "from flipbench.execution.progress import Quiet; "
            f"runner.run(reader.read(Path('tiny.yaml')), Path('r{seed}'), workers=1, progress=Quiet())"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    assert numbers(tmp_path / "r0") == numbers(tmp_path / "r12345")
    assert len(numbers(tmp_path / "r0")) > 6
    told("determinism under PYTHONHASHSEED", "two processes: the same numbers")
