"""Update attacks: each does what its paper says, and none breaks what all of them owe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.aggregators import Cohort, Infeasible, fedavg, krum, trimmed_mean
from flipbench.attacks.contract import UpdateContext, declares, place
from flipbench.attacks.updates.fang import fang_krum, fang_trimmed_mean
from flipbench.attacks.updates.mimic import mimic
from flipbench.attacks.updates.optimised import optimal_alie, optimal_ipm
from flipbench.attacks.updates.simple import free_rider, gaussian, ipm, scaled, sign_flip
from flipbench.attacks.updates.within_variance import alie, hidden_z, min_max, min_sum
from tests.helpers.attack_rounds import context_of, drawn, near, send, sent_by
from tests.oracles import attack_oracles as oracle

PERTURBATIONS = ["std", "unit", "sign"]


@dataclass(frozen=True)
class Subject:
    """One attack as a grid would bind it.

    Attributes:
        attack: the callable, or a class with memory.
        alike: all malicious clients send the same.
        least: n - 2m must be at least this.
    """

    attack: Any
    alike: bool = True
    least: int = -1000


SUBJECTS: dict[str, Subject] = {
    "sign_flip": Subject(sign_flip, alike=False),
    "sign_flip(scale=4)": Subject(partial(sign_flip, scale=4.0), alike=False),
    "gaussian": Subject(gaussian, alike=False),
    "gaussian(deviation=null)": Subject(partial(gaussian, deviation=None), alike=False),
    "scaled": Subject(scaled, alike=False),
    "scaled(factor=10)": Subject(partial(scaled, factor=10.0), alike=False),
    "ipm": Subject(ipm),
    "free_rider": Subject(free_rider),
    "free_rider(noise=1)": Subject(partial(free_rider, noise=1.0), alike=False),
    "alie": Subject(alie, least=0),
    "alie(z=1.5)": Subject(partial(alie, z=1.5)),
    **{f"min_max({p})": Subject(partial(min_max, perturbation=p)) for p in PERTURBATIONS},
    **{f"min_sum({p})": Subject(partial(min_sum, perturbation=p)) for p in PERTURBATIONS},
    "min_sum(bound=min)": Subject(partial(min_sum, bound="min")),
    "fang_krum": Subject(fang_krum, least=3),
    "fang_trimmed_mean": Subject(fang_trimmed_mean, alike=False),
    "optimal_alie": Subject(optimal_alie),
    "optimal_ipm": Subject(optimal_ipm),
    "mimic": Subject(mimic()),
    "mimic(client=0)": Subject(mimic(client=0)),
    "mimic(fixed=false)": Subject(mimic(fixed=False, warmup=1)),
}
NAMES = list(SUBJECTS)


# What all of them owe


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("h", "m"), [(1, 1), (2, 1), (4, 1), (7, 4), (12, 8), (3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_finite_numbers(name: str, h: int, m: int, dtype: torch.dtype) -> None:
    subject = SUBJECTS[name]
    honest, own = drawn(h, m, dtype=dtype)
    context = context_of(honest, own, fedavg)
    if h - m < subject.least:
        with pytest.raises(Infeasible, match=f"m = {m}"):
            sent_by(subject.attack, own, context)
        return
    sent = sent_by(subject.attack, own, context)
    assert (sent.shape, sent.dtype, sent.device) == (own.shape, dtype, own.device)
    assert torch.isfinite(sent).all()
    if subject.alike:
        assert (sent == sent[0]).all()
    elif m > 1:
        assert (sent != sent[0]).any()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_the_global_generator_are_left_alone(name: str) -> None:
    honest, own = drawn(9, 3)
    context = context_of(honest, own)
    kept = [t.clone() for t in (honest, own, context.previous, context.weights)]
    before = torch.random.get_rng_state()
    sent = sent_by(SUBJECTS[name].attack, own, context)
    sent.zero_()  # what is sent shares no memory with what was given
    assert torch.equal(torch.random.get_rng_state(), before)
    for t, was in zip((honest, own, context.previous, context.weights), kept, strict=True):
        assert torch.equal(t, was)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_numbers(name: str) -> None:
    honest, own = drawn(9, 3)
    attack = SUBJECTS[name].attack
    first, again, other = (sent_by(attack, own, context_of(honest, own, seed=s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    if name.startswith(("gaussian", "fang_trimmed_mean", "free_rider(noise")):
        assert not torch.equal(first, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_honest_clients_that_agree_are_no_trouble(name: str, value: float) -> None:
    honest = torch.full((8, 5), value)
    own = torch.full((3, 5), value)
    sent = sent_by(SUBJECTS[name].attack, own, context_of(honest, own))
    assert torch.isfinite(sent).all()
    if name.startswith(("alie", "min_", "mimic", "optimal_alie")):
        near(sent, own)  # nobody differs, so whoever hides says the same


@pytest.mark.parametrize("name", NAMES)
def test_large_float32_vectors(name: str) -> None:
    honest, own = drawn(5, 1, dim=200_000)
    honest, own = honest * 1e-4, own * 1e-4
    sent = sent_by(SUBJECTS[name].attack, own, context_of(honest, own))
    assert torch.isfinite(sent).all()
    exact = sent_by(SUBJECTS[name].attack, own.double(), context_of(honest.double(), own.double()))
    if "noise" not in name and not name.startswith(("gaussian", "fang_trimmed_mean")):
        near(sent / 1e-4, exact / 1e-4, 1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "mimic(client=0)"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_honest_updates_that_are_not_finite_are_passed_over(name: str, bad: float) -> None:
    """The server leaves such rows out as well; mimic(client=0) alone is told to repeat what it says."""
    honest, own = drawn(11, 3)
    attack, spoilt = SUBJECTS[name].attack, honest.clone()
    spoilt[0, 2] = bad
    previous = honest.mean(0)
    sent = sent_by(attack, own, replace(context_of(spoilt, own), previous=previous))
    assert torch.isfinite(sent).all()
    if name != "scaled":  # which knows n
        if name == "alie":
            attack = partial(alie, z=hidden_z(14, 3))
        near(sent, sent_by(attack, own, replace(context_of(honest[1:], own), previous=previous)))
    if not name.startswith("mimic"):  # nobody is left to repeat
        hopeless = replace(context_of(honest, own), honest=torch.full_like(honest, bad))
        assert torch.isfinite(sent_by(attack, own, hopeless)).all()


@pytest.mark.parametrize("name", NAMES)
def test_they_act_on_updates_and_only_the_searching_ones_ask_the_rule(name: str) -> None:
    attack = SUBJECTS[name].attack
    assert place(attack) == "updates"
    adaptive = name.startswith("optimal")
    assert declares(attack, "adaptive") == adaptive
    honest, own = drawn(9, 3)
    blind = replace(context_of(honest, own), aggregate=UpdateContext.__dataclass_fields__["aggregate"].default)
    if adaptive:
        with pytest.raises(ValueError, match="adaptive"):
            sent_by(attack, own, blind)
    else:
        sent_by(attack, own, blind)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (partial(sign_flip, scale=0.0), "scale"),
        (partial(gaussian, deviation=-1.0), "deviation"),
        (partial(scaled, factor=float("nan")), "factor"),
        (partial(ipm, epsilon=0.0), "epsilon"),
        (partial(free_rider, noise=-0.1), "noise"),
        (partial(alie, z=float("inf")), "finite z"),
        (partial(min_max, perturbation="up"), "'up'"),
        (partial(min_sum, perturbation="up"), "'up'"),
        (partial(min_sum, bound="mean"), "max or min, got 'mean'"),
        (partial(fang_krum, threshold=0.0), "threshold"),
        (partial(fang_trimmed_mean, spread=1.0), "spread"),
        (partial(optimal_alie, limit=0.0), "limit"),
        (partial(optimal_ipm, limit=float("inf")), "limit"),
        (mimic(client=9), "more than 9 honest clients in a round, got 9"),
    ],
)
def test_options_that_make_no_sense_are_refused(attack: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        send(attack, 9, 3)


# What each one is


def test_own_updates_turned_round_and_blown_up() -> None:
    for scale in (1.0, 4.0):
        sent, _, own = send(partial(sign_flip, scale=scale), 6, 3)
        near(sent, oracle.sign_flip(own.tolist(), scale))
    for factor in (None, 7.5):
        sent, honest, own = send(partial(scaled, factor=factor), 6, 3)
        near(sent, oracle.scaled(honest.tolist(), own.tolist(), factor))


def test_scaled_replaces_the_model_of_the_malicious_mean() -> None:
    sent, honest, own = send(scaled, 6, 3)
    near(torch.cat([honest, sent]).mean(0), honest.sum(0).double() / 9 + own.mean(0).double())


def test_gaussian_is_noise_around_zero() -> None:
    sent, _, _ = send(partial(gaussian, deviation=3.0), 5, 4, dim=20_000)
    assert sent.mean().abs() < 0.05
    assert sent.std(1) == pytest.approx([3.0] * 4, rel=0.03)
    assert sent[0] @ sent[1] / 20_000 == pytest.approx(0, abs=0.3)  # each its own


def test_a_fitted_gaussian_has_mean_and_spread_of_what_the_malicious_clients_would_have_sent() -> None:
    fitted = partial(gaussian, deviation=None)
    own = torch.tensor([[1.0, -4.0], [3.0, -4.0], [8.0, -4.0]]).repeat(400, 1)
    sent = sent_by(fitted, own, context_of(torch.full((3, 2), 1e6), own))  # the honest ones are of no interest
    assert sent[:, 0].mean() == pytest.approx(4.0, abs=0.3)
    assert sent[:, 0].std() == pytest.approx((26 / 3) ** 0.5, rel=0.06)
    assert (sent[:, 1] == -4).all()
    alone = own[:1]
    assert torch.equal(sent_by(fitted, alone, context_of(own, alone)), alone)


@given(h=st.integers(1, 9), m=st.integers(1, 5), seed=st.integers(0, 999), epsilon=st.floats(0.01, 20))
@settings(max_examples=40, deadline=None)
def test_ipm_points_against_the_honest_mean(h: int, m: int, seed: int, epsilon: float) -> None:
    sent, honest, _ = send(partial(ipm, epsilon=epsilon), h, m, seed=seed)
    near(sent[0], oracle.ipm(honest.tolist(), epsilon), 1e-4)
    assert sent[0] @ honest.mean(0) < 0


def test_free_rider_repeats_the_last_update() -> None:
    honest, own = drawn(6, 3, dim=5000)
    context = context_of(honest, own)
    assert torch.equal(free_rider(own, context), context.previous.expand(3, -1))
    noisy = free_rider(own, context, noise=0.1) - context.previous
    assert noisy.std() / context.previous.square().mean().sqrt() == pytest.approx(0.1, rel=0.05)
    first = replace(context, previous=torch.zeros(5000))
    assert (free_rider(own, first) == 0).all()
    assert (free_rider(own, first, noise=1.0) == 0).all()


@pytest.mark.parametrize(("n", "m"), [(20, 4), (20, 8), (20, 1), (10, 3), (50, 24), (11, 5), (10, 5), (3, 1), (2, 1)])
def test_alie_z_is_that_of_the_paper(n: int, m: int) -> None:
    assert hidden_z(n, m) == pytest.approx(oracle.alie_z(n, m), abs=1e-9)


def test_alie_z_of_the_example_of_the_paper() -> None:
    """50 clients, 24 of them corrupted: s = 2, so z = Phi^-1(24/26) = 1.43."""
    assert hidden_z(50, 24) == pytest.approx(1.426, abs=1e-3)


@given(h=st.integers(1, 9), m=st.integers(1, 5), seed=st.integers(0, 999), z=st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_alie_stands_z_deviations_below_the_mean(h: int, m: int, seed: int, z: float) -> None:
    sent, honest, _ = send(partial(alie, z=z), h, m, seed=seed)
    near(sent[0], oracle.alie(honest.tolist(), z), 1e-4)
    spread = honest.double().std(0, correction=0)
    assert ((sent[0] - honest.double().mean(0)).abs() <= abs(z) * spread + 1e-5).all()


@given(h=st.integers(2, 8), seed=st.integers(0, 999), kind=st.sampled_from(PERTURBATIONS))
@settings(max_examples=60, deadline=None)
def test_min_max_is_as_far_out_as_its_constraint_allows(h: int, seed: int, kind: str) -> None:
    sent, honest, _ = send(partial(min_max, perturbation=kind), h, 2, seed=seed, dtype=torch.float64)
    near(sent[0], oracle.min_max(honest.tolist(), kind), 1e-6)
    farthest, diameter = (sent[0] - honest).norm(dim=1).max(), torch.cdist(honest, honest).max()
    assert farthest == pytest.approx(float(diameter), rel=1e-6)
    assert (sent[0] - honest.mean(0)) @ torch.tensor(
        oracle.perturbation(honest.tolist(), kind), dtype=torch.float64
    ) > 0


@given(h=st.integers(2, 8), seed=st.integers(0, 999), kind=st.sampled_from(PERTURBATIONS))
@settings(max_examples=60, deadline=None)
def test_min_sum_is_as_far_out_as_its_constraint_allows(h: int, seed: int, kind: str) -> None:
    sent, honest, _ = send(partial(min_sum, perturbation=kind), h, 2, seed=seed, dtype=torch.float64)
    near(sent[0], oracle.min_sum(honest.tolist(), kind), 1e-6)
    total = (sent[0] - honest).square().sum()
    most = torch.cdist(honest, honest).square().sum(1).max()
    assert total == pytest.approx(float(most), rel=1e-6)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_min_sum_as_its_authors_program_has_it(kind: str) -> None:
    attack = partial(min_sum, perturbation=kind, bound="min")
    sent, honest, _ = send(attack, 7, 2, seed=3, dtype=torch.float64)
    near(sent[0], oracle.min_sum(honest.tolist(), kind, min), 1e-6)


# Fang et al.


@given(m=st.integers(1, 4), more=st.integers(3, 6), seed=st.integers(0, 999), spread=st.sampled_from([0.05, 0.5, 3.0]))
@settings(max_examples=60, deadline=None)
def test_fang_krum_is_the_papers_and_is_chosen_where_it_can(m: int, more: int, seed: int, spread: float) -> None:
    g = torch.Generator().manual_seed(seed)
    h = m + more
    rows = torch.randn(6, generator=g) + spread * torch.randn(h + m, 6, generator=g)
    honest, own = rows[:h].double(), rows[h:].double()
    sent = fang_krum(own, context_of(honest, own))
    near(sent[0], oracle.fang_krum(honest.tolist(), own.tolist(), 1e-5), 1e-7)
    everyone = torch.cat([honest, sent])
    strength = sent[0].abs().max()
    if strength > 1e-5:
        assert torch.equal(krum(everyone, Cohort.of(everyone, byzantine=m)), sent[0])
    before = torch.cat([honest, own])
    assert sent[0] @ krum(before, Cohort.of(before, byzantine=m)) < 0  # against where the model would have gone


def test_fang_krum_is_chosen_on_spread_clients() -> None:
    """Updates far more scattered than their common part: here the attack is known to win."""
    won = 0
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        rows = 0.1 + torch.randn(16, 40, generator=g)
        honest, own = rows[:12], rows[12:]
        sent = fang_krum(own, context_of(honest, own))
        everyone = torch.cat([honest, sent])
        won += torch.equal(krum(everyone, Cohort.of(everyone, byzantine=4)), sent[0])
    assert won == 20


def test_fang_krum_says_what_it_needs() -> None:
    with pytest.raises(Infeasible, match="n >= 2m \\+ 3 = 9 clients for m = 3 malicious ones, got 8"):
        send(fang_krum, 5, 3)


@given(h=st.integers(1, 8), m=st.integers(1, 4), seed=st.integers(0, 999), spread=st.floats(1.1, 5))
@settings(max_examples=40, deadline=None)
def test_fang_trimmed_mean_draws_outside_the_honest_range(h: int, m: int, seed: int, spread: float) -> None:
    sent, honest, own = send(partial(fang_trimmed_mean, spread=spread), h, m, seed=seed, dtype=torch.float64)
    for j, (low, high) in enumerate(oracle.fang_interval(honest.tolist(), own.tolist(), spread)):
        column = sent[:, j]
        assert ((low - 1e-12 <= column) & (column <= high + 1e-12)).all()
        assert (column >= honest[:, j].max()).all() or (column <= honest[:, j].min()).all()


def test_fang_trimmed_mean_moves_the_trimmed_mean_the_other_way() -> None:
    sent, honest, own = send(fang_trimmed_mean, 8, 4, dim=500)
    before, after = torch.cat([honest, own]), torch.cat([honest, sent])
    was, now = (trimmed_mean(x, Cohort.of(x, byzantine=4)) for x in (before, after))
    assert ((now - was) * before.mean(0).sign() < 1e-6).all()
