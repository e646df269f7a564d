"""Update attacks that search against the real rule, and the one that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from flipbench.aggregators import fedavg, krum, median, trimmed_mean
from flipbench.attacks.contract import UpdateContext
from flipbench.attacks.updates.mimic import mimic
from flipbench.attacks.updates.optimised import optimal_alie, optimal_ipm
from flipbench.attacks.updates.simple import ipm
from flipbench.attacks.updates.within_variance import alie
from tests.helpers.attack_rounds import RULES, context_of, drawn, near
from tests.oracles import attack_oracles as oracle

# Search against the real rule


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("h", "m"), [(16, 4), (12, 8)])
@pytest.mark.parametrize(
    ("search", "plain"), [(optimal_alie, alie), (optimal_alie, partial(alie, z=1.0)), (optimal_ipm, ipm)]
)
def test_the_search_is_at_least_as_harmful_as_the_default(
    rule: str, h: int, m: int, search: Callable[..., Tensor], plain: Callable[..., Tensor]
) -> None:
    if rule.startswith("bucketing") and m == 8:
        m = 3  # 8 malicious clients in 10 buckets leave the median nothing
    for seed in range(5):
        honest, own = drawn(h, m, dim=30, seed=seed)
        context = context_of(honest, own, RULES[rule])
        found, given_ = (harm(attack(own, context), context) for attack in (search, plain))
        assert found >= given_ * (1 - 1e-6)


def harm(sent: Tensor, context: UpdateContext) -> float:
    return float(harms(sent.unsqueeze(0), context))


def harms(candidates: Tensor, context: UpdateContext) -> Tensor:
    """How far each lie, (trials, malicious, dim), moves the rule's answer from the honest mean."""
    return (context.aggregate(candidates) - context.honest.mean(0)).norm(dim=-1)


def test_the_search_comes_near_the_best_of_a_fine_scan() -> None:
    """Every strength from 0.05 to 64 in steps of 1 %, both signs, after Krum and the median."""
    fine = [0.05 * 1.01**k for k in range(720)]
    for rule in (krum, median, trimmed_mean):
        honest, own = drawn(14, 5, dim=20, seed=3)
        context = context_of(honest, own, rule)
        candidates = torch.stack([alie(own, context, z=sign * z) for z in fine for sign in (1, -1)])
        assert harm(optimal_alie(own, context), context) >= 0.95 * float(harms(candidates, context).max())
        candidates = torch.stack([ipm(own, context, epsilon=e) for e in fine])
        assert harm(optimal_ipm(own, context), context) >= 0.95 * float(harms(candidates, context).max())


@pytest.mark.parametrize(("search", "trials"), [(optimal_alie, 31), (optimal_ipm, 22)])
def test_the_search_asks_as_often_as_it_says(search: Callable[..., Tensor], trials: int) -> None:
    honest, own = drawn(9, 3)
    context, asked = context_of(honest, own), []

    def counted(candidates: Tensor) -> Tensor:
        asked.append(candidates.shape)
        return context.aggregate(candidates)

    search(own, replace(context, aggregate=counted))
    assert len(asked) == 3
    assert sum(shape[0] for shape in asked) == trials
    assert all(shape[1:] == own.shape for shape in asked)


def test_the_search_keeps_to_its_limit_and_passes_over_answers_that_are_not_finite() -> None:
    honest, own = drawn(9, 3)
    context = context_of(honest, own, fedavg)
    strength = (optimal_ipm(own, context, limit=2.0)[0] / honest.mean(0)).abs().max()
    assert strength == pytest.approx(2.0, rel=1e-4)  # under FedAvg the most is the worst

    def broken(candidates: Tensor) -> Tensor:
        return context.aggregate(candidates) * (1 if candidates.abs().max() < 0 else float("nan"))

    near(optimal_ipm(own, replace(context, aggregate=broken)), ipm(own, context))


# Mimic


def rounds_of(count: int, h: int = 6, dim: int = 8) -> list[Tensor]:
    """Honest clients that differ for good: client 2 stands out in one direction."""
    g = torch.Generator().manual_seed(1)
    own = torch.randn(h, dim, generator=g)
    own[2, 0] += 6.0
    return [own + 0.3 * torch.randn(h, dim, generator=g) for _ in range(count)]


def run(attack: mimic, rounds: list[Tensor], seed: int = 0) -> list[int]:
    """Whom it mimicked, round by round."""
    own = torch.zeros(2, rounds[0].shape[1])
    state, said = attack.init(own, context_of(rounds[0], own, seed=seed)), []
    for honest in rounds:
        sent, state = attack(own, context_of(honest, own, seed=seed), state)
        said.append(next(i for i, row in enumerate(honest) if torch.equal(row, sent[0])))
    return said


def test_mimic_says_what_an_honest_client_says_and_keeps_to_it() -> None:
    said = run(mimic(warmup=4), rounds_of(9))
    assert len(set(said[3:])) == 1


def test_mimic_learns_the_direction_and_the_client_of_its_paper() -> None:
    rounds = rounds_of(5)
    for seed in range(10):
        start = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        wanted, z = oracle.mimicked([r.double().tolist() for r in rounds], (start / start.norm()).tolist())
        attack, own = mimic(warmup=5), torch.zeros(2, 8)
        state = attack.init(own, context_of(rounds[0], own, seed=seed))
        for honest in rounds:
            sent, state = attack(own, context_of(honest, own), state)
        assert torch.equal(sent[0], rounds[-1][wanted])
        near(state.direction, z, 1e-9)


def test_mimic_can_be_told_whom_and_can_choose_anew() -> None:
    assert run(mimic(client=4), rounds_of(3)) == [4, 4, 4]
    rounds = rounds_of(4)
    moved = [*rounds, rounds[-1].flip(0)]  # the clients changed places
    kept, anew = (run(mimic(warmup=4, fixed=fixed), moved) for fixed in (True, False))
    assert kept[-1] == kept[-2]
    assert anew[-1] == 5 - anew[-2]


def test_mimic_outlives_fewer_honest_clients() -> None:
    rounds = [*rounds_of(3), rounds_of(1)[0][:1]]
    assert run(mimic(warmup=3), rounds)[-1] == 0


@pytest.mark.parametrize(("options", "told"), [({"client": -1}, "client"), ({"warmup": 0}, "warmup")])
def test_mimic_refuses_options_that_make_no_sense(options: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mimic(**options)
