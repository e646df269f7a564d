"""A store of 100,000 cells within a minute: a grid of ten axes, every cell done, records as large as real ones."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flipbench.grid import reader as grids
from flipbench.grid.reader import Grid
from flipbench.spec.cell import Cell
from flipbench.spec.key import canonical_json, key
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers import records

GRID = """
name: big
title: A hundred thousand cells, made up
base:
  clients: 20
  model: mlp(widths=[50])
  rounds: 24
  evaluate_every: 4
axes:
  dataset: [mnist5k, digits]
  partition: [iid, dirichlet(alpha=0.5)]
  learning_rate: [0.1, 0.2]
  momentum: [0.0, 0.9]
  server_momentum: [0.0, 0.5]
  aggregator: [fedavg, krum, multi_krum, median, trimmed_mean, geometric_median, meamed, caf]
  attack: [mirrored, "targeted(source=4, target=9)", all_to_one(target=0), uniform]
  flip_rate: [0.5, 1.0]
  malicious_fraction: [0.1, 0.2, 0.3, 0.4]
  seed: SEEDS
"""
ROUNDS = [1, 4, 8, 12, 16, 20, 24]
_MAPS: dict[str, Any] = records.LABEL_FLIPS
_HOLE = b'"result":0'
_TELLING = ("aggregator", "attack", "malicious", "flip_rate", "seed")  # what the made-up numbers depend on


def write_sheet(path: Path, seeds: int) -> Path:
    """The grid file; 9,216 cells a seed, clean twins included."""
    path.write_text(GRID.replace("SEEDS", str(list(range(seeds)))))
    return path


def fill(folder: Path, sheet: Path, cells: int | None = None) -> int:
    """Write the records of a sheet's first cells (None: all) as the store writes them, less the waiting for the disk.

    Returns:
        How many there are in the store.
    """
    grid, store = grids.read(sheet), Store(folder)
    keys = {key(cell, grids.contents(cell)): cell for cell in grid.cells[:cells]}
    for place in range(256):
        (folder / "cells" / f"{place:02x}").mkdir(parents=True)
    for one, cell in keys.items():
        (folder / "cells" / one[:2] / f"{one}.json").write_bytes(_file(one, cell))
    store.write_plan(plan(grid, list(keys)))
    return len(keys)


def plan(grid: Grid, keys: list[str]) -> dict[str, Any]:
    """The plan that a run would have written."""
    told = {"grid": grid.name, "title": grid.title, "source": grid.source, "command": "flipbench run big.yaml"}
    return {**told, "keys": keys, "figures": []}


def _file(own: str, cell: Cell) -> bytes:
    """What `store.store.encode` makes of the cell's record; its result, the longest part, is encoded once for many."""
    content = grids.contents(cell)
    told = {
        **_frame(cell.dataset),
        **{"key": own, "twin": key(clean_twin(cell), content), "facts": asdict(cell), "content": content},
        **{"mapping": _MAPS.get(cell.attack), "result": 0},
    }
    text = canonical_json(told).replace(_HOLE, b'"result":' + _result(*(getattr(cell, name) for name in _TELLING)))
    return text[:-1] + b',"body":"' + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


@lru_cache(maxsize=8)
def _frame(dataset: str) -> dict[str, Any]:
    return records.record(records.BASE, dataset=dataset)


@lru_cache(maxsize=65536)
def _result(aggregator: str, attack: str, malicious: int, flip_rate: float, seed: int) -> bytes:
    """Rounds that get better, rules that differ, weights with all their digits."""
    cell = replace(records.BASE, aggregator=aggregator, attack=attack, malicious_count=malicious, flip_rate=flip_rate)
    cell = normal(replace(cell, seed=seed))
    counts = [records.confusion(cell, _MAPS.get(attack), progress) for progress in np.linspace(0.25, 1, len(ROUNDS))]
    draw = np.random.default_rng([seed, malicious, len(aggregator)])
    weights = draw.dirichlet(np.ones(20), len(ROUNDS))
    made = records.record(cell, confusion=np.stack(counts), rounds=ROUNDS)["result"]
    norms = np.array(made["norms"]) * draw.uniform(0.9, 1.1)
    return canonical_json({**made, "influence": weights.tolist(), "norms": norms.tolist()})
