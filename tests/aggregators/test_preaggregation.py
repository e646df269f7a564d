"""Pre-aggregations: what they make of the updates and the cohort, and rules behind them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch

from flipbench import aggregators
from flipbench.aggregators import (
    Cohort,
    Infeasible,
    arc,
    bucketing,
    clipping,
    compose,
    fedavg,
    foolsgold,
    mean,
    nnm,
    trimmed_mean,
)
from flipbench.aggregators.contract import cohort_of_cell
from flipbench.conformance.oracles import MIXES as DEFINED
from tests.helpers.drawn_updates import cohort_for, draw, near
from tests.helpers.rule_subjects import expected

MIXES = {"nnm": nnm, "bucketing": bucketing, "clipping": partial(clipping, radius=2.0), "arc": arc}
every = pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)


def test_the_registry():
    assert list(aggregators.PREAGGREGATIONS) == list(MIXES)
    assert not set(aggregators.PREAGGREGATIONS) & set(aggregators.RULES)
    assert set(DEFINED) == set(MIXES) - {"bucketing"}  # which draws


@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_what_does_not_draw_agrees_with_the_oracle(kind):
    for n in (1, 2, 3, 8, 13, 26, 40):
        for f in sorted({0, (n - 1) // 4, (n - 1) // 2}):
            x = draw(n, 6, n + f, kind)
            cohort = cohort_for(x, f)
            for name, defined in DEFINED.items():
                mixed, after = MIXES[name](x, cohort)
                near(mixed, expected(defined.oracle, x, cohort, **getattr(MIXES[name], "keywords", {})))
                assert after is cohort


def test_clipping_shortens_what_is_long():
    x = draw(9, 40, 1)
    x[0] = 0
    x[1] *= 0.01
    mixed, _ = clipping(x, cohort_for(x, 2), radius=2.0)
    norms = mixed.norm(dim=1)
    assert torch.equal(mixed[:2], x[:2])
    near(norms[2:], torch.full((7,), 2.0))
    near(mixed[5] / norms[5], x[5] / x[5].norm())
    for radius in (0, -1.0, float("nan"), "1", True):
        with pytest.raises((TypeError, ValueError), match="radius must be"):
            clipping(x, cohort_for(x, 2), radius=radius)


@pytest.mark.parametrize(("n", "size"), [(12, 3), (13, 3), (5, 5), (4, 9), (7, 1)])
def test_buckets_hold_every_client_once(n, size):
    x = torch.eye(n, dtype=torch.float64)  # row i is client i
    cohort = replace(cohort_for(x, 2), seeds=torch.tensor(3))
    mixed, after = bucketing(x, cohort, s=size)
    counts = (mixed > 0).sum(1).tolist()
    assert sorted(counts) == sorted(len(p) for p in torch.arange(n).split(size))
    assert torch.equal((mixed > 0).sum(0), torch.ones(n, dtype=torch.int64))
    near(mixed.sum(1), torch.ones(len(mixed)))
    near(after.weights, (mixed > 0).double() @ cohort.weights)
    assert after.byzantine == 2
    assert after.clients.tolist() == list(range(len(mixed)))


def test_buckets_change_with_seed_and_round_alone():
    x = draw(20, 5, 1)
    cohort = replace(cohort_for(x, 2), seeds=torch.tensor(3), round=4)
    first = bucketing(x, cohort)[0]
    torch.manual_seed(1)
    assert torch.equal(bucketing(x, cohort)[0], first)
    assert not torch.equal(bucketing(x, replace(cohort, round=5))[0], first)
    assert not torch.equal(bucketing(x, replace(cohort, seeds=torch.tensor(4)))[0], first)
    with pytest.raises((TypeError, ValueError), match="s must be"):
        bucketing(x, cohort, s=0)


@every
def test_a_stack_is_its_cells_one_by_one_bit_for_bit(mix):
    x = draw(13, 3000, 5, cells=(2, 2))
    cohort = replace(cohort_for(x, 3), seeds=torch.arange(4).reshape(2, 2))
    mixed, after = mix(x, cohort)
    for i in range(2):
        for j in range(2):
            fields = ("weights", "clients", "previous", "seeds")
            one, its = mix(x[i, j].clone(), replace(cohort, **{k: getattr(cohort, k)[i, j] for k in fields}))
            assert torch.equal(one, mixed[i, j])
            assert torch.equal(its.weights, after.weights[i, j])
            assert torch.equal(its.clients, after.clients[i, j])


@every
def test_nothing_is_changed_or_shared(mix):
    x = draw(13, 30, 5)
    cohort = cohort_for(x, 3)
    before, generator = x.clone(), torch.get_rng_state()
    mixed, after = mix(x, cohort)
    assert torch.equal(torch.get_rng_state(), generator)
    assert mixed.dtype == x.dtype
    mixed.fill_(7)
    assert torch.equal(x, before)
    near(after.weights.sum(), torch.tensor(1.0))
    assert pickle.loads(pickle.dumps(mix)) is not None


@every
def test_rows_that_are_not_finite_are_left_out(mix):
    x = draw(13, 30, 5)
    spoilt = x.clone()
    spoilt[4, 3] = float("nan")
    cohort = cohort_for(x, 3)
    rest = [i for i in range(13) if i != 4]
    w = cohort.weights[rest]
    fewer = replace(cohort, byzantine=2, weights=w / w.sum(), clients=cohort.clients[rest])
    mixed, after = mix(spoilt, cohort)
    expected, its = mix(x[rest], fewer)
    assert torch.equal(mixed, expected)
    assert (after.byzantine, after.weights.tolist()) == (its.byzantine, its.weights.tolist())
    pair, cohort = torch.stack([spoilt, x]), cohort_for(draw(13, 30, 5, cells=(2,)), 3)
    with pytest.raises(Infeasible, match="12 finite updates in one cell and 13 in another"):
        mix(pair, cohort)
    assert torch.isfinite(compose(mix, mean)(pair, cohort)).all()
    twice = torch.stack([spoilt, spoilt])
    assert torch.equal(mix(twice, cohort)[0][0], mix(spoilt, cohort_of_cell(cohort, (2,), 0))[0])


def test_nnm_is_exact_around_weights_and_beside_malicious_clients():
    u, c = 1e-4 * draw(27, 400, 3), draw(1, 400, 99)[0]
    x = (u.double() + c.double()).float()
    exact = nnm(x.double() - c.double(), Cohort.of(x.double(), 6))[0]
    near(nnm(x, Cohort.of(x, 6))[0].double() - c.double(), exact, scale=4.0, ulps=1)
    for size in (1e6, 1e12, 1e30):
        for place in ([0, 1, 2], [10, 11, 12]):
            y = draw(13, 50, 3)
            y[place] = size * draw(3, 50, 4)
            honest = [i for i in range(13) if i not in place]
            alone = nnm(y[honest], Cohort.of(y[honest], 0))[0]
            near(nnm(y, Cohort.of(y, 3))[0][honest], alone)


def test_a_chain_applies_from_left_to_right():
    x = draw(13, 30, 5)
    cohort = cohort_for(x, 3)
    chain = compose(nnm, partial(bucketing, s=2), trimmed_mean)
    mixed = bucketing(*nnm(x, cohort), s=2)
    assert torch.equal(chain(x, cohort), trimmed_mean(*mixed))
    assert torch.equal(compose(fedavg)(x, cohort), fedavg(x, cohort))
    assert torch.equal(pickle.loads(pickle.dumps(chain))(x, cohort), chain(x, cohort))
    with pytest.raises(ValueError, match="at least a rule"):
        compose()
    with pytest.raises(Infeasible, match="trimmed_mean needs at least"):
        compose(partial(bucketing, s=4), trimmed_mean)(x, cohort)


def test_a_chain_leaves_out_rows_cell_by_cell():
    x = draw(13, 30, 5, cells=(3,))
    x[1, 2, 3] = float("inf")
    cohort = cohort_for(x, 3)
    chain = compose(nnm, trimmed_mean)
    answer = chain(x, cohort)
    assert torch.isfinite(answer).all()
    rest = [i for i in range(13) if i != 2]
    assert torch.equal(answer[1], chain(x[1][rest], Cohort.of(x[1][rest], 2)))


def test_a_chain_before_a_rule_with_memory():
    x = draw(13, 30, 5)
    cohort = cohort_for(x, 3)
    rule = foolsgold()
    chain = compose(nnm, rule)
    state = chain.init(x, cohort)
    for _ in range(2):
        answer, state = chain(x, cohort, state)
    expected = rule.init(x, cohort)
    for _ in range(2):
        wanted, expected = rule(*nnm(x, cohort), expected)
    assert torch.equal(answer, wanted)


def test_nnm_brings_the_mean_back_within_reach():
    x = draw(20, 50, 3)
    x[:4] = 1e6
    answer = compose(nnm, aggregators.krum)(x, Cohort.of(x, 4))
    assert float(answer.norm()) < float(x[4:].norm(dim=1).max())


def test_buckets_go_by_the_clients_numbers():
    x = draw(13, 6, 2)
    cohort = replace(cohort_for(x, 2), clients=torch.arange(13) * 3 + 5)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    shuffled = replace(cohort, clients=cohort.clients[order], weights=cohort.weights[order])
    (mixed, after), (again, its) = bucketing(x, cohort, s=3), bucketing(x[order], shuffled, s=3)
    assert torch.equal(mixed, again)
    assert torch.equal(after.weights, its.weights)


def test_one_huge_cell_changes_no_bit_of_the_others():
    x = draw(9, 5000, 2, cells=(2,))
    x[1, 3] = 1e36
    cohort = cohort_for(x, 2)
    assert torch.equal(nnm(x, cohort)[0][0], nnm(x[0], cohort_of_cell(cohort, (2,), 0))[0])
