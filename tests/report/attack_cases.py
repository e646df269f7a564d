"""Grids of several attacks with made-up losses, read as the report reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from flipbench.analysis import frame as frames
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pages import Page, pages
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.records import ATTACKS, BASE

ACCURACY = metric_column("accuracy")
Read = tuple[Page, pd.DataFrame, pd.DataFrame, dict[str, Any]]


def read(folder: Path) -> Read:
    frame = frames.load(folder)
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    return pages(frame)[0], frame, evaluate(frame), plan


FEW = ("mirrored", "all_to_one(target=0)", "worst_case", "optimal_ipm", "backdoor(target=0)", "least_likely")


def grid_of(folder: Path, losses: dict[tuple[str, str], Sequence[float]]) -> Read:
    """(rule, attack) -> accuracy lost by each seed, at a malicious fraction of 0.2; the clean twins lose 0.1."""
    store, keys = Store(folder), {}
    for (rule, attack), each in losses.items():
        for seed, lost in enumerate(each):
            plain = replace(BASE, aggregator=rule, malicious_fraction=0.2, seed=seed)
            cell = replace(plain, attack=attack)
            keys[records.publish(store, cell, ATTACKS[attack], lost=lost)] = None
            keys[records.publish(store, clean_twin(cell), None, lost=0.1)] = None
    store.write_plan({"grid": "g", "title": None, "source": "", "command": None, "keys": list(keys), "figures": []})
    return read(folder)
