"""The noise of client-level differential privacy: how strong it is, who adds it, and that all meet the same."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from flipbench.aggregators.contract import Cohort
from flipbench.attacks import scaled
from flipbench.federation.federation import run
from flipbench.federation.population import Chain, populate
from flipbench.federation.private_updates import largest_weight
from flipbench.federation.task import Parts
from flipbench.spec.cell import Cell
from flipbench.spec.key import key
from flipbench.training import models, schedules
from tests.helpers.small_federation import CLASSES, FACTS, blobs, mirror, uneven

CLIP, Z = 0.2, 0.7
CLIENT = FACTS | {"rounds": 3, "clip_update": CLIP, "noise_multiplier": Z, "noise_at": "client"}
SERVER = CLIENT | {"noise_at": "server"}


class Server:
    """A rule that keeps what it is sent and what it was told of the round before."""

    def __init__(self, answer: str = "mean") -> None:
        self.answer = answer
        self.sent: list[Tensor] = []
        self.previous: list[Tensor] = []

    def __call__(self, updates: Tensor, cohort: Cohort) -> Tensor:
        self.sent.append(updates.clone())
        self.previous.append(cohort.previous.clone())
        if self.answer == "mean":
            return (cohort.weights.unsqueeze(-1) * updates).sum(-2)
        return updates[..., 0, :] * 0 if self.answer == "zero" else updates.median(-2).values


def served(facts: dict[str, Any], answer: str = "mean", attack: Any = None) -> tuple[Server, dict[str, Any]]:
    """What a server sees of one cell, and the cell's result."""
    cell, server = Cell(**facts), Server(answer)
    task, labels = blobs()
    people = populate(cell, labels, CLASSES, uneven, mirror if cell.attacked else None)
    if attack is not None:
        people = replace(people, chain=Chain(updates=attack))
    make = lambda s, c: models.mlp(s, c, widths=[8])  # noqa: E731
    (result, _), *_ = run([cell], [people], task, Parts(make, schedules.constant, server))
    return server, result


def added(noisy: dict[str, Any], **more: Any) -> Tensor:
    """The noise in the messages of the first round, ``(clients, dim)`` float64."""
    plain = {**noisy, "noise_multiplier": 0.0}
    return (served(noisy, **more)[0].sent[0] - served(plain, **more)[0].sent[0])[0].double()


def test_the_noise_of_clients_has_its_deviation_and_is_independent() -> None:
    drawn = torch.stack([added(CLIENT | {"seed": seed}) for seed in range(4)])  # (seeds, clients, dim)
    number = drawn.numel()
    assert number > 5000
    assert float(drawn.square().mean().sqrt()) == pytest.approx(Z * CLIP, rel=4 / math.sqrt(2 * number))
    assert abs(float(drawn.mean())) < 4 * Z * CLIP / math.sqrt(number)
    alone = drawn.flatten(0, 1) / (Z * CLIP * math.sqrt(drawn.shape[2]))
    others = alone @ alone.T - torch.diag(torch.ones(len(alone), dtype=torch.float64))
    assert float(others.fill_diagonal_(0).abs().max()) < 5 / math.sqrt(drawn.shape[2])  # no two clients or seeds alike
    kurtosis = float((drawn / (Z * CLIP)).pow(4).mean())
    assert kurtosis == pytest.approx(3, rel=0.2)


def test_the_noise_of_the_server_has_the_deviation_of_its_largest_client() -> None:
    """A rule that answers zero: what the next round is told is the noise alone."""
    seen, sizes = [], served(SERVER)[1]["examples"]
    for seed in range(6):
        server, _ = served(SERVER | {"seed": seed, "learning_rate": 0.1}, "zero")
        seen += [p[0].double() for p in server.previous[1:]]
    drawn = torch.stack(seen)
    deviation = Z * CLIP * max(sizes) / sum(sizes)
    assert float(drawn.square().mean().sqrt()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * drawn.numel()))
    assert float(served(SERVER, "zero")[0].previous[0].abs().max()) == 0.0


@pytest.mark.parametrize("per_round", [1, 3, 6])
@pytest.mark.parametrize("sizes", [[1, 2, 3, 4, 5, 135], [5] * 6, [0, 0, 0, 0, 0, 9], [0] * 6])
def test_the_largest_weight_is_that_of_any_client_in_any_round(sizes: list[int], per_round: int) -> None:
    cell = Cell(**{**FACTS, "clients_per_round": per_round})
    found = [n / sum(some) if sum(some) else 1 / per_round for some in combinations(sizes, per_round) for n in some]
    assert largest_weight(cell, sizes) == pytest.approx(max(found))
    assert largest_weight(replace(cell, client_weights="equal"), sizes) == 1 / per_round


@pytest.mark.parametrize("facts", [CLIENT, SERVER])
def test_no_client_is_longer_than_the_bound_before_noise(facts: dict[str, Any]) -> None:
    server, result = served(facts | {"noise_multiplier": 1e-12, "learning_rate": 5.0})
    lengths = torch.stack(server.sent).double().norm(dim=-1)
    assert float(lengths.max()) <= CLIP * (1 + 1e-6)
    assert float(lengths.max()) == pytest.approx(CLIP)
    assert max(map(max, result["norms"])) == pytest.approx(CLIP)


def test_all_rules_the_clean_twin_and_label_flips_meet_the_same_noise() -> None:
    flips = CLIENT | {"attack": "mirrored", "malicious_count": 2, "learning_rate": 5.0}
    clean = added(CLIENT)
    assert torch.equal(clean.float(), added(CLIENT, answer="median").float())
    assert torch.allclose(clean, added(flips), atol=1e-6)  # malicious clients on labels add theirs too
    server = {rule: served(SERVER, rule)[0].previous[1] for rule in ("mean", "zero")}
    plain = served(SERVER | {"noise_multiplier": 0.0})[0].previous[1]
    assert torch.allclose(server["mean"] - plain, server["zero"], atol=1e-6)


def test_an_attack_on_updates_sees_the_messages_is_clipped_and_leaves_its_noise_out() -> None:
    saw: list[Tensor] = []

    def attack(updates: Tensor, context: Any) -> Tensor:
        saw.append(context.honest.clone())
        return scaled(updates, context, factor=1e6)

    facts = CLIENT | {"attack": "scaled", "malicious_count": 2, "attack_start": 2, "learning_rate": 5.0}
    server, result = served(facts, attack=attack)
    malicious = sorted(result["malicious"])
    honest = [c for c in range(6) if c not in malicious]
    assert len(saw) == 2
    for seen, sent in zip(saw, server.sent[1:], strict=True):
        assert torch.equal(seen, sent[0, honest])
        assert sent[0, malicious].double().norm(dim=-1).tolist() == pytest.approx([CLIP] * 2)
    assert float(server.sent[0][0, malicious].norm(dim=-1).min()) > 2 * CLIP  # before the attack they add noise


@pytest.mark.parametrize("facts", [CLIENT, SERVER])
def test_a_client_that_diverges_sends_zero_and_is_counted(facts: dict[str, Any]) -> None:
    diverging = facts | {"learning_rate": 1e38, "noise_multiplier": 1e-9, "rounds": 1}
    server, result = served(diverging)
    gone = int((server.sent[0][0].norm(dim=-1) < 1e-6).sum())
    assert bool(server.sent[0].isfinite().all())
    assert result["nonfinite"] == {"1": gone}
    assert gone > 0
    assert served(diverging | {"noise_multiplier": 0.0})[1]["nonfinite"] == {"1": gone}  # there they are left out


def test_influence_is_of_the_answer_without_the_noise_of_the_server() -> None:
    quiet, noisy = (served(SERVER | {"noise_multiplier": z, "rounds": 1})[1] for z in (0.0, 50.0))
    assert noisy["influence"] == quiet["influence"]
    assert noisy["fedavg_gap"] == pytest.approx([0.0], abs=1e-6)


def test_without_noise_its_place_is_no_other_experiment() -> None:
    assert key(Cell(noise_at="client"), {}) == key(Cell(), {})
    assert key(Cell(clip_update=1.0, noise_multiplier=0.5), {}) != key(
        Cell(clip_update=1.0, noise_multiplier=0.5, noise_at="client"), {}
    )


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"noise_multiplier": 1.0}, "give clip_update"),
        ({"noise_multiplier": -1.0, "clip_update": 1.0}, "greater than or equal to 0"),
        ({"noise_multiplier": math.inf, "clip_update": 1.0}, "finite"),
        ({"noise_multiplier": True, "clip_update": 1.0}, "valid number"),
        ({"noise_multiplier": 1.0, "clip_update": 1.0, "algorithm": "scaffold"}, "control variates"),
        ({"noise_multiplier": 1.0, "clip_update": 1.0, "algorithm": "fednova"}, "leave noise_multiplier out"),
        ({"noise_at": "both"}, "'server' or 'client'"),
    ],
)
def test_bad_noise_is_one_error(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as error:
        Cell(**facts)
    assert error.value.error_count() == 1
