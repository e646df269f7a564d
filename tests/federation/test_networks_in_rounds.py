"""Networks with running statistics and with dropout in whole federations: rules, checkpoints, provenance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flipbench.federation import run_stack, tasks
from flipbench.federation.federation import Federation
from flipbench.federation.records import Job
from flipbench.spec.cell import Cell

DATA = "tests.helpers.input_kinds:"
BASE: dict[str, Any] = {
    **{"clients": 8, "malicious_count": 2, "rounds": 3, "local_steps": 2, "batch_size": 6, "attack": "mirrored"},
    **{"learning_rate": 0.05, "seed": 5},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "loop": {"dataset": f"{DATA}images(n=90)", "model": "resnet(depth=20, width=2)", "evaluate_every": 3},
    "stacked": {"dataset": f"{DATA}tokens", "model": "transformer(width=8, depth=1, heads=2, dropout=0.2)"},
}


def _cell(name: str, **more: Any) -> Cell:
    return Cell(**{**BASE, **NETWORKS[name], **more})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_resumed_federation_ends_with_the_same_bits(name: str) -> None:
    cell = _cell(name, momentum=0.9, optimiser_state="kept")

    def new() -> Federation:
        prepared = tasks.prepare([Job(cell, {})], None)
        return Federation(prepared.cells, prepared.populations, prepared.task, prepared.parts)

    whole, first, second = new(), new(), new()
    assert whole.net.name == name
    for r in (1, 2, 3):
        whole.round(r)
    first.round(1)
    second.restore(0, first.state_of(0))
    for r in (2, 3):
        second.round(r)
    assert torch.equal(whole.weights, second.weights)
    assert not torch.equal(whole.weights, first.weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_rules_of_all_sorts_run_on_it_and_the_executor_is_recorded(name: str) -> None:
    for rule in ("fedavg", "krum", "nnm | trimmed_mean", "geometric_median", "centered_clipping(radius=1)"):
        short = {"rounds": 1, "evaluate_every": 1, "evaluate_last": 1, "local_steps": 1}
        (record,) = run_stack.perform([Job(_cell(name, aggregator=rule, **short), {})], {})
        assert record["status"] == "done", record["reason"]
        assert record["provenance"]["executor"] == name


def test_a_cell_has_the_numbers_that_it_has_in_a_stack() -> None:
    cells = [_cell("stacked"), _cell("stacked", attack="shifted")]
    together = run_stack.perform([Job(cell, {}) for cell in cells], {})
    for cell, record in zip(cells, together, strict=True):
        (alone,) = run_stack.perform([Job(cell, {})], {})
        assert alone["result"] == record["result"]
