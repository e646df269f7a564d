"""What every registered rule must satisfy, beside the oracle of its definition (`conformance.oracles`)."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch

from flipbench import aggregators
from flipbench.aggregators import Cohort, Infeasible
from tests.helpers.drawn_updates import changed, draw, full_cohort, near, rows_of
from tests.helpers.rule_subjects import Subject, every, expected

SIZES = (1, 2, 3, *range(5, 13), 17, 20, 25, 26, 27, 32, 33, 41, 59, 60)
# Order statistics, sums and choices by distances: near the oracle in float64 too, and exact in a factor of two.
EXACT = ("fedavg", "mean", "krum", "multi_krum", "median", "trimmed_mean")


@every
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_agrees_with_the_oracle(subject: Subject, kind: str) -> None:
    definition = subject.definition
    if kind == "ties" and definition.ties == "open":
        pytest.skip("rounding decides ties")
    for n in SIZES:
        most = subject.most_malicious(n)
        if most is None or n > definition.largest:
            continue
        for f in sorted({0, most // 2, most}) if definition.clients(1) > 1 or not definition.robust else [0]:
            x = draw(n, 8, 1000 * n + f, kind)
            for data in [x] if n not in (5, 26) else [x, x.double() + 1e-9 * draw(n, 8, n).double()]:
                cohort = full_cohort(data, f)
                answer, wanted = subject(data, cohort), expected(definition.oracle, data, cohort)
                assert answer.dtype == data.dtype
                near(answer, wanted, ulps=definition.ulps)
                if data.dtype == torch.float64 and subject.name in EXACT:
                    torch.testing.assert_close(answer, wanted, rtol=1e-9, atol=1e-9)


@every
@pytest.mark.parametrize("n", [25, 26, 27, 64])
def test_moves_with_the_weights(subject: Subject, n: int) -> None:
    """Weight-scale offset, updates 1e-4 of it: the update must not drown in the rounding of the offset."""
    subject.skip_if_excused("translation")
    f = min(subject.most_malicious(n) or 0, 4)
    u, c = 1e-4 * draw(n, 400, n), draw(1, 400, 99)[0]
    u[:f] *= 3
    x = (u.double() + c.double()).float()
    cohort = changed(full_cohort(x, f), lambda v: (1e-4 * v.double() + c.double()).float())
    exact = subject(x.double() - c.double(), changed(cohort, lambda v: v.double() - c.double()))
    near(subject(x, cohort).double() - c.double(), exact, scale=4.0, ulps=1)


@every
def test_order_scale_and_unanimity(subject: Subject) -> None:
    for n in (5, 11, 13, 26):
        most = subject.most_malicious(n)
        assert most is not None
        f = min(most, n // 4)
        x = draw(n, 30, n)
        cohort = full_cohort(x, f)
        answer = subject(x, cohort)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
        shuffled = replace(cohort, weights=cohort.weights[order], clients=cohort.clients[order])
        if subject.holds("order") or n != 11:  # where the last choices of the one that is excused tie
            near(subject(x[order], shuffled), answer)
        for factor in (0.25, -3.0):
            scaled = subject(x * factor, changed(cohort, partial(torch.mul, torch.tensor(factor))))
            near(scaled, answer * factor, scale=abs(factor))
            if factor == 0.25 and subject.name in EXACT:
                assert torch.equal(scaled, answer * factor)  # a power of two costs no digit
        if subject.holds("unanimity"):
            same = draw(1, 30, 5).expand(n, 30)
            near(subject(same, cohort), same[0], ulps=2)


@every
@pytest.mark.parametrize(("n", "dim"), [(7, 1), (11, 63), (13, 63), (20, 65), (26, 1000), (26, 3000)])
def test_a_stack_is_its_cells_one_by_one_bit_for_bit(subject: Subject, n: int, dim: int) -> None:
    x = draw(n, dim, dim, cells=(2, 3))
    cohort = full_cohort(x, min(subject.most_malicious(n) or 0, 2))
    stacked = subject(x, cohort)
    assert stacked.shape == (2, 3, dim)
    own = cohort.trusted()
    for i, j in product(range(2), range(3)):
        fields = ("weights", "clients", "previous", "model", "seeds")
        one = replace(cohort, **{k: getattr(cohort, k)[i, j] for k in fields}, trusted=lambda: own[0, 0])
        assert torch.equal(subject(x[i, j].clone(), one), stacked[i, j])


@every
@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_left_out_and_f_shrinks(subject: Subject, value: float, n: int) -> None:
    f = min(subject.most_malicious(n) or 0, 2)
    x = draw(n, 9, 3)
    cohort = full_cohort(x, f)
    for bad in [*([i] for i in range(n)), [0, 1], [4, 11], [3, 5, 8]]:
        spoilt = x.clone()
        spoilt[bad, torch.arange(len(bad)) * 4] = value
        rest = [i for i in range(n) if i not in bad]
        fewer = rows_of(cohort, rest, max(0, f - len(bad)))
        assert torch.equal(subject(spoilt, cohort), subject(x[rest], fewer))


@every
@pytest.mark.parametrize("n", [11, 13])
@pytest.mark.parametrize("value", [float("nan"), 1e38, 3e38, 1e-42])
def test_one_spoilt_cell_leaves_the_others_alone(subject: Subject, value: float, n: int) -> None:
    x = draw(n, 20, 4, cells=(3,))
    cohort = full_cohort(x, min(subject.most_malicious(n) or 0, 1))
    spoilt = x.clone()
    spoilt[1, 6, :] *= 1e-30 if value < 1 else 1
    spoilt[1, 6, 2] = value
    before, after = subject(x, cohort), subject(spoilt, cohort)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert torch.isfinite(after).all()


@every
def test_no_finite_row_is_infeasible(subject: Subject) -> None:
    x = torch.full((6, 4), float("nan"))
    with pytest.raises(Infeasible, match="1 client with a finite update, got 0 of 6"):
        subject(x, full_cohort(x, 0))
    with pytest.raises(Infeasible, match="at least 1 client, got 0"):
        subject(torch.zeros(0, 4), Cohort.of(torch.zeros(1, 4)))


@every
@pytest.mark.parametrize("collude", [False, True])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e12, 1e30])
def test_malicious_clients_cannot_carry_the_answer_away(subject: Subject, size: float, collude: bool) -> None:
    subject.skip_if_excused("malicious")
    worst = 0.0  # in units of the largest distance of an honest client from the honest mean
    for n in (11, 13, 20, 27):
        f = min(subject.most_malicious(n) or 0, n // 5)
        for rows in (range(f), range(n - f, n), range(1, 2 * f, 2)):
            x = draw(n, 50, n)
            honest = [i for i in range(n) if i not in rows]
            x[list(rows)] = size * (torch.ones(50) if collude else draw(f, 50, 17))
            centre = x[honest].double().mean(0)
            spread = float((x[honest].double() - centre).norm(dim=1).max())
            answer = subject(x, full_cohort(x, f)).double()
            away = float((answer - centre).norm() / spread) if torch.isfinite(answer).all() else float("inf")
            worst = max(worst, away)
    if subject.definition.robust:
        assert worst <= 1.5
    else:
        assert size < 1e6 or worst > 1e3


@every
@pytest.mark.parametrize("size", [1e-30, 1e37])
def test_the_size_of_numbers_is_no_matter(subject: Subject, size: float) -> None:
    n = 13
    x = draw(n, 40, 1)
    cohort = full_cohort(x, min(subject.most_malicious(n) or 0, 2))
    scaled = changed(cohort, lambda v: (v * size).clamp(-3e38, 3e38))
    answer = subject((x * size).clamp(-3e38, 3e38), scaled)
    assert torch.isfinite(answer).all()
    near(answer.double() / size, subject(x, cohort), ulps=64)


@every
def test_too_few_clients_is_infeasible_with_the_numbers(subject: Subject) -> None:
    if subject.definition.clients(1) == 1 or not subject.definition.exact:
        pytest.skip("declared: needs no number of clients")
    for f in (1, 3):
        n = subject.definition.clients(f) - 1
        x = draw(n, 4, 1)
        with pytest.raises(Infeasible) as error:
            subject(x, full_cohort(x, f))
        assert {str(n), str(n + 1), subject.name} <= set(str(error.value).replace(",", "").split())
        enough = draw(n + 1, 4, 1)
        assert torch.isfinite(subject(enough, full_cohort(enough, f))).all()


@every
@pytest.mark.parametrize("f", [0.2, 1.0, True, None, "1", -1])
def test_f_is_a_whole_number(subject: Subject, f: object) -> None:
    x = draw(13, 4, 1)
    with pytest.raises((TypeError, ValueError), match=r"byzantine \(f\) must be"):
        subject(x, replace(full_cohort(x, 0), byzantine=f))  # type: ignore[arg-type]


@every
@pytest.mark.parametrize("x", [torch.zeros(4), torch.zeros(5, 4, dtype=torch.int64)], ids=["vector", "integers"])
def test_updates_are_floating_point_matrices(subject: Subject, x: torch.Tensor) -> None:
    with pytest.raises((TypeError, ValueError), match="updates must"):
        subject(x, full_cohort(torch.zeros(5, 4), 0))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_side_effects(subject: Subject, dtype: torch.dtype) -> None:
    x = draw(26, 33, 8).to(dtype)
    cohort = full_cohort(x, min(subject.most_malicious(26) or 0, 5))
    given = (x, cohort.weights, cohort.clients, cohort.previous, cohort.trusted())
    kept = [t.clone() for t in given]
    generator = torch.get_rng_state()
    first, second = subject(x, cohort), subject(x, cohort)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(a, b) for a, b in zip(kept, given, strict=True))
    assert (first.dtype, first.device, first.shape) == (dtype, x.device, (33,))
    first.fill_(1e9)
    assert all(torch.equal(a, b) for a, b in zip(kept, given, strict=True))
    assert not subject(x.clone().requires_grad_(), cohort).requires_grad


@every
def test_layout_in_memory_is_irrelevant(subject: Subject) -> None:
    x = draw(13, 70, 2)
    cohort = full_cohort(x, min(subject.most_malicious(13) or 0, 3))
    answer = subject(x, cohort)
    assert torch.equal(subject(x.mT.contiguous().mT, cohort), answer)
    assert torch.equal(subject(torch.cat([x, x])[:13], cohort), answer)
    assert torch.equal(subject(torch.stack([x, x], -1)[..., 0], cohort), answer)


@every
def test_one_client_stands_for_itself(subject: Subject) -> None:
    if subject.most_malicious(1) is None:
        pytest.skip("declared: needs more clients")
    x = draw(1, 40, 3)
    if subject.holds("unanimity"):
        near(subject(x, full_cohort(x, 0)), x[0], ulps=2)


@every
def test_threads_change_nothing(subject: Subject) -> None:
    x = draw(13, 60_000, 2)
    cohort = full_cohort(x, min(subject.most_malicious(13) or 0, 1))
    answer = subject(x, cohort)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        again = subject(x, cohort)
    finally:
        torch.set_num_threads(threads)
    near(again, answer, ulps=2)


@every
def test_pickles(subject: Subject) -> None:
    rule = aggregators.RULES[subject.name]
    assert pickle.loads(pickle.dumps(rule)) is rule
    x = draw(9, 4, 1)
    assert subject(x, full_cohort(x, 1)).shape == (4,)
