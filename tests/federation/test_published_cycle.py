"""The short form of a published cycle: FedAvg under pair swaps, right in one round and wrong in the next.

The authors' logs of a study of label flips (100 clients, 40 of them malicious, a CNN, three local epochs at 0.01 with
momentum 0.9, all labels swapped in pairs) show 98.5 % in round 199 and 0.6 % in round 200. A model that is right makes
the malicious clients' losses large and the honest ones' small, so that the malicious updates are the longer ones, and
the other way round. Here: MNIST-5k, a smaller CNN and batches of four, with which the cycle is there after 14 rounds.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.federation import run_stack
from flipbench.federation.records import Job
from flipbench.grid.reader import contents
from flipbench.spec.cell import Cell
from flipbench.spec.twins import normal
from flipbench.store.store import Store

PAIRS = "{0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4, 6: 7, 7: 6, 8: 9, 9: 8}"
PUBLISHED = Cell(
    dataset="mnist5k",
    partition="iid",
    clients=100,
    malicious_fraction=0.4,
    attack=f"permuted(mapping={PAIRS})",
    aggregator="fedavg",
    model="cnn(channels=[8, 16], hidden=[32])",
    rounds=18,
    local_epochs=3,
    learning_rate=0.01,
    momentum=0.9,
    batch_size=4,
    seed=1,
)


@pytest.mark.slow  # a minute of training: nothing shorter shows it
@pytest.mark.timeout(900)
def test_fedavg_swings_from_above_90_to_below_40_percent_and_is_marked(tmp_path: Path) -> None:
    cell = normal(PUBLISHED)
    (record,) = run_stack.perform([Job(cell, contents(cell))], {})
    assert record["status"] == "done", record["reason"]
    accuracy = [sum(m[c][c] for c in range(10)) / sum(map(sum, m)) for m in record["result"]["confusion"]]
    swings = [(a, b) for a, b in pairwise(accuracy) if a > 0.90 and b < 0.40]
    assert swings, accuracy
    store = Store(tmp_path / "cycle")
    store.publish(record)
    store.write_plan({"grid": "cycle", "keys": [record["key"]]})
    row = metrics.evaluate(frames.load(store.folder)).iloc[0]
    assert row["accuracy_stability"] == "oscillates"
    assert row["accuracy_late_spread"] > 0.5
