"""The federation against a plain loop over clients, and what a rule may and may not do to it."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.federation.aggregation import BadUpdateError
from flipbench.federation.federation import run
from flipbench.federation.influence import influence
from flipbench.federation.population import populate
from flipbench.federation.task import Parts
from flipbench.spec.cell import Cell
from flipbench.training import flat_parameters as vectors
from flipbench.training import models, schedules
from tests.helpers.small_federation import CLASSES, FACTS, blobs, fedavg, mirror, uneven
from tests.oracles.federation_oracle import naive


def first(updates: Tensor, cohort: Cohort) -> Tensor:
    """A rule that takes one client's word (a one-hot influence)."""
    return updates[..., 1, :].clone()


def go(
    cells: list[Cell], rule: Any = fedavg, schedule: Any = schedules.constant, model: Any = None
) -> list[dict[str, Any]]:
    task, labels = blobs()
    people = [populate(c, labels, CLASSES, uneven, mirror if c.attacked else None) for c in cells]
    make = model or (lambda s, c: models.mlp(s, c, widths=[8]))
    return [result for result, _ in run(cells, people, task, Parts(make, schedule, rule))]


def one_by_one(cell: Cell, schedule: Any = schedules.constant) -> list[list[int]]:
    """The last round's confusion matrix of the plain loop."""
    task, labels = blobs()
    people = populate(cell, labels, CLASSES, uneven, mirror if cell.attacked else None)
    return naive(cell, people, task, lambda s, c: models.mlp(s, c, widths=[8]), schedule)


CASES: dict[str, dict[str, Any]] = {
    "steps": {},
    "epochs": {"local_steps": None, "local_epochs": 2},
    "FedSGD with client momentum": {"local_steps": 1, "client_momentum": 0.9, "rounds": 30, "learning_rate": 1.0},
    "full batches": {"local_steps": 1, "batch_size": "full", "rounds": 20},
    "local momentum and decay": {"momentum": 0.9, "weight_decay": 0.01, "learning_rate": 0.05},
    "server momentum": {"server_momentum": 0.5, "server_learning_rate": 0.7},
    "client sampling": {"clients_per_round": 3, "rounds": 8, "client_momentum": 0.3},
    "attacked": {"attack": "mirrored", "malicious_count": 3, "flip_rate": 0.8},
    "attack window": {"attack": "mirrored", "malicious_count": 5, "attack_start": 2, "attack_stop": 3},
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_it_is_fedavg_as_one_would_write_it_down(name: str, seed: int) -> None:
    cell = Cell(**(FACTS | CASES[name] | {"seed": seed}))
    # The last matrix may differ by an example whose two best logits agree to float32.
    got, want = torch.tensor(go([cell])[0]["confusion"][-1]), torch.tensor(one_by_one(cell))
    assert int((got - want).abs().sum()) <= 2
    assert int(want.trace()) > 24 or cell.attacked  # it learned something: chance is 15 of 60


def test_a_schedule_sets_the_rate_of_every_round() -> None:
    cell = Cell(**(FACTS | {"rounds": 6}))
    step = lambda t, rounds: schedules.step(t, rounds, every=2, factor=0.1)  # noqa: E731
    got, want = torch.tensor(go([cell], schedule=step)[0]["confusion"][-1]), torch.tensor(one_by_one(cell, step))
    assert int((got - want).abs().sum()) <= 2
    assert [round(schedules.step(t, 6, every=2, factor=0.1), 6) for t in range(5)] == [1, 1, 0.1, 0.1, 0.01]
    assert schedules.decay(3, 9, rate=0.5) == 0.4
    assert [round(schedules.cosine(t, 4), 4) for t in range(4)] == [1.0, 0.8536, 0.5, 0.1464]


@pytest.mark.parametrize("name", [n for n in CASES if n != "full batches"])
def test_stacked_or_one_by_one_the_stored_numbers_are_the_same(name: str) -> None:
    facts = FACTS | CASES[name]
    cells = [
        Cell(**(facts | {"seed": s, "attack": a, "malicious_count": 2}))
        for s in (0, 1, 2)
        for a in ("none", "mirrored")
    ]
    together = go(cells)
    random.Random(0).shuffle(order := list(range(len(cells))))
    shuffled = go([cells[i] for i in order])
    for i, cell in enumerate(cells):
        assert go([cell])[0] == together[i]
        assert shuffled[order.index(i)] == together[i]


def test_rate_zero_is_the_clean_twin_bit_for_bit() -> None:
    facts = FACTS | {"malicious_count": 3, "declared_byzantine": 3}
    a, b = go([Cell(**facts, attack="mirrored", flip_rate=0.0)])[0], go([Cell(**facts)])[0]
    for name in ("rounds", "confusion", "clients", "influence", "norms", "fedavg_gap"):
        assert a[name] == b[name]


def test_an_attack_lives_and_only_in_malicious_clients() -> None:
    facts = FACTS | {"malicious_count": 2, "declared_byzantine": 2, "rounds": 1}
    a, b = go([Cell(**facts, attack="mirrored")])[0], go([Cell(**facts)])[0]
    for client, (x, y) in enumerate(zip(a["norms"][0], b["norms"][0], strict=True)):
        assert (x != y) == (client in a["malicious"])


def test_outside_its_window_an_attack_is_not_there() -> None:
    facts = FACTS | {"malicious_count": 3, "rounds": 5, "declared_byzantine": 3}
    late, clean = go([Cell(**facts, attack="mirrored", attack_start=4)])[0], go([Cell(**facts)])[0]
    assert late["norms"][:3] == clean["norms"][:3]
    assert late["norms"][3] != clean["norms"][3]


def test_evaluated_rounds_hold_the_first_and_the_last() -> None:
    assert go([Cell(**(FACTS | {"rounds": 10, "evaluate_every": 4}))])[0]["rounds"] == [1, 4, 8, 10]


def test_influence_is_one_hot_for_one_word_and_the_weights_for_fedavg() -> None:
    cell = Cell(**FACTS)
    assert go([cell], first)[0]["influence"][0] == pytest.approx([0, 1, 0, 0, 0, 0], abs=1e-4)
    shares = [n / 150 for n in go([cell])[0]["examples"]]
    assert go([cell])[0]["influence"][0] == pytest.approx(shares, abs=1e-4)
    assert go([cell])[0]["fedavg_gap"] == pytest.approx([0] * 4, abs=1e-6)
    assert min(go([cell], first)[0]["fedavg_gap"]) > 0.1


def test_influence_of_duplicates_is_shared_and_of_nonsense_is_nan() -> None:
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    x[1] = x[0]
    assert influence(x, x[0]).tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=1e-6)
    x[2] = float("nan")
    assert influence(x, x[0]).isnan().all()


def test_a_client_whose_update_is_not_finite_is_left_out_and_counted_and_f_shrinks() -> None:
    told: list[tuple[int, int, float]] = []

    def spy(updates: Tensor, cohort: Cohort) -> Tensor:
        told.append((updates.shape[-2], cohort.byzantine, float(cohort.weights.sum())))
        return fedavg(updates, cohort)

    task, labels = blobs()
    cells = [Cell(**(FACTS | {"declared_byzantine": 2, "rounds": 3, "seed": s})) for s in (0, 1)]
    people = [populate(c, labels, CLASSES, uneven, None) for c in cells]
    task.train[people[0].parts[4]] = float("inf")  # client 4 of cell 0 overflows; in cell 1 it is other clients' data
    poisoned = {c for c, rows in enumerate(people[1].parts) if not torch.isfinite(task.train[rows]).all()}
    results = [
        r for r, _ in run(cells, people, task, Parts(lambda s, c: models.softmax(s, c), schedules.constant, spy))
    ]
    assert results[0]["nonfinite"] == {"1": 1, "2": 1, "3": 1}
    assert 1 <= results[1]["nonfinite"]["1"] <= len(poisoned)
    assert told[0] == (5, 1, pytest.approx(1.0))
    assert torch.tensor(results[0]["confusion"]).sum((1, 2)).tolist() == [60] * 3


def spoil(updates: Tensor, cohort: Cohort) -> Tensor:
    updates[..., 0, :] = 0
    return updates.mean(-2)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (spoil, "changed the updates that it was given"),
        (lambda u, c: u, r"must return a tensor of shape \(\*cells, dim\)"),
        (lambda u, c: u.mean(-2).double(), "must return torch.float32"),
        (lambda u, c: u.mean(-2) * float("nan"), "not finite in round 1"),
        (lambda u, c: None, "got NoneType"),
    ],
)
def test_answers_that_cannot_be_applied_are_refused(rule: Any, text: str) -> None:
    with pytest.raises(BadUpdateError, match=text):
        go([Cell(**FACTS)], rule)


def test_infeasible_passes_through_as_what_it_is() -> None:
    def never(updates: Tensor, cohort: Cohort) -> Tensor:
        raise Infeasible("needs more than 6 clients")

    with pytest.raises(Infeasible, match="more than 6"):
        go([Cell(**FACTS)], never)


def test_a_rule_with_memory_keeps_it_between_rounds() -> None:
    class Counting:
        def init(self, updates: Tensor, cohort: Cohort) -> int:
            return 0

        def __call__(self, updates: Tensor, cohort: Cohort, state: int) -> tuple[Tensor, int]:
            assert state == cohort.round - 1
            return fedavg(updates, cohort), state + 1

    assert go([Cell(**FACTS)], Counting())[0]["confusion"] == go([Cell(**FACTS)])[0]["confusion"]


def test_the_server_trains_on_its_own_root_examples() -> None:
    seen: list[Tensor] = []

    def trusting(updates: Tensor, cohort: Cohort) -> Tensor:
        seen.append(cohort.trusted())
        return seen[-1].clone()

    cell = Cell(**(FACTS | {"root_examples": 30, "rounds": 12, "learning_rate": 0.5}))
    result = go([cell], trusting)[0]
    assert sum(result["examples"]) == 120
    assert torch.tensor(result["confusion"][-1]).trace() > 35
    with pytest.raises(Infeasible, match="root data"):
        go([replace(cell, root_examples=0)], trusting)


def test_previous_is_the_last_update_and_weights_sum_to_one() -> None:
    told: list[tuple[Tensor, Tensor]] = []

    def spy(updates: Tensor, cohort: Cohort) -> Tensor:
        assert cohort.weights.sum(-1).tolist() == pytest.approx([1.0])
        assert vectors.dimension(cohort.layout) == updates.shape[-1]
        told.append((cohort.previous.clone(), fedavg(updates, cohort)))
        return told[-1][1].clone()

    go([Cell(**FACTS)], spy)
    assert not told[0][0].any()
    for (_, answer), (previous, _) in pairwise(told):
        assert torch.equal(answer, previous)
