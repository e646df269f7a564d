"""Grids with clean twins that were told several f, and the clean number in their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, pages
from flipbench.report.tables.model import Block
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers.records import BASE, LABEL_FLIPS, record

ACCURACY = metric_column("accuracy")
FLIPS = dict(list(LABEL_FLIPS.items())[:2])
SEEDS = (0, 1, 2)
Read = tuple[Page, Any, Any]


def matrix(right: int) -> np.ndarray:
    """(10, 10): so many of each class's 100 recognised, the rest taken for the next."""
    return np.eye(10, dtype=int) * right + np.roll(np.eye(10, dtype=int), 1, axis=1) * (100 - right)


def right(cell: Cell) -> int:
    """FedAvg does not look at f; the others lose 2 % for each client that they are told to distrust."""
    trust = 0 if cell.aggregator == "fedavg" else 2 * cell.byzantine
    return 95 - trust - 10 * (cell.attack == "mirrored") - 5 * (cell.attack.startswith("targeted")) - cell.seed


def write(
    folder: Path,
    rules: Sequence[str] = ("fedavg", "krum", "median"),
    seeds: Sequence[int] = SEEDS,
    refused: Sequence[int] = (8,),
    broken: Sequence[str] = (),
    fractions: Sequence[float] = (0.2, 0.4),
    **facts: Any,
) -> Read:
    """Two attacks at malicious fractions; krum refuses some f, the rules of ``broken`` fail."""
    store, keys = Store(folder), {}
    for rule in rules:
        for attack, mapping in FLIPS.items():
            for fraction in fractions:
                for seed in seeds:
                    base = replace(
                        BASE, aggregator=rule, attack=attack, malicious_fraction=fraction, seed=seed, **facts
                    )
                    for cell in (normal(base), normal(clean_twin(base))):
                        status: dict[str, Any] = {}
                        if rule == "krum" and cell.byzantine in refused:
                            status = {"status": "infeasible", "reason": f"refuses f = {cell.byzantine}"}
                        if rule in broken:
                            status = {"status": "failed", "reason": "made up"}
                        own = mapping if cell.attack != "none" else None
                        made = record(cell, confusion=matrix(right(cell)), mapping=own, **status)
                        if store.read(made["key"]) is None:
                            store.publish(made)
                        keys[made["key"]] = None
    store.write_plan({"grid": folder.name, "title": "t", "source": "", "command": "c", "keys": list(keys)})
    frame = frames.load(folder)
    (page,) = pages(frame)
    return page, frame, metrics.evaluate(frame)


def clean_of(block: Block, rule: str) -> str:
    """The clean number of a rule, whichever way the table lies."""
    lines = dict(block.rows)
    if block.corner == "attack":
        return lines["clean"][block.header[0].index(rule)].text
    return lines[rule][["clean" in head for head in zip(*block.header, strict=True)].index(True)].text
