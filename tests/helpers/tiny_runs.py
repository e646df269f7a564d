"""A tiny grid, run in this process or by workers, and the numbers that it stores."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.federation import run_stack
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.federation import Federation
from flipbench.federation.records import Job
from flipbench.grid import reader as grids
from flipbench.grid.reader import Grid
from flipbench.store.store import Store

GRID = """
name: tiny
base: {dataset: digits, clients: 10, model: softmax, rounds: 3, local_steps: 2, batch_size: 8, malicious_fraction: 0.3}
axes:
  aggregator: [fedavg, median, krum]
  attack: [mirrored, "all_to_one(target=0)"]
  seed: [0, 1]
"""


def read(folder: Path, text: str = GRID, **more: Any) -> Grid:
    path = folder / "tiny.yaml"
    path.write_text(textwrap.dedent(text))
    return grids.read(path, **more)


def run(grid: Grid, folder: Path, workers: int = 1, **more: Any) -> runner.Outcome:
    return runner.run(grid, folder, workers=workers, progress=Quiet(), **more)


def numbers(folder: Path) -> dict[str, str]:
    """What is stored, provenance and seconds aside."""
    store = Store(folder)
    kept = ("status", "facts", "content", "mapping", "task", "reason", "result", "twin")
    return {
        k: json.dumps({n: (store.read(k) or {}).get(n) for n in kept}, sort_keys=True) for k in sorted(store.keys())
    }


def broken_off(jobs: list[Job], places: Checkpoints, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until round ``after`` is done and its state written, then stop as a kill would: with nothing tidied up."""
    real = Federation.round

    def deadly(self: Federation, r: int) -> None:
        if r > after:
            raise KeyboardInterrupt
        real(self, r)

    with monkeypatch.context() as patch:
        patch.setattr(Federation, "round", deadly)
        with pytest.raises(KeyboardInterrupt):
            run_stack.perform(jobs, {}, None, places)
