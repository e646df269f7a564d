"""Accuracy client by client, against test examples counted one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis.cell_scores import client_accuracy
from flipbench.analysis.metrics import evaluate
from flipbench.store.store import Store
from tests.helpers import records


def oracle(confusion: np.ndarray, held: list[int]) -> float:
    """Test images of the client: of each class as many copies as it holds examples, right as often as the model is."""
    right = total = 0.0
    for c, count in enumerate(held):
        tested = sum(int(x) for x in confusion[c])
        if not tested:
            continue
        for _ in range(count):
            total += 1
            right += int(confusion[c][c]) / tested
    return right / total


def test_each_client_is_measured_on_its_own_mix_of_classes() -> None:
    g = np.random.default_rng(0)
    confusion = g.integers(0, 9, (4, 5))  # the last column: no prediction
    confusion[2] = 0  # a class without test examples
    held = g.integers(0, 6, (6, 4))
    held[3] = [0, 0, 5, 0]  # only of the class that is not tested: no share
    wanted = [oracle(confusion, held[i].tolist()) for i in (0, 2, 4, 5)]
    assert client_accuracy.of_clients(confusion, held, [1]) == pytest.approx(wanted)


def test_mean_worst_and_tenth_percentile_are_of_honest_clients(tmp_path: Path) -> None:
    confusion = np.diag([90, 50] + [100] * 8)
    confusion[0, 1], confusion[1, 0] = 10, 50
    shares = [[200, 0] + [0] * 8] * 10 + [[0, 200] + [0] * 8] * 2 + [[0] * 9 + [200]] * 8
    cell = records.record(confusion=confusion, attack="mirrored", malicious_count=1, result={"class_counts": shares})
    plain = records.record(confusion=confusion)
    store = Store(tmp_path)
    for one in (cell, plain):
        store.publish(one)
    store.write_plan({"grid": "g", "keys": [cell["key"], plain["key"]]})
    rows = evaluate(frames.load(tmp_path)).set_index("clean")
    each = sorted([0.9] * 9 + [0.5] * 2 + [1.0] * 8)  # client 0 is malicious
    row = rows.loc[False]
    assert row["client_accuracy_mean"] == pytest.approx(sum(each) / 19)
    assert row["client_accuracy_worst"] == 0.5
    assert row["client_accuracy_p10"] == pytest.approx(each[1] + 0.8 * (each[2] - each[1]))  # place 1.8 of 0 to 18
    assert rows.loc[True, [*client_accuracy.COLUMNS]].isna().all()  # not stored: said to be missing, never 0
