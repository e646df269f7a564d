"""What stands in a cohort fits the updates, for every rule alike; what does not is one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flipbench.aggregators import (
    Cohort,
    Infeasible,
    centered_clipping,
    fltrust,
    foolsgold,
    lfighter,
    median,
    monna,
    trimmed_mean,
    weighted_median,
    weighted_trimmed_mean,
)
from flipbench.conformance.oracles.by_direction import foolsgold_weights
from tests.helpers.drawn_updates import draw, full_cohort, near
from tests.helpers.rule_subjects import Subject, every

WEIGHTS: tuple[tuple[Any, str], ...] = (
    (torch.full((13,), 100.0), "sum to 1, got a sum of 1300: divide by the sum"),
    (torch.zeros(13), "are all 0"),
    (torch.full((13,), float("nan")), "must be finite numbers"),
    (torch.tensor([2.0, -1.0] + [0.0] * 11), "must be 0 or more, got -1"),
    (torch.full((12,), 1 / 12), r"differ: \(13, 6\) and \(12,\)"),
    ([1 / 13] * 13, "differ: .* a list"),
)


@every
@pytest.mark.parametrize(("weights", "said"), WEIGHTS, ids=[said[:12] for _, said in WEIGHTS])
def test_weights_are_shares(subject: Subject, weights: Any, said: str) -> None:
    x = draw(13, 6, 1)
    with pytest.raises(ValueError, match=said):
        subject(x, replace(full_cohort(x, 1), weights=weights))
    with pytest.raises(ValueError, match=said):
        Cohort.of(x, 1, weights=weights)


@every
def test_nothing_to_aggregate_is_infeasible(subject: Subject) -> None:
    for shape, said in (((0, 4), "at least 1 client, got 0"), ((0, 5, 4), "at least 1 cell, got a stack of 0")):
        x = torch.zeros(shape)
        with pytest.raises(Infeasible, match=said):
            subject(x, Cohort.of(x, 0))


@every
def test_arrays_and_bare_numbers_are_one_sentence(subject: Subject) -> None:
    x = draw(13, 6, 1)
    cohort = full_cohort(x, 1)
    rule = subject.rule
    more = (rule.init(x, cohort),) if hasattr(rule, "init") else ()
    with pytest.raises(
        TypeError, match=r"torch tensor .*got numpy.ndarray: write torch.from_numpy.*flipbench.aggregate"
    ):
        rule(x.numpy(), cohort, *more)
    with pytest.raises(TypeError, match=r"a cohort is a Cohort, got int: write Cohort.of"):
        rule(x, 2, *more)


def test_arrays_are_no_updates_of_a_cohort() -> None:
    with pytest.raises(TypeError, match="got list"):
        Cohort.of([[1.0, 2.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got numpy\.ndarray"):
        Cohort.of(np.ones((3, 2)))  # type: ignore[arg-type]


def test_a_rule_with_memory_says_how_it_is_called() -> None:
    x = draw(5, 4, 1)
    cohort = Cohort.of(x, 1)
    for call in (lambda: foolsgold(x, cohort), lambda: foolsgold(x.numpy(), cohort), lambda: foolsgold()(x, cohort)):
        with pytest.raises(
            TypeError, match=r"takes its memory .* state = rule.init.* flipbench.aggregate\(\"foolsgold\""
        ):
            call()


def test_root_data_that_are_missing_or_wrong() -> None:
    x = draw(5, 4, 1)
    for rule in (fltrust, monna):
        with pytest.raises(
            Infeasible, match=r"root_examples in a grid\), or give that update beside a matrix of your own \(trusted"
        ):
            rule(x, Cohort.of(x, 1))
        with pytest.raises(ValueError, match=r"needs the shape \(\*cells, dim\) = \(4,\), got \(3,\)"):
            rule(x, replace(Cohort.of(x, 1), trusted=lambda: torch.ones(3)))
        assert torch.equal(rule(x, Cohort.of(x, 1, trusted=x[0])), rule(x, Cohort.of(x, 1, trusted=lambda: x[0])))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_last_update_that_is_not_finite_is_refused(value: float) -> None:
    x = draw(5, 4, 1)
    bad = torch.tensor([0.0, value, 0.0, 0.0])
    with pytest.raises(ValueError, match="previous must hold finite numbers"):
        Cohort.of(x, 1, previous=bad)
    for radius in (None, 1.0):
        with pytest.raises(ValueError, match="centered_clipping needs a finite last update"):
            centered_clipping(x, replace(Cohort.of(x, 1), previous=bad), radius=radius)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_weights_in_every_precision(dtype: torch.dtype) -> None:
    """Shares of 1/n, also where they are rounded, make the weighted rules the plain ones."""
    for n in (2, 5, 8, 10, 13, 20, 49):
        x = draw(n, 9, n).to(dtype)
        for weights in (None, torch.full((n,), 1.0 / n, dtype=dtype)):
            cohort = Cohort.of(x, (n - 1) // 2, **({} if weights is None else {"weights": weights}))
            ulps = 2 * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps if dtype.itemsize == 2 else 4
            near(weighted_median(x, cohort), median(x, cohort), ulps=ulps)
            near(weighted_trimmed_mean(x, cohort), trimmed_mean(x, cohort), ulps=ulps)
            if n % 2 == 0:
                for rule in (weighted_median, weighted_trimmed_mean):
                    with pytest.raises(Infeasible, match="less than half of the weight"):
                        rule(x, replace(cohort, byzantine=n // 2))


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_its_numbers_in_float64(subject: Subject, dtype: torch.dtype) -> None:
    x = draw(13, 30, 5).to(dtype)
    cohort = full_cohort(x, 2)
    exact = subject(x.double(), replace(cohort, previous=cohort.previous.double(), model=cohort.model.double()))
    answer = subject(x, cohort)
    assert answer.dtype == dtype
    torch.testing.assert_close(answer.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps)


@every
def test_the_order_of_the_clients_is_irrelevant_where_they_tie(subject: Subject) -> None:
    """Small whole numbers: equal rows, scores and distances abound. Clients are known by their numbers."""
    for dim, seed in ((1, 0), (1, 1), (1, 2), (2, 3), (3, 4)):
        g = torch.Generator().manual_seed(seed)
        for n in (7, 11):
            x = torch.randint(0, 3, (n, dim), generator=g).double()
            cohort = full_cohort(x, min(subject.most_malicious(n) or 0, (n - 1) // 2))
            answer = subject(x, cohort)
            for _ in range(3):
                order = torch.randperm(n, generator=g)
                fields = {"weights": cohort.weights[order], "clients": cohort.clients[order]}
                torch.testing.assert_close(subject(x[order], replace(cohort, **fields)), answer, rtol=0, atol=1e-9)
            stack = torch.stack([x, x[order]])
            both = {k: torch.stack([getattr(cohort, k), fields[k]]) for k in fields}
            more = {k: torch.stack([getattr(cohort, k)] * 2) for k in ("previous", "model", "seeds")}
            own = torch.stack([cohort.trusted()] * 2)
            answers = subject(stack, replace(cohort, **both, **more, trusted=lambda own=own: own))
            torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["caf", "geometric_median", "median", "trimmed_mean", "meamed", "phocas", "fedavg"])
def test_rules_without_a_choice_do_not_need_the_numbers(name: str) -> None:
    """Rows in another order under other numbers: rules that choose no client give the same answer."""
    subject = Subject(name)
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        n = int(torch.randint(3, 10, (), generator=g))
        x = torch.randint(0, 4, (n, 1 + seed % 3), generator=g).double()
        order = torch.randperm(n, generator=g)
        f = (n - 1) // 2
        torch.testing.assert_close(subject(x[order], Cohort.of(x, f)), subject(x, Cohort.of(x, f)), rtol=0, atol=1e-9)


def test_caf_treats_equal_rows_equally() -> None:
    x = torch.tensor([0.0, 0, 3, 3, 4, 5, 5], dtype=torch.float64).unsqueeze(1)
    near(Subject("caf")(x, Cohort.of(x, 3)), torch.tensor([3.3586497890295357]), ulps=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_foolsgold_trusts_none_of_proportional_rows(dtype: torch.dtype) -> None:
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        x = (draw(1, 50, seed).double() * (0.1 + torch.rand(6, 1, generator=g, dtype=torch.float64) * 9)).to(dtype)
        assert not Subject("foolsgold")(x, Cohort.of(x, 0)).any()


def test_foolsgold_tells_updates_apart_that_rounding_does_not_make_equal() -> None:
    """Angles of a thousandth are no rounding of float32: the client that stands apart is kept."""
    base = draw(1, 40, 1)[0]
    x = torch.stack([base, base, base + 1e-3 * draw(1, 40, 2)[0], base + 3e-3 * draw(1, 40, 3)[0]])
    rows = x.double()
    wanted = torch.from_numpy(foolsgold_weights(rows.numpy()))
    assert wanted.count_nonzero() == 1
    answer = Subject("foolsgold")(x, Cohort.of(x, 0))
    torch.testing.assert_close(answer.double(), wanted @ rows / wanted.sum(), rtol=0, atol=1e-4 * float(base.norm()))
    assert torch.equal(answer, x[3])


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"w": (slice(0, 20), (4, 5))}, "does not cover the 24 numbers of an update, each once"),
        ({"w": (slice(0, 30), (5, 6))}, "does not cover the 24 numbers"),
        ({"w": (slice(0, 24), (4, 5))}, r"has 'w' as \(slice\(0, 24, None\), \(4, 5\)\), whose slice and shape differ"),
        ({"b": (slice(0, 4), (4,)), "w": (slice(2, 24), (2, 11))}, "does not cover the 24 numbers"),
        ({"w": "head"}, "has 'w' as 'head'"),
        ([("w", 24)], "must be a mapping, got a list"),
    ],
)
def test_a_layout_of_another_model_is_refused(layout: Any, said: str) -> None:
    x = draw(6, 24, 1)
    with pytest.raises(ValueError, match=said):
        Cohort.of(x, 1, layout=layout)
    cohort = replace(Cohort.of(x, 1), layout=layout)
    rule = foolsgold(last_layer=True)
    for call in (lambda: lfighter(x, cohort), lambda: rule(x, cohort, rule.init(x, cohort))):
        with pytest.raises(ValueError, match=said):
            call()
