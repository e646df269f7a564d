"""What every aggregation rule must satisfy, over the table of `oracles.subjects`."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from flipbench import aggregators
from flipbench.aggregators import Cohort, Infeasible
from tests.helpers.drawn_updates import cohort_for, draw, near
from tests.oracles.published_subjects import PUBLISHED
from tests.oracles.subjects import SUBJECTS, Subject

SIZES = (1, 2, 3, *range(5, 13), 17, 20, 25, 26, 27, 32, 33, 41, 59, 60)
every = pytest.mark.parametrize("subject", SUBJECTS, ids=str)


def expected(subject: Subject, x: torch.Tensor, cohort: Cohort) -> torch.Tensor:
    rows, weights = x.double().tolist(), cohort.weights.double().tolist()
    return torch.tensor(subject.oracle(rows, cohort.byzantine, weights), dtype=torch.float64)


def liars_for(subject: Subject, n: int) -> list[int]:
    most = subject.most_liars(n)
    return [] if most is None else sorted({0, most // 2, most})


def test_the_table_holds_every_registered_rule():
    assert [s.name for s in (*SUBJECTS, *PUBLISHED)] == list(aggregators.RULES)
    assert all(aggregators.RULES[name].__name__ == name and hasattr(aggregators, name) for name in aggregators.RULES)
    assert set(aggregators.__all__) >= set(aggregators.RULES)


@every
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_agrees_with_the_oracle(subject, kind):
    for n in SIZES:
        for f in liars_for(subject, n):
            if n > subject.largest:
                continue
            x = draw(n, 5, 1000 * n + f, kind)
            cohort = cohort_for(x, f)
            near(subject.rule(x, cohort), expected(subject, x, cohort))
            if n in (5, 26):
                wide = x.double() + 1e-9 * draw(n, 5, n).double()
                answer = subject.rule(wide, cohort_for(wide, f))
                assert answer.dtype == torch.float64
                torch.testing.assert_close(answer, expected(subject, wide, cohort_for(wide, f)), rtol=1e-9, atol=1e-9)


@every
@pytest.mark.parametrize("n", [25, 26, 27, 64])
def test_moves_with_the_weights(subject, n):
    """Weight-scale offset, updates 1e-4 of it: the update must not drown in the rounding of the offset."""
    f = min(subject.most_liars(n), 4)
    u = 1e-4 * draw(n, 400, n)
    u[:f] *= 3
    c = draw(1, 400, 99)[0]
    if "translation" in subject.fixed:
        pytest.skip("declared: the rule has a fixed origin")
    moved = u.double() + c.double()
    x = moved.float()
    exact = subject.rule(x.double() - c.double(), replace(cohort_for(x.double(), f)))
    near(subject.rule(x, cohort_for(x, f)).double() - c.double(), exact, scale=4.0, ulps=1)


@every
def test_order_scale_and_unanimity(subject):
    for n in (5, 11, 26):
        f = min(subject.most_liars(n), n // 4)
        x, cohort = draw(n, 30, n), cohort_for(draw(n, 30, n), f)
        answer = subject.rule(x, cohort)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
        shuffled = replace(cohort, weights=cohort.weights[order], clients=cohort.clients[order])
        near(subject.rule(x[order], shuffled), answer)
        if "scale" not in subject.fixed:
            assert torch.equal(subject.rule(x * 0.25, cohort), answer * 0.25)  # a power of two costs no digit
            near(subject.rule(x * -3.0, cohort), answer * -3.0, scale=3.0)
        if "unanimity" not in subject.fixed:
            same = draw(1, 30, 5).expand(n, 30)
            near(subject.rule(same, cohort), same[0], ulps=2)


@every
@pytest.mark.parametrize(("n", "dim"), [(7, 1), (11, 63), (20, 65), (26, 1000)])
def test_a_stack_is_its_cells_one_by_one_bit_for_bit(subject, n, dim):
    f = min(subject.most_liars(n), 2)
    x = draw(n, dim, dim, cells=(2, 3))
    cohort = cohort_for(x, f)
    stacked = subject.rule(x, cohort)
    assert stacked.shape == (2, 3, dim)
    for i in range(2):
        for j in range(3):
            one = replace(
                cohort,
                weights=cohort.weights[i, j],
                clients=cohort.clients[i, j],
                previous=cohort.previous[i, j],
                seeds=cohort.seeds[i, j],
            )
            assert torch.equal(subject.rule(x[i, j].clone(), one), stacked[i, j])


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_left_out_and_f_shrinks(subject, value):
    n, f = 12, min(subject.most_liars(12), 2)
    x = draw(n, 9, 3)
    cohort = cohort_for(x, f)
    for bad in [*([i] for i in range(n)), [0, 1], [4, 11], [3, 5, 8]]:
        spoilt = x.clone()
        spoilt[bad, torch.arange(len(bad)) * 4] = value
        rest = [i for i in range(n) if i not in bad]
        w = cohort.weights[rest]
        fewer = replace(cohort, byzantine=max(0, f - len(bad)), weights=w / w.sum(), clients=cohort.clients[rest])
        assert torch.equal(subject.rule(spoilt, cohort), subject.rule(x[rest], fewer))


@every
@pytest.mark.parametrize("value", [float("nan"), 1e38, 3e38, 1e-42])
def test_one_spoilt_cell_leaves_the_others_alone(subject, value):
    x = draw(11, 20, 4, cells=(3,))
    cohort = cohort_for(x, 1)
    spoilt = x.clone()
    spoilt[1, 6, :] *= 1e-30 if value < 1 else 1
    spoilt[1, 6, 2] = value
    before, after = subject.rule(x, cohort), subject.rule(spoilt, cohort)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert torch.isfinite(after).all()


@every
def test_no_finite_row_is_infeasible(subject):
    x = torch.full((6, 4), float("nan"))
    with pytest.raises(Infeasible, match="1 client with a finite update, got 0 of 6"):
        subject.rule(x, cohort_for(x, 0))
    with pytest.raises(Infeasible, match="at least 1 client, got 0"):
        subject.rule(torch.zeros(0, 4), Cohort.of(torch.zeros(1, 4)))


def _distance_to_the_honest(subject: Subject, size: float, collude: bool) -> float:
    """In units of the largest distance of an honest client from the honest mean."""
    worst = 0.0
    for n in (11, 20):
        f = min(subject.most_liars(n), n // 5)
        for place in (range(f), range(n - f, n), range(1, 2 * f, 2)):
            x = draw(n, 50, n)
            honest = [i for i in range(n) if i not in place]
            x[list(place)] = size * (torch.ones(50) if collude else draw(f, 50, 17))
            centre = x[honest].double().mean(0)
            spread = (x[honest].double() - centre).norm(dim=1).max()
            answer = subject.rule(x, cohort_for(x, f)).double()
            worst = (
                max(worst, float((answer - centre).norm() / spread)) if torch.isfinite(answer).all() else float("inf")
            )
    return worst


@every
@pytest.mark.parametrize("collude", [False, True])
@pytest.mark.parametrize("size", [1e6, 1e12, 1e30])
def test_liars_cannot_carry_the_answer_away(subject, size, collude):
    distance = _distance_to_the_honest(subject, size, collude)
    assert distance > 1e3 if subject.fragile else distance <= 1.5


@every
def test_too_few_clients_is_infeasible_with_the_numbers(subject):
    for f in (1, 3):
        n = subject.clients(f) - 1
        if n < 2:
            return
        x = draw(n, 4, 1)
        with pytest.raises(Infeasible) as error:
            subject.rule(x, cohort_for(x, f))
        assert str(n) in str(error.value)
        assert str(n + 1) in str(error.value)
        assert subject.name in str(error.value)
        enough = draw(n + 1, 4, 1)
        assert torch.isfinite(subject.rule(enough, cohort_for(enough, f))).all()


@every
@pytest.mark.parametrize("f", [0.2, 1.0, True, None, "1", -1])
def test_f_is_a_whole_number(subject, f):
    x = draw(9, 4, 1)
    with pytest.raises((TypeError, ValueError), match=r"byzantine \(f\) must be"):
        subject.rule(x, cohort_for(x, f))


@every
@pytest.mark.parametrize("x", [torch.zeros(4), torch.zeros(5, 4, dtype=torch.int64)], ids=["vector", "integers"])
def test_updates_are_floating_point_matrices(subject, x):
    with pytest.raises((TypeError, ValueError), match="updates must"):
        subject.rule(x, Cohort.of(torch.zeros(5, 4)))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_side_effects(subject, dtype):
    x = draw(26, 33, 8).to(dtype)
    cohort = cohort_for(x, min(subject.most_liars(26), 5))
    kept = [t.clone() for t in (x, cohort.weights, cohort.clients, cohort.previous)]
    generator = torch.get_rng_state()
    first, second = subject.rule(x, cohort), subject.rule(x, cohort)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(
        torch.equal(a, b) for a, b in zip(kept, (x, cohort.weights, cohort.clients, cohort.previous), strict=True)
    )
    assert (first.dtype, first.device, first.shape) == (dtype, x.device, (33,))
    first.fill_(1e9)
    assert torch.equal(x, kept[0])
    assert not subject.rule(x.clone().requires_grad_(), cohort).requires_grad


@every
def test_layout_in_memory_is_irrelevant(subject):
    x = draw(13, 70, 2)
    cohort = cohort_for(x, min(subject.most_liars(13), 3))
    answer = subject.rule(x, cohort)
    assert torch.equal(subject.rule(x.mT.contiguous().mT, cohort), answer)
    assert torch.equal(subject.rule(torch.cat([x, x])[:13], cohort), answer)
    assert torch.equal(subject.rule(torch.stack([x, x], -1)[..., 0], cohort), answer)


@every
def test_one_client_stands_for_itself(subject):
    if subject.most_liars(1) is None:
        pytest.skip("declared: needs more clients")
    x = draw(1, 40, 3)
    if "unanimity" not in subject.fixed:
        near(subject.rule(x, cohort_for(x, 0)), x[0], ulps=2)


@every
def test_pickles(subject):
    x = draw(9, 4, 1)
    again = pickle.loads(pickle.dumps(aggregators.RULES[subject.name]))
    assert again is aggregators.RULES[subject.name]
    assert subject.rule(x, cohort_for(x, 1)).shape == (4,)


@pytest.mark.parametrize(
    ("rule", "options", "text"),
    [
        (aggregators.multi_krum, {"keep": 8}, "at most n - f - 2 = 7 of 11 clients for f = 2, got keep = 8"),
        (aggregators.trimmed_mean, {"trim": 6}, r"at least 2 trim \+ 1 = 13 clients, got 11"),
    ],
)
def test_options_out_of_reach_are_infeasible(rule, options, text):
    x = draw(11, 4, 1)
    with pytest.raises(Infeasible, match=text):
        rule(x, cohort_for(x, 2), **options)


def test_multi_krum_keeps_as_many_as_told():
    x = draw(11, 4, 1)
    cohort = cohort_for(x, 2)
    assert torch.equal(aggregators.multi_krum(x, cohort, keep=1), aggregators.krum(x, cohort))
    assert torch.equal(aggregators.multi_krum(x, cohort, keep=7), aggregators.multi_krum(x, cohort))
    for keep, error in ((0, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match="keep must be"):
            aggregators.multi_krum(x, cohort, keep=keep)


def test_trimmed_mean_without_trim_is_the_mean_and_does_not_subtract():
    x = draw(11, 40, 1)
    near(aggregators.trimmed_mean(x, cohort_for(x, 0)), x.double().mean(0), ulps=1)
    x[0], x[1] = 1e30, -1e30
    near(aggregators.trimmed_mean(x, cohort_for(x, 1)), x[2:].double().mean(0), ulps=1)
    assert torch.equal(
        aggregators.trimmed_mean(x, cohort_for(x, 0), trim=1), aggregators.trimmed_mean(x, cohort_for(x, 1))
    )
