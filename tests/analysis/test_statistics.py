"""Statistics against scipy, published tables, hand computation, brute force and simulation."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flipbench.analysis import rank_tests, statistics
from tests.helpers.paths import TESTS

# Student 1908, table 1 (as in R's `sleep`): extra hours of sleep under the second drug minus those under the first.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
# Hollander & Wolfe 1999, table 3.1: Hamilton depression scale, after minus before.
DEPRESSION = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]) - np.array(
    [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
)
numbers = st.lists(st.integers(-6, 6).map(lambda v: v / 4), min_size=2, max_size=9)


def test_moments_leave_out_what_is_not_known() -> None:
    mean, sd, n = statistics.moments([[1.0, 2.0, 6.0], [4.0, np.nan, np.nan], [np.nan] * 3])
    assert mean[:2].tolist() == [3.0, 4.0]
    assert np.isnan(mean[2])
    assert sd[0] == pytest.approx(7**0.5)
    assert np.isnan(sd[1:]).all()
    assert n.tolist() == [3, 1, 0]


def test_student_against_scipy_and_the_published_example() -> None:
    low, high = statistics.student_interval(SLEEP)
    told = stats.ttest_1samp(SLEEP, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((told.low, told.high))
    assert (round(float(low), 3), round(float(high), 3)) == (0.700, 2.460)  # as R prints for `sleep`
    assert round(float(statistics.paired_t(SLEEP)), 6) == 0.002833


def naive_share_interval(values: list[float]) -> tuple[float, float]:
    """Every true mean on a fine grid that the score test with its overdispersion does not refuse."""
    n, m = len(values), sum(values) / len(values)
    variance = sum((v - m) ** 2 for v in values) / (n - 1)
    t = float(stats.t.ppf(0.975, n - 1))
    error = t * t * variance / n / (m - m * m)
    inside = [mu for mu in np.linspace(0, 1, 20001).tolist() if (m - mu) ** 2 <= error * mu * (1 - mu)]
    return (min(inside), max(inside)) if inside else (m, m)  # without any spread: the mean alone


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9).filter(lambda v: 0 < sum(v) < 50 * len(v)))
@settings(deadline=None, max_examples=60)
def test_the_interval_of_shares_is_what_a_score_test_does_not_refuse(values: list[int]) -> None:
    shares = [v / 50 for v in values]
    low, high = statistics.share_interval(shares)
    assert (low, high) == pytest.approx(naive_share_interval(shares), abs=1.1e-4)
    assert 0 <= low <= sum(shares) / len(shares) <= high <= 1


def test_the_interval_of_shares_at_the_bounds_and_far_from_them() -> None:
    assert [float(end) for end in statistics.share_interval([1.0, 1.0, 1.0])] == [1.0, 1.0]
    assert [float(end) for end in statistics.share_interval([0.0, 0.0])] == [0.0, 0.0]
    assert np.isnan(statistics.share_interval([0.5])).all()
    low, high = statistics.share_interval([0.1, 0.8, 0.936])  # Student's would be 61.2 +- 111.4 %
    assert (round(float(low), 3), round(float(high), 3)) == (0.062, 0.974)
    close = [0.500, 0.501, 0.499, 0.5005]
    assert statistics.share_interval(close) == pytest.approx(statistics.student_interval(close), abs=1e-5)
    wilson = stats.binomtest(8, 20).proportion_ci(method="wilson")  # 20 examples of one each, t for the normal quantile
    one_each = [1.0] * 8 + [0.0] * 12
    factor = (float(stats.t.ppf(0.975, 19)) / float(stats.norm.ppf(0.975))) ** 2 * 20 / 19
    m, z2 = 0.4, float(stats.norm.ppf(0.975)) ** 2 * factor / 20
    ends = [(m + z2 / 2 + sign * (z2 * m * (1 - m) + z2 * z2 / 4) ** 0.5) / (1 + z2) for sign in (-1, 1)]
    assert [float(end) for end in statistics.share_interval(one_each)] == pytest.approx(ends)
    assert ends == pytest.approx([wilson.low, wilson.high], abs=0.02)


def test_intervals_of_differences_are_students_within_their_bounds() -> None:
    for bounds in (statistics.DIFFERENCE, (-2.0, 2.0)):
        low, high = statistics.interval([-0.9, 0.9, 0.8], bounds)
        whole = statistics.student_interval([-0.9, 0.9, 0.8])
        assert (low, high) == (max(whole[0], bounds[0]), min(whole[1], bounds[1]))
    assert statistics.interval(SLEEP, statistics.UNBOUNDED) == statistics.student_interval(SLEEP)
    assert statistics.difference(statistics.SHARE) == statistics.DIFFERENCE


@pytest.mark.parametrize("n", range(1, 14))
def test_interquartile_mean_is_scipys_trimmed_mean(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n)
    assert statistics.interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25))
    assert statistics.interquartile_mean([*x, np.nan]) == pytest.approx(stats.trim_mean(x, 0.25))


@given(numbers)
@settings(deadline=None)
def test_signed_rank_counts_every_pattern_of_signs(values: list[float]) -> None:
    """Ties and zeros included, against enumeration."""
    d = np.array([v for v in values if v])
    if not len(d):
        assert rank_tests.wilcoxon(values) == 1.0
        return
    ranks = stats.rankdata(np.abs(d))
    observed = abs(ranks[d > 0].sum() - ranks.sum() / 2)
    far = [
        abs(ranks[np.array(signs)].sum() - ranks.sum() / 2) >= observed - 1e-9
        for signs in itertools.product([False, True], repeat=len(d))
    ]
    assert rank_tests.wilcoxon(values) == pytest.approx(np.mean(far))


@pytest.mark.parametrize("n", [3, 6, 15, 40])
def test_signed_rank_against_scipy(n: int) -> None:
    d = np.random.default_rng(n).standard_normal((5, n)) + 0.3
    told = [stats.wilcoxon(row, method="exact").pvalue for row in d]
    assert rank_tests.wilcoxon(d) == pytest.approx(told)


def test_signed_rank_of_the_published_example() -> None:
    assert rank_tests.wilcoxon(DEPRESSION) == pytest.approx(0.0390625)  # T+ = 5 of n = 9: 2 x 0.0195


def test_too_few_seeds_for_a_claim() -> None:
    assert rank_tests.least_p(5) == 0.0625
    assert rank_tests.wilcoxon([0.01, 0.02, 0.03, 0.04, 0.05]) == 0.0625
    assert rank_tests.least_p(6) < 0.05 < rank_tests.least_p(5)
    assert rank_tests.seeds_needed() == statistics.LEAST_SEEDS == 6
    assert rank_tests.seeds_needed(24) == 10  # 24 x 2 / 2^10 = 0.047


def test_holm_by_hand_and_unknown_is_no_test() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, never falling.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    told = statistics.holm([[0.01, np.nan], [0.9, 0.6]])
    assert told[0, 0] == pytest.approx(0.03)
    assert np.isnan(told[0, 1])
    assert told[1].tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holm_is_between_the_raw_p_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    told, raw = statistics.holm(p), np.array(p)
    assert (told >= raw - 1e-15).all()
    assert (told <= np.minimum(1, len(p) * raw) + 1e-15).all()
    assert (np.diff(told[np.argsort(raw, kind="stable")]) >= 0).all()


def test_equal_differences_are_certain_or_nothing() -> None:
    assert statistics.paired_t([[0.0] * 4, [0.25] * 4, [-0.25] * 4]).tolist() == [1.0, 0.0, 0.0]
    # 0.3 - 0.2 and 0.8 - 0.7 differ by rounding only.
    assert statistics.paired_t([0.3 - 0.2, 0.8 - 0.7, 0.1]) == 0.0


def test_one_seed_says_nothing() -> None:
    assert np.isnan(statistics.paired_t([0.5, np.nan]))
    assert np.isnan(statistics.student_interval([0.5])).all()


def test_nemenyi_against_the_published_table() -> None:
    """Demsar 2006, table 5(a), alpha 0.05; and his example: 4 classifiers on 14 data sets, CD = 1.25."""
    told = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for k, q in told.items():
        assert rank_tests.critical_difference(k, 1) / (k * (k + 1) / 6) ** 0.5 == pytest.approx(q, abs=1e-3)
    assert rank_tests.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert np.isnan(rank_tests.critical_difference(1, 9))


def test_ranks_share_ties_and_know_what_is_better() -> None:
    assert rank_tests.ranks([[0.9, 0.5, 0.9, 0.1]]).tolist() == [[1.5, 3.0, 1.5, 4.0]]
    assert rank_tests.ranks([0.9, 0.5, 0.1], higher_is_better=False).tolist() == [3.0, 2.0, 1.0]


def test_cliques_are_the_largest_groups_within_reach() -> None:
    # Demsar's example: at 5 % even the best and the worst cannot be told apart, at 10 % (CD 1.12) they can.
    demsar = [3.143, 2.000, 2.893, 1.964]
    assert rank_tests.cliques(demsar, 1.25) == [(3, 1, 2, 0)]
    assert rank_tests.cliques(demsar, 1.12) == [(3, 1, 2), (2, 0)]
    assert rank_tests.cliques([1.0, 3.0], 1.5) == []
    assert rank_tests.cliques([1.0, 2.0, 3.0], 5.0) == [(0, 1, 2)]


def coverage() -> ModuleType:
    path = TESTS / "statistics" / "coverage.py"
    spec = importlib.util.spec_from_file_location("flipbench_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_intervals_cover_and_corrected_tests_keep_their_level() -> None:
    """The short version of ``python tests/statistics/coverage.py``."""
    assert not [str(found) for found in coverage().measure(400, seed=3) if not found.holds]
