"""Group-sequential boundaries: published tables, simulation, and what must hold of all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from flipbench.analysis import statistics
from flipbench.analysis.seeds.boundaries import boundaries
from flipbench.spec.seed_plan import SeedPlan

Values = NDArray[np.float64]
LARGE = (40, 80, 120, 160, 200)  # so many seeds that the t test is nearly the normal one of the tables


def pocock(alphas: Values, share: float) -> Values:
    return alphas * np.log(1 + (np.e - 1) * share)


def obrien_fleming(alphas: Values, share: float) -> Values:
    return np.asarray(4 * stats.norm.sf(stats.norm.isf(alphas / 4) / np.sqrt(share)))  # two one-sided ones


def power_one(alphas: Values, share: float) -> Values:
    return alphas * share


def normal(nominal: float) -> float:
    return float(stats.norm.isf(nominal / 2))


@pytest.mark.parametrize(
    ("spending", "table"),
    [
        # Two-sided, alpha 0.05, five equal looks; Lan & DeMets 1983 with the functions of Pocock and O'Brien-Fleming
        # type, as in Proschan, Lan & Wittes 2006 and in the documentation of the R package ldbounds.
        (pocock, (2.438, 2.427, 2.410, 2.397, 2.386)),
        (obrien_fleming, (4.877, 3.357, 2.680, 2.290, 2.031)),
    ],
)
def test_levels_are_those_of_published_tables(spending: object, table: tuple[float, ...]) -> None:
    found = boundaries(LARGE, 200, spending)  # type: ignore[arg-type]
    assert [normal(found.level(look, 0.05)) for look in range(5)] == pytest.approx(table, abs=0.02)


def test_one_look_is_the_t_test() -> None:
    found = boundaries((8,), 8)
    assert found.level(0, 0.05) == pytest.approx(0.05, rel=1e-3)
    assert found.critical(0, 0.05) == pytest.approx(stats.t.isf(0.025, 7), rel=1e-3)


@pytest.mark.parametrize(("looks", "most"), [((4, 5, 6, 7, 8), 8), ((5, 10), 10), ((6, 7), 20)])
def test_the_error_that_is_spent_is_the_planned_one(looks: tuple[int, ...], most: int) -> None:
    """Normal differences of unknown variance, drawn and tested one look after the other."""
    simulations, alpha = 60_000, 0.05
    found, rng = boundaries(looks, most), np.random.default_rng(1)
    drawn = rng.standard_normal((simulations, looks[-1]))
    crossed = np.zeros(simulations, dtype=bool)
    for i, look in enumerate(looks):
        crossed |= stats.ttest_1samp(drawn[:, :look], 0, axis=1).pvalue <= found.level(i, alpha)
        planned = alpha * (look / most) ** 2
        assert crossed.mean() == pytest.approx(planned, abs=3.5 * np.sqrt(planned / simulations))


def test_levels_grow_with_alpha() -> None:
    """So sequential p values are nested: what one alpha stops, every larger one stops too."""
    found = boundaries(SeedPlan(4, 20).looks, 20)
    assert (np.diff(found.nominal, axis=1) >= 0).all()
    assert (found.nominal <= found.alphas).all()


def test_the_sequential_p_is_the_alpha_whose_boundary_is_reached() -> None:
    found = boundaries((4, 5, 6), 6)
    for look in range(3):
        for alpha in (0.2, 0.05, 0.003):
            p = np.array([found.level(look, alpha), np.nan])
            assert found.sequential_p(look, p)[0] == pytest.approx(alpha, rel=1e-6)
            assert np.isnan(found.sequential_p(look, p)[1])


@pytest.mark.parametrize("looks", [(), (2, 3), (4, 4), (4, 21), (6, 5)])
def test_wrong_looks_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        boundaries(looks, 20)


def test_p_and_interval_of_a_sequential_run_allow_for_all_looks() -> None:
    rng, plan = np.random.default_rng(2), SeedPlan(4, 12)
    rows = rng.standard_normal((5, 12)) + 1
    rows[3, 9:] = np.nan
    rows[4, [0, 5]] = np.nan  # two failed cells: the looks count what is there
    levels = boundaries(plan.looks, 12)
    with statistics.sequential(plan):
        p, (low, high) = statistics.paired_t(rows), statistics.student_interval(rows)
    for row, own, ends in zip(rows, p, zip(low, high, strict=True), strict=True):
        known = row[~np.isnan(row)]
        looks = [n for n in plan.looks if n <= len(known)]
        each = [levels.sequential_p(i, stats.ttest_1samp(known[:n], 0).pvalue) for i, n in enumerate(looks)]
        assert own == pytest.approx(min(map(float, each)), rel=1e-9)
        half = levels.critical(len(looks) - 1, 0.05) * known.std(ddof=1) / np.sqrt(len(known))
        assert ends == pytest.approx((known.mean() - half, known.mean() + half), rel=1e-9)
    assert (p >= statistics.paired_t(rows)).all()
    assert statistics.seed_plan() is None
