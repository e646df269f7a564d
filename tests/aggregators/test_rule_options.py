"""Options of the rules: what other papers and public code compute, against plain loops, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.aggregators import Cohort, Infeasible, krum, median, multi_krum, trimmed_mean
from flipbench.conformance.oracles import Oracle, by_coordinate, by_distance
from tests.helpers.drawn_updates import cohort_for, draw, near
from tests.helpers.rule_subjects import expected

Variant = tuple[Callable[[Tensor, Cohort], Tensor], Oracle]
VARIANTS: dict[str, Variant] = {
    "unsquared": (partial(krum, power=1), partial(by_distance.krum, power=1)),
    "fourth power": (partial(krum, power=4), partial(by_distance.krum, power=4)),
    "multi-krum unsquared": (partial(multi_krum, power=1), partial(by_distance.multi_krum, power=1)),
    "n - f kept": (
        partial(multi_krum, keep="n-f"),
        lambda rows, cohort: by_distance.multi_krum(rows, cohort, keep=len(rows) - cohort.f),
    ),
    "lower median": (partial(median, middle="lower"), by_coordinate.lower_median),
    "beta": (
        partial(trimmed_mean, beta=0.2),
        lambda rows, cohort: by_coordinate.trimmed_mean(rows, replace(cohort, f=len(rows) // 5)),
    ),
}


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(("n", "f"), [(7, 2), (8, 2), (13, 4), (20, 8)])
@pytest.mark.parametrize("name", VARIANTS)
def test_an_option_is_what_the_paper_computes(name: str, n: int, f: int, stacked: bool) -> None:
    rule, wanted = VARIANTS[name]
    g = torch.Generator().manual_seed(n + f)
    updates = torch.randn(3, n, 23, dtype=torch.float64, generator=g) * torch.rand(3, n, 1, generator=g) * 3
    got = rule(updates, Cohort.of(updates, f)) if stacked else rule(updates[1], Cohort.of(updates[1], f))
    for cell, answer in zip(updates if stacked else updates[1:2], got.view(-1, 23), strict=True):
        torch.testing.assert_close(answer, expected(wanted, cell, Cohort.of(cell, f)))


def test_an_exponent_changes_who_wins() -> None:
    x = torch.randn(40, 9, 2, generator=torch.Generator().manual_seed(1))
    one, four = (krum(x, Cohort.of(x, 2), power=p) for p in (1, 4))
    assert 3 < int((one != four).any(-1).sum()) < 37


def test_without_strictness_a_single_neighbour_is_enough() -> None:
    x = torch.randn(19, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Infeasible, match="at least 2f \\+ 3 = 21 clients"):
        multi_krum(x, Cohort.of(x, 9))
    got = multi_krum(x, Cohort.of(x, 9), keep="n-f", strict=False)
    want = expected(partial(by_distance.multi_krum, keep=10), x, Cohort.of(x, 9))
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    krum(x, Cohort.of(x, 16), strict=False)
    for rule in (krum, multi_krum):
        with pytest.raises(Infeasible, match="strict=false\\) needs at least f \\+ 3 = 20 clients"):
            rule(x, Cohort.of(x, 17), strict=False)


@pytest.mark.parametrize(
    ("rule", "options", "text"),
    [
        (krum, {"power": 0}, "power must be a finite number above 0"),
        (multi_krum, {"power": float("inf")}, "power must be"),
        (median, {"middle": "upper"}, "mean or lower"),
        (trimmed_mean, {"trim": 1, "beta": 0.1}, "trim or beta, not both"),
        (trimmed_mean, {"beta": 0.5}, "from 0 to below 0.5"),
    ],
)
def test_options_that_cannot_be_are_refused(rule: Any, options: dict[str, Any], text: str) -> None:
    x = torch.randn(9, 4)
    with pytest.raises(ValueError, match=text):
        rule(x, Cohort.of(x, 1), **options)


def test_a_share_to_trim_is_not_cut_short_by_binary_fractions() -> None:
    x = torch.arange(100.0).unsqueeze(1) ** 2
    for percent in range(50):
        cut = trimmed_mean(x, Cohort.of(x, 0), trim=percent)
        assert torch.equal(trimmed_mean(x, Cohort.of(x, 0), beta=percent / 100), cut)


@pytest.mark.parametrize(
    ("rule", "options", "text"),
    [
        (multi_krum, {"keep": 8}, "at most n - f - 2 = 7 of 11 clients for f = 2, got keep = 8"),
        (trimmed_mean, {"trim": 6}, r"at least 2 trim \+ 1 = 13 clients, got 11"),
    ],
)
def test_options_out_of_reach_are_infeasible(rule, options, text):
    x = draw(11, 4, 1)
    with pytest.raises(Infeasible, match=text):
        rule(x, cohort_for(x, 2), **options)


def test_multi_krum_keeps_as_many_as_asked():
    x = draw(11, 4, 1)
    cohort = cohort_for(x, 2)
    assert torch.equal(multi_krum(x, cohort, keep=1), krum(x, cohort))
    assert torch.equal(multi_krum(x, cohort, keep=7), multi_krum(x, cohort))
    for keep, error in ((0, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match="keep must be"):
            multi_krum(x, cohort, keep=keep)


def test_trimmed_mean_without_trim_is_the_mean_and_does_not_subtract():
    x = draw(11, 40, 1)
    near(trimmed_mean(x, cohort_for(x, 0)), x.double().mean(0), ulps=1)
    x[0], x[1] = 1e30, -1e30
    near(trimmed_mean(x, cohort_for(x, 1)), x[2:].double().mean(0), ulps=1)
    assert torch.equal(trimmed_mean(x, cohort_for(x, 0), trim=1), trimmed_mean(x, cohort_for(x, 1)))
