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
from test_runner import numbers
from test_workers import marked, read, run
from torture_size import size

from bench.store import Store

ROOT = Path(__file__).parent.parent.parent
GRID = """
name: tiny
base: {dataset: digits, clients: 5, model: softmax, rounds: ROUNDS, local_steps: 2, batch_size: 8, malicious_count: 1}
axes:
  aggregator: [fedavg, median, krum]
  attack: [mirrored]
  seed: [0, 1]
"""
Told = Callable[[str, str], None]


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
def test_a_run_whose_workers_and_drivers_are_killed_stores_what_an_undisturbed_one_does(
    tmp_path: Path, told: Told
) -> None:
    kills, text = size(20, 2), GRID.replace("ROUNDS", str(size(400, 60)))
    draw, killed, runs = random.Random(0), {"driver": 0, "other": 0}, 0
    of = read(tmp_path, text=text)
    mark = f"FLIPBENCH_TEST_MARK={os.getpid()}-fire"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict([mark.split("=")])
    command = [sys.executable, "-m", "bench", "run", "tiny.yaml", "--workers", "2"]
    code = -1
    while code != 0:
        runs += 1
        assert runs < 60
        with (tmp_path / "out").open("w") as out:
            driver = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out)
        while driver.poll() is None:
            time.sleep(draw.uniform(0.3, 1.5))
            if sum(killed.values()) >= kills or not (tmp_path / "results" / "tiny" / "plan.json").exists():
                continue
            if victims := [pid for pid in marked(mark) if pid != driver.pid]:
                victim = driver.pid if draw.random() < 0.2 else draw.choice(victims)
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed["driver" if victim == driver.pid else "other"] += 1
        code = driver.returncode
    store = Store(tmp_path / "results" / "tiny")
    assert store.quarantined() == {}
    assert not list(store.folder.rglob("*.tmp"))
    run(of, tmp_path / "plain", workers=1)
    assert numbers(store.folder) == numbers(tmp_path / "plain")
    assert marked(mark) == []
    told(
        "real cells killed and resumed",
        f"{sum(killed.values())} kills ({killed['driver']} of drivers): the same numbers",
    )


def test_the_same_numbers_under_another_hash_seed(tmp_path: Path, told: Told) -> None:
    read(tmp_path, text=GRID.replace("ROUNDS", "2"))
    for seed in ("0", "12345"):
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}
        code = (
            "from pathlib import Path; from bench import grid, runner; from bench.progress import Quiet; "
            f"runner.run(grid.read(Path('tiny.yaml')), Path('r{seed}'), workers=1, progress=Quiet())"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    assert numbers(tmp_path / "r0") == numbers(tmp_path / "r12345")
    assert len(numbers(tmp_path / "r0")) > 6
    told("determinism under PYTHONHASHSEED", "two processes: the same numbers")
