"""What a record says of costs and of the classes of each client, against numbers counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.aggregators import RULES, Cohort
from flipbench.federation.aggregation import Aggregation
from flipbench.federation.records import Job
from flipbench.federation.run_stack import perform
from flipbench.spec.cell import Cell

CELL = Cell(dataset="digits", model="softmax", clients=6, rounds=1, partition="dirichlet(alpha=0.5)")
PARAMETERS = 64 * 10 + 10


def record_of(cell: Cell) -> dict[str, Any]:
    (record,) = perform([Job(cell, {"dataset": "d"})], {})
    assert record["status"] == "done", record["reason"]
    return dict(record)


@pytest.mark.parametrize(
    ("fields", "clients", "vectors"),
    [({}, 6, 1), ({"clients_per_round": 4}, 4, 1), ({"algorithm": "scaffold"}, 6, 2)],
    ids=["all", "some", "scaffold"],
)
def test_bytes_of_a_round_are_float32_numbers_of_each_client(fields: Any, clients: int, vectors: int) -> None:
    cost = record_of(replace(CELL, **fields))["cost"]
    assert cost["bytes_up"] == cost["bytes_down"] == 4 * PARAMETERS * clients * vectors
    assert cost["rule_peak"] > 0


def test_class_counts_are_of_the_examples_that_each_client_trains_on() -> None:
    result = record_of(replace(CELL, attack="mirrored", malicious_count=2))["result"]
    assert [sum(row) for row in result["class_counts"]] == result["examples"]
    assert len({tuple(row) for row in result["class_counts"]}) == 6
    clean = record_of(CELL)["result"]
    assert clean["class_counts"] == result["class_counts"]  # true classes, whatever the labels say
    assert record_of(replace(CELL, partition="iid"))["result"]["class_counts"] is None


def measured(rule: Any, cells: int, rounds: int = 2) -> int | None:
    """The peak after some rounds of updates of 1 MB a cell."""
    updates = torch.randn(cells, 10, 25_000, generator=torch.Generator().manual_seed(0))
    cohort = Cohort.of(updates, 2, model=torch.zeros(cells, 25_000))
    aggregation = Aggregation(rule, f"rule of {cells} cells")
    for _ in range(rounds):
        aggregation.update(updates, cohort, updates.norm(dim=-1))
    return aggregation.peak


def test_the_peak_of_a_plug_in_is_that_of_its_second_answer_for_one_cell() -> None:
    calls: list[int] = []

    def copying(updates: Tensor, cohort: Cohort) -> Tensor:
        calls.append(1)
        return (updates.clone() + updates.clone()).mean(-2) / 2  # three megabytes a cell

    assert measured(copying, 1) == pytest.approx(3.1e6, rel=0.05)
    assert measured(copying, 3) == pytest.approx(3.1e6, rel=0.05)
    assert len(calls) == 4  # asked in each round, and not once more
    assert measured(copying, 1, rounds=1) is None


def test_the_peak_of_a_shipped_rule_does_not_depend_on_the_stack() -> None:
    alone, stacked = (measured(RULES["flame"], cells) for cells in (1, 3))
    assert alone is not None
    assert alone > 1e6  # a copy of the updates
    assert alone == pytest.approx(stacked, rel=0.05)
