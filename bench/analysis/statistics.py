"""The statistics of a comparison: pure functions of numbers over seeds, each with its formula and source.

Arrays end in the seeds, ``(..., seeds)``; NaN is a seed without a number and is left out of its row. Two rules that
met the same seed met the same clients, flips, weights and batches (common random numbers), so rules are compared by
their differences seed by seed.

Within `sequential` the number of seeds was not fixed before the run: intervals and p values then allow for all looks at
the data (`analysis.seeds.boundaries`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import: only where nothing else will do

from flipbench.analysis.seeds.boundaries import Boundaries, boundaries
from flipbench.spec.seed_plan import SeedPlan

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL
LEAST_SEEDS = 6  # with fewer, no exact two-sided signed-rank test reaches 0.05: `analysis.rank_tests.least_p`

Values = NDArray[np.float64]
Bounds = tuple[float, float]
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # of a share, of the difference of two
UNBOUNDED = (-float("inf"), float("inf"))
STATISTICS = ("mean", "sd", "n", "low", "high")  # of `over_seeds`

_PLAN: ContextVar[SeedPlan | None] = ContextVar("seed_plan", default=None)


@contextmanager
def sequential(plan: SeedPlan | None) -> Iterator[None]:
    """Inside, intervals and p values are those of runs that a plan may have stopped; None: of fixed seeds."""
    before = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(before)


def seed_plan() -> SeedPlan | None:
    """The plan of the sequential runs whose numbers are looked at; None for a fixed number of seeds."""
    return _PLAN.get()


def moments(values: ArrayLike) -> tuple[Values, Values, NDArray[np.int64]]:
    """Mean, standard deviation (with n - 1) and n of each row.

    Args:
        values: ``(..., seeds)``.

    Returns:
        ``(...)`` each; the mean is NaN for n = 0, the standard deviation for n < 2.
    """
    x = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(x)
    n = known.sum(-1)
    mean = ratio(np.where(known, x, 0.0).sum(-1), n)
    squares = np.where(known, x - mean[..., None], 0.0) ** 2
    return mean, np.sqrt(ratio(squares.sum(-1), n - 1)), n


def critical_t(n: ArrayLike) -> Values:
    """How many standard errors a 95 % interval of the mean reaches on each side: t(0.975, n - 1).

    Of sequential runs: what |t| must exceed at the look after n seeds. The interval is then a repeated confidence
    interval: it covers at all looks together with 95 % (Jennison & Turnbull 1989, JRSS B 51:305-361). NaN for n < 2.

    Args:
        n: seeds, any shape.
    """
    seeds, plan = np.asarray(n, dtype=np.int64), _PLAN.get()
    if plan is None:
        return np.asarray(stdtrit(np.where(seeds > 1, seeds - 1, np.nan), 1 - LEVEL / 2), dtype=np.float64)
    found = np.full(seeds.shape, np.nan)
    for number in np.unique(seeds[seeds > 1]).tolist():
        levels, looks = _levels(plan, number)
        found[seeds == number] = levels.critical(len(looks) - 1, LEVEL)
    return found


def student_interval(values: ArrayLike) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row: mean -+ `critical_t` sd / sqrt(n).

    Student 1908, Biometrika 6:1-25; exact for normal values at every n, and unlike the bootstrap's it still covers
    with three to seven seeds (``docs/statistics.md``). NaN for n < 2.

    Args:
        values: ``(..., seeds)``.
    """
    mean, sd, n = moments(values)
    half = critical_t(n) * sd / np.sqrt(np.maximum(n, 1))
    return mean - half, mean + half


def share_interval(values: ArrayLike) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row of shares: Wilson's, with an effective number of examples.

    With mean m, standard deviation s and t = `critical_t`, the variance of the mean is s^2 / n where the true mean
    is m, and is taken to grow and shrink with mu (1 - mu) as that of a share does. The interval is then every mu with

        (m - mu)^2 <= t^2 (s^2 / n) mu (1 - mu) / (m (1 - m)),

    which with k = t^2 s^2 / (n m (1 - m)) = t^2 / n_effective is (m + k/2 -+ sqrt(k m (1 - m) + k^2/4)) / (1 + k). It
    lies in [0, 1], and is Student's for a small s. Wilson 1927, JASA 22:209-212; the effective number as in Korn &
    Graubard 1998, Survey Methodology 24:193-201; compared with others in Franco et al. 2019, Journal of Survey
    Statistics and Methodology 7:334-364, and in ``docs/statistics.md``. NaN for n < 2.

    Args:
        values: ``(..., seeds)``, from 0 to 1.
    """
    mean, sd, n = moments(values)
    spread = mean * (1 - mean)
    t = critical_t(n)
    # Shares that are all 0, or all 1, have no spread, and s^2 <= n spread / (n - 1) is as small as rounding.
    k = np.where(spread > 1e-12, t**2 * sd**2 / (np.maximum(n, 1) * np.where(spread > 1e-12, spread, 1.0)), 0.0 * t)
    middle, half = (mean + k / 2) / (1 + k), np.sqrt(k * np.maximum(spread, 0.0) + k**2 / 4) / (1 + k)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def interval(values: ArrayLike, bounds: Bounds) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row that tables and figures show; it stays within the bounds.

    Of shares `share_interval`. Of differences Student's without what lies beyond their bounds, where their mean cannot
    lie: its coverage is that of the whole interval, and it excludes 0 where the paired t test does.

    Args:
        values: ``(..., seeds)``, within the bounds.
        bounds: of `SHARE`, `DIFFERENCE` and the like; `UNBOUNDED` cuts nothing.
    """
    if bounds == SHARE:
        return share_interval(values)
    low, high = student_interval(values)
    return np.maximum(low, bounds[0]), np.minimum(high, bounds[1])


def over_seeds(values: ArrayLike, bounds: Bounds = UNBOUNDED) -> dict[str, Any]:
    """`moments` and `interval` of each row, by the names of `STATISTICS`.

    Args:
        values: ``(..., seeds)``.
        bounds: between which any value lies.
    """
    low, high = interval(values, bounds)
    return dict(zip(STATISTICS, (*moments(values), low, high), strict=True))


def difference(bounds: Bounds) -> Bounds:
    """Between which the difference of two values lies, each of which lies within these bounds."""
    return bounds[0] - bounds[1], bounds[1] - bounds[0]


def uneven(mean: float, low: float, high: float) -> bool:
    """Whether mean and half the length do not tell an interval: one side is a quarter longer than the other, or more,
    or they would pass a bound that the interval keeps (0 and 1 of shares, -1 and 1 of differences)."""
    longer, shorter = max(mean - low, high - mean), min(mean - low, high - mean)
    half = (high - low) / 2
    least = 0.0 if low >= 0 else -1.0 if low >= -1 else low
    passes = mean - half < least - 1e-9 or (high <= 1 and mean + half > 1 + 1e-9)
    return bool(longer > 1.25 * shorter + 1e-9 or passes)


def interquartile_mean(values: ArrayLike) -> Values:
    """Mean of each row without its floor(n / 4) lowest and as many highest: a mean that one seed cannot carry off.

    Agarwal et al. 2021, NeurIPS (Deep reinforcement learning at the edge of the statistical precipice), section 4.3.
    With fewer than four seeds nothing is cut.

    Args:
        values: ``(..., seeds)``.
    """
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)  # NaN last
    n = (~np.isnan(x)).sum(-1)
    cut, place = n // 4, np.arange(x.shape[-1])
    kept = (place >= cut[..., None]) & (place < (n - cut)[..., None])
    return ratio(np.where(kept, x, 0.0).sum(-1), kept.sum(-1))


def paired_t(differences: ArrayLike) -> Values:
    """Two-sided p of each row's mean difference being 0: t = mean / (sd / sqrt(n)) on n - 1 degrees.

    Student 1908. Where all differences are equal, p is 1 if they are 0, else 0; NaN for n < 2. Of sequential runs: the
    smallest of the sequential p values of all looks so far, each the least error alpha at which the group-sequential
    test would have stopped there (`analysis.seeds.boundaries`).

    Args:
        differences: ``(..., seeds)``; of sequential runs in the order of the seeds.
    """
    plan = _PLAN.get()
    return _fixed_t(differences) if plan is None else _sequential_t(differences, plan)


def _fixed_t(differences: ArrayLike) -> Values:
    mean, sd, n = moments(differences)
    error = sd / np.sqrt(np.maximum(n, 1))
    # A spread of rounding size is none: equal differences of shares leave 1e-17.
    flat = error <= 1e-12 * np.maximum(1.0, np.abs(mean))
    t = np.where(flat, np.where(np.abs(mean) <= 1e-12, 0.0, np.inf), np.abs(mean) / np.where(flat, 1.0, error))
    p = 2 * stdtr(np.maximum(n - 1, 1), -t)
    return np.where(n < 2, np.nan, p)


def _sequential_t(differences: ArrayLike, plan: SeedPlan) -> Values:
    x = np.asarray(differences, dtype=np.float64)
    rows = x.reshape(-1, x.shape[-1])
    rows = np.take_along_axis(rows, np.argsort(np.isnan(rows), axis=-1, kind="stable"), axis=-1)  # NaN last
    n, found = (~np.isnan(rows)).sum(-1), np.full(len(rows), np.nan)
    for number in np.unique(n[n > 1]).tolist():
        (levels, looks), here = _levels(plan, number), n == number
        each = [levels.sequential_p(i, _fixed_t(rows[here, :look])) for i, look in enumerate(looks)]
        found[here] = np.minimum.reduce(each)
    return found.reshape(x.shape[:-1])


def _levels(plan: SeedPlan, seeds: int) -> tuple[Boundaries, tuple[int, ...]]:
    """The boundaries of a comparison that has so many seeds, and its looks so far: the first ones of those."""
    looks = plan.looks_at(seeds)
    known = plan.looks if looks == plan.looks[: len(looks)] else looks
    return boundaries(known, max(plan.most, seeds)), looks


def holm(p: ArrayLike) -> Values:
    """Holm's step-down correction over all numbers of an array: the family-wise error stays at its level.

    Sorted p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)). Holm 1979,
    Scandinavian Journal of Statistics 6:65-70. NaN is no test and stays NaN.

    Args:
        p: any shape.
    """
    values = np.asarray(p, dtype=np.float64)
    flat = values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    adjusted = np.full_like(flat, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * flat[order]))
    return adjusted.reshape(values.shape)


def ratio(part: Any, whole: Any) -> Values:
    """part / whole; NaN where whole is not positive."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))
