"""How many seeds a comparison needs: against scipy's noncentral t and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from flipbench.analysis.comparisons import compare
from flipbench.analysis.seeds import power


def naive(difference: float, spread: float, seeds: int, level: float) -> float:
    critical = stats.t.isf(level / 2, seeds - 1)
    shift = difference * seeds**0.5 / spread
    other = float(stats.nct.cdf(-critical, seeds - 1, shift))  # scipy gives NaN where it is smaller than 1e-16
    return float(stats.nct.sf(critical, seeds - 1, shift)) + (0.0 if np.isnan(other) else other)


@pytest.mark.parametrize("seeds", [6, 9, 40])
@pytest.mark.parametrize("level", [0.05, 0.05 / 150])
@pytest.mark.parametrize("difference", [0.5, 1.0, 1.5])
def test_power_is_that_of_the_noncentral_t(seeds: int, level: float, difference: float) -> None:
    expected = naive(difference, 1.0, seeds, level)
    assert power.power(difference, 1.0, seeds, level) == pytest.approx(expected, abs=1e-6)
    assert power.power(-difference, 1.0, seeds, level) == power.power(difference, 1.0, seeds, level)


def test_without_difference_the_power_is_the_level_and_without_spread_it_is_one() -> None:
    assert power.power(0.0, 1.0, 8, 0.05) == pytest.approx(0.05, abs=1e-6)
    assert power.power(0.01, 0.0, 6, 1e-6) == 1.0


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_seeds_needed_are_the_least(spread: float) -> None:
    level = 0.05 / 24
    n = int(power.seeds_needed(1.0, spread, level))
    assert naive(1.0, spread, n, level) >= 0.8
    assert n == 6 or naive(1.0, spread, n - 1, level) < 0.8


def test_seeds_needed_are_at_least_six_and_end_at_the_most() -> None:
    found = power.seeds_needed(1.0, [0.0, 1e-3, 1.0, 1e4])
    assert found[:2].tolist() == [6, 6]
    assert 6 < found[2] < 20
    assert found[3] == power.MOST + 1


def test_a_table_of_so_many_seeds_claims_the_difference() -> None:
    """One of 18 comparisons has a difference: Holm's correction lets it pass in 80 % of simulated tables."""
    rng, tables, spread, difference = np.random.default_rng(0), 1500, 1.0, 1.2
    n = int(power.seeds_needed(difference, spread, 0.05 / 18))
    claims = 0
    for _ in range(tables):
        values = rng.standard_normal((3, 4, n)) * spread / np.sqrt(2)
        values[0, 0] += difference  # better than the other three in one column
        pairs = compare(values)
        claims += bool(pairs.claimed[0, (pairs.first == 0) & (pairs.second == 1)][0])
    assert claims / tables >= 0.8 - 3 * np.sqrt(0.16 / tables)


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_four_of_five_pilots_have_an_upper_limit_above_the_true_spread(seeds: int) -> None:
    drawn = np.random.default_rng(3).standard_normal((40_000, seeds)).std(axis=1, ddof=1)
    assert (power.upper_spread(drawn, seeds) >= 1).mean() == pytest.approx(0.8, abs=0.008)
