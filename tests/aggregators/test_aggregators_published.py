"""What every published rule must satisfy, over the table of `oracles.published_subjects`."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import product

import pytest
import torch

from flipbench import aggregators
from flipbench.aggregators import Infeasible
from tests.helpers.drawn_updates import cohort_for, draw, near
from tests.oracles.published_subjects import PUBLISHED, Published

SIZES = (1, 2, 3, *range(5, 13), 20, 26, 33, 60)
every = pytest.mark.parametrize("subject", PUBLISHED, ids=str)


def excuse(subject: Published, *names: str) -> None:
    for name in names:
        if name in subject.excused:
            pytest.skip(f"declared: {name}")


def test_the_table_and_the_registry_agree():
    assert {s.name for s in PUBLISHED} <= set(aggregators.RULES)
    assert set(aggregators.__all__) >= {s.name for s in PUBLISHED} | set(aggregators.PREAGGREGATIONS)


@every
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_agrees_with_the_oracle(subject, kind):
    if kind == "ties":
        excuse(subject, "ties")
    for n in SIZES:
        most = subject.most_liars(n)
        if most is None or n > subject.largest:
            continue
        for f in sorted({0, most // 2, most}) if subject.clients(1) > 1 else [0]:
            x = draw(n, 8, 1000 * n + f, kind)
            for data in [x] if n not in (5, 26) else [x, x.double() + 1e-9 * draw(n, 8, n).double()]:
                cohort = cohort_for(data, f)
                rows, weights = data.double().tolist(), cohort.weights.double().tolist()
                expected = torch.tensor(subject.oracle(rows, f, weights), dtype=torch.float64)
                answer = subject(data, cohort)
                assert answer.dtype == data.dtype
                near(answer, expected, ulps=subject.ulps)


@every
@pytest.mark.parametrize("n", [25, 26, 27, 64])
def test_moves_with_the_weights(subject, n):
    """Weight-scale offset, updates 1e-4 of it: the update must not drown in the rounding of the offset."""
    excuse(subject, "translation")
    f = min(subject.most_liars(n), 4)
    u, c = 1e-4 * draw(n, 400, n), draw(1, 400, 99)[0]
    u[:f] *= 3
    x = (u.double() + c.double()).float()
    exact = subject(x.double() - c.double(), cohort_for(x.double(), f))
    near(subject(x, cohort_for(x, f)).double() - c.double(), exact, scale=4.0, ulps=1)


@every
def test_order_scale_and_unanimity(subject):
    for n in (5, 13, 26):
        f = min(subject.most_liars(n), n // 4)
        x, cohort = draw(n, 30, n), cohort_for(draw(n, 30, n), f)
        answer = subject(x, cohort)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
        shuffled = replace(cohort, weights=cohort.weights[order], clients=cohort.clients[order])
        near(subject(x[order], shuffled), answer)
        if "scale" not in subject.excused:
            near(subject(x * 0.25, cohort), answer * 0.25)
            near(subject(x * -3.0, cohort), answer * -3.0, scale=3.0)
        if "unanimity" not in subject.excused:
            same = draw(1, 30, 5).expand(n, 30)
            near(subject(same, cohort), same[0], ulps=2)


@every
@pytest.mark.parametrize(("n", "dim"), [(7, 1), (13, 63), (20, 65), (26, 3000)])
def test_a_stack_is_its_cells_one_by_one_bit_for_bit(subject, n, dim):
    x = draw(n, dim, dim, cells=(2, 3))
    cohort = replace(cohort_for(x, min(subject.most_liars(n), 2)), seeds=torch.arange(6).reshape(2, 3), round=5)
    stacked = subject(x, cohort)
    assert stacked.shape == (2, 3, dim)
    for i, j in product(range(2), range(3)):
        fields = ("weights", "clients", "previous", "seeds")
        one = replace(cohort, **{k: getattr(cohort, k)[i, j] for k in fields})
        assert torch.equal(subject(x[i, j].clone(), one), stacked[i, j])


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_left_out_and_f_shrinks(subject, value):
    n, f = 13, min(subject.most_liars(13), 2)
    x = draw(n, 9, 3)
    cohort = cohort_for(x, f)
    for bad in [*([i] for i in range(n)), [0, 1], [4, 11], [3, 5, 8]]:
        spoilt = x.clone()
        spoilt[bad, torch.arange(len(bad)) * 4] = value
        rest = [i for i in range(n) if i not in bad]
        w = cohort.weights[rest]
        fewer = replace(cohort, byzantine=max(0, f - len(bad)), weights=w / w.sum(), clients=cohort.clients[rest])
        assert torch.equal(subject(spoilt, cohort), subject(x[rest], fewer))


@every
@pytest.mark.parametrize("value", [float("nan"), 1e38, 3e38, 1e-42])
def test_one_spoilt_cell_leaves_the_others_alone(subject, value):
    x = draw(13, 20, 4, cells=(3,))
    cohort = cohort_for(x, 1)
    spoilt = x.clone()
    spoilt[1, 6, :] *= 1e-30 if value < 1 else 1
    spoilt[1, 6, 2] = value
    before, after = subject(x, cohort), subject(spoilt, cohort)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert torch.isfinite(after).all()


@every
def test_no_finite_row_is_infeasible(subject):
    x = torch.full((6, 4), float("nan"))
    with pytest.raises(Infeasible, match="1 client with a finite update, got 0 of 6"):
        subject(x, cohort_for(x, 0))


@every
@pytest.mark.parametrize("collude", [False, True])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e12, 1e30])
def test_liars_cannot_carry_the_answer_away(subject, size, collude):
    excuse(subject, "breakdown")
    for n in (13, 27):
        f = min(subject.most_liars(n), n // 5)
        for place in (range(f), range(n - f, n), range(1, 2 * f, 2)):
            x = draw(n, 50, n)
            honest = [i for i in range(n) if i not in place]
            x[list(place)] = size * (torch.ones(50) if collude else draw(f, 50, 17))
            centre = x[honest].double().mean(0)
            spread = float((x[honest].double() - centre).norm(dim=1).max())
            answer = subject(x, cohort_for(x, f)).double()
            assert torch.isfinite(answer).all()
            assert float((answer - centre).norm()) <= 1.5 * spread


@every
@pytest.mark.parametrize("size", [1e-30, 1e37])
def test_the_size_of_numbers_is_no_matter(subject, size):
    n = 13
    x = draw(n, 40, 1)
    cohort = cohort_for(x, min(subject.most_liars(n), 2))
    answer = subject((x * size).clamp(-3e38, 3e38), cohort)
    assert torch.isfinite(answer).all()
    if "scale" not in subject.excused:
        near(answer.double() / size, subject(x, cohort), ulps=64)


@every
def test_too_few_clients_is_infeasible_with_the_numbers(subject):
    if subject.clients(1) == 1 or subject.name.startswith("weighted"):
        pytest.skip("declared: needs no number of clients")
    for f in (1, 3):
        n = subject.clients(f) - 1
        x = draw(n, 4, 1)
        with pytest.raises(Infeasible) as error:
            subject(x, cohort_for(x, f))
        assert {str(n), str(n + 1), subject.name} <= set(str(error.value).replace(",", "").split())
        enough = draw(n + 1, 4, 1)
        assert torch.isfinite(subject(enough, cohort_for(enough, f))).all()


@every
@pytest.mark.parametrize("f", [0.2, 1.0, True, None, "1", -1])
def test_f_is_a_whole_number(subject, f):
    x = draw(13, 4, 1)
    with pytest.raises((TypeError, ValueError), match=r"byzantine \(f\) must be"):
        subject(x, cohort_for(x, f))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_side_effects(subject, dtype):
    x = draw(26, 33, 8).to(dtype)
    cohort = cohort_for(x, min(subject.most_liars(26), 5))
    kept = [t.clone() for t in (x, cohort.weights, cohort.clients, cohort.previous)]
    generator = torch.get_rng_state()
    first, second = subject(x, cohort), subject(x, cohort)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), generator)
    facts = (x, cohort.weights, cohort.clients, cohort.previous)
    assert all(torch.equal(a, b) for a, b in zip(kept, facts, strict=True))
    assert (first.dtype, first.device, first.shape) == (dtype, x.device, (33,))
    first.fill_(1e9)
    assert all(torch.equal(a, b) for a, b in zip(kept, facts, strict=True))
    assert not subject(x.clone().requires_grad_(), cohort).requires_grad


@every
def test_layout_in_memory_is_irrelevant(subject):
    x = draw(13, 70, 2)
    cohort = cohort_for(x, min(subject.most_liars(13), 3))
    answer = subject(x, cohort)
    assert torch.equal(subject(x.mT.contiguous().mT, cohort), answer)
    assert torch.equal(subject(torch.stack([x, x], -1)[..., 0], cohort), answer)


@every
def test_threads_change_nothing(subject):
    x = draw(13, 60_000, 2)
    cohort = cohort_for(x, 1)
    answer = subject(x, cohort)
    torch.set_num_threads(2)
    try:
        again = subject(x, cohort)
    finally:
        torch.set_num_threads(1)
    near(again, answer, ulps=2)


@every
def test_pickles(subject):
    rule = aggregators.RULES[subject.name]
    assert pickle.loads(pickle.dumps(rule)) is rule
