"""The statistics of a comparison: pure functions of numbers over seeds, each with its formula and source.

Arrays end in the seeds, ``(..., seeds)``; NaN is a seed without a number and is left out of its row. Two rules that
met the same seed met the same clients, flips, weights and batches (common random numbers), so rules are compared by
their differences seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import: only where nothing else will do

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL
RESAMPLES = 9999
LEAST_SEEDS = 6  # with fewer, no exact two-sided signed-rank test reaches 0.05: `least_p`
_MOST_SHARES = 2**24  # numbers that a batch of the bootstrap holds

Values = NDArray[np.float64]


def moments(values: ArrayLike) -> tuple[Values, Values, NDArray[np.int64]]:
    """Mean, standard deviation (with n - 1) and n of each row.

    Args:
        values: ``(..., seeds)``.

    Returns:
        ``(...)`` each; the mean is NaN for n = 0, the standard deviation for n < 2.
    """
    x = _rows(values)
    known = ~np.isnan(x)
    n = known.sum(-1)
    mean = _over(np.where(known, x, 0.0).sum(-1), n)
    squares = np.where(known, x - mean[..., None], 0.0) ** 2
    return mean, np.sqrt(_over(squares.sum(-1), n - 1)), n


def student_interval(values: ArrayLike) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row: mean -+ t(0.975, n - 1) sd / sqrt(n).

    Student 1908, Biometrika 6:1-25; exact for normal values at every n. NaN for n < 2.

    Args:
        values: ``(..., seeds)``.
    """
    mean, sd, n = moments(values)
    half = stdtrit(np.where(n > 1, n - 1, np.nan), 1 - LEVEL / 2) * sd / np.sqrt(np.maximum(n, 1))
    return mean - half, mean + half


def bca_interval(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row by the bias-corrected and accelerated bootstrap.

    Efron 1987, JASA 82:171-185, as in `scipy.stats.bootstrap`. It assumes no distribution, but with few seeds it is
    too short (``docs/statistics.md`` says what it covers), so Student's stands in the tables. A row's interval
    depends on its own numbers and ``seed`` only, not on its neighbours.

    Args:
        values: ``(..., seeds)``.
        resamples: how many.
        seed: of the resampling.

    Returns:
        Lower and upper ends; NaN for n < 3; the value itself, twice, where all are equal.
    """
    x = _rows(values)
    flat = x.reshape(-1, x.shape[-1])
    low, high = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    known = ~np.isnan(flat)
    for n in sorted(set(known.sum(-1).tolist())):
        if n < 3:
            continue
        rows = np.flatnonzero(known.sum(-1) == n)
        own = flat[rows][known[rows]].reshape(-1, n)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            low[rows[part]], high[rows[part]] = _bca(own[part], resamples, seed)
    return low.reshape(x.shape[:-1]), high.reshape(x.shape[:-1])


_ROWS = 4096  # of one call: so that memory does not grow with the table


def _bca(rows: Values, resamples: int, seed: int) -> tuple[Values, Values]:
    from scipy.stats import bootstrap

    low, high = rows[:, 0].copy(), rows[:, 0].copy()
    differ = np.ptp(rows, axis=-1) > 0  # equal values have no acceleration
    if differ.any():
        mine = rows[differ]
        found = bootstrap(
            (mine,),
            np.mean,
            axis=-1,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, _MOST_SHARES // mine.size),
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low[differ], high[differ] = found.low, found.high
    return low, high


def interquartile_mean(values: ArrayLike) -> Values:
    """Mean of each row without its floor(n / 4) lowest and as many highest: a mean that one seed cannot carry off.

    Agarwal et al. 2021, NeurIPS (Deep reinforcement learning at the edge of the statistical precipice), section 4.3.
    With fewer than four seeds nothing is cut.

    Args:
        values: ``(..., seeds)``.
    """
    x = np.sort(_rows(values), axis=-1)  # NaN last
    n = (~np.isnan(x)).sum(-1)
    cut, place = n // 4, np.arange(x.shape[-1])
    kept = (place >= cut[..., None]) & (place < (n - cut)[..., None])
    return _over(np.where(kept, x, 0.0).sum(-1), kept.sum(-1))


def paired_t(differences: ArrayLike) -> Values:
    """Two-sided p of each row's mean difference being 0: t = mean / (sd / sqrt(n)) on n - 1 degrees.

    Student 1908. Where all differences are equal, p is 1 if they are 0, else 0; NaN for n < 2.

    Args:
        differences: ``(..., seeds)``.
    """
    mean, sd, n = moments(differences)
    error = sd / np.sqrt(np.maximum(n, 1))
    # A spread of rounding size is none: equal differences of shares leave 1e-17.
    flat = error <= 1e-12 * np.maximum(1.0, np.abs(mean))
    t = np.where(flat, np.where(np.abs(mean) <= 1e-12, 0.0, np.inf), np.abs(mean) / np.where(flat, 1.0, error))
    p = 2 * stdtr(np.maximum(n - 1, 1), -t)
    return np.where(n < 2, np.nan, p)


def wilcoxon(differences: ArrayLike) -> Values:
    """Two-sided exact p of the signed-rank test of each row.

    Zeros are dropped; |d| is ranked, ties sharing their mean rank; W is the sum of the ranks of positive d. Under the
    null each sign is a fair coin, so p is the share of the 2^n sign patterns with a W as far from its mean (counted
    exactly, ties and all, by adding one rank after the other). Wilcoxon 1945, Biometrics Bulletin 1:80-83; Hollander
    & Wolfe 1999, section 3.1. 1 where all differences are 0, NaN for n = 0.

    Args:
        differences: ``(..., seeds)``.
    """
    x = _rows(differences)
    flat = x.reshape(-1, x.shape[-1])
    return np.array([_signed_rank(row[~np.isnan(row)]) for row in flat], dtype=np.float64).reshape(x.shape[:-1])


def _signed_rank(d: Values) -> float:
    if not len(d):
        return np.nan
    d = d[~_zero(d)]
    if not len(d):
        return 1.0
    ranks = _doubled_ranks(np.abs(d))
    return _tail(tuple(sorted(ranks.tolist())), int(ranks[d > 0].sum()))


def _zero(d: Values) -> NDArray[np.bool_]:
    """Differences of equal shares are 0 or rounding."""
    return np.abs(d) < 1e-12


def _doubled_ranks(values: Values) -> NDArray[np.int64]:
    """Twice the mean ranks: whole numbers."""
    rounded = np.round(values, 12)
    ordered = np.sort(rounded)
    below = np.searchsorted(ordered, rounded, "left")
    return below + np.searchsorted(ordered, rounded, "right") + 1


@lru_cache(maxsize=4096)
def _distribution(ranks: tuple[int, ...]) -> Values:
    """P(W = w) for w = 0, 1, ..., sum of ranks, each rank counting with probability 1/2."""
    chances = np.zeros(sum(ranks) + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return chances


@lru_cache(maxsize=65536)
def _tail(ranks: tuple[int, ...], w: int) -> float:
    chances = _distribution(ranks)
    low = min(w, len(chances) - 1 - w)
    return float(min(1.0, 2 * chances[: low + 1].sum()))


def least_p(seeds: int) -> float:
    """The smallest two-sided p that the exact signed-rank test can give: 2 / 2^n, all differences of one sign."""
    return float(min(1.0, 2.0 ** (1 - seeds)))


def seeds_needed(tests: int = 1, level: float = LEVEL) -> int:
    """Seeds from which the exact signed-rank test can be significant after correction for so many tests."""
    seeds = 1
    while least_p(seeds) * max(1, tests) >= level:
        seeds += 1
    return seeds


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


def cohens_dz(differences: ArrayLike) -> Values:
    """Mean difference in units of the differences' standard deviation: d_z = mean / sd.

    Cohen 1988, Statistical power analysis, section 2.3.5; Lakens 2013, Frontiers in Psychology 4:863. 0 where all
    differences are 0, infinite where they are equal; NaN for n < 2.

    Args:
        differences: ``(..., seeds)``.
    """
    mean, sd, n = moments(differences)
    flat = sd <= 1e-12 * np.maximum(1.0, np.abs(mean))
    unbounded = np.where(np.abs(mean) <= 1e-12, 0.0, np.copysign(np.inf, mean))
    return np.where(n < 2, np.nan, np.where(flat, unbounded, mean / np.where(flat, 1.0, sd)))


def rank_biserial(differences: ArrayLike) -> Values:
    """Matched-pairs rank biserial correlation: (W+ - W-) / (W+ + W-), from -1 (always worse) to 1 (always better).

    Kerby 2014, Comprehensive Psychology 3:1; W+ and W- as in `wilcoxon`. 0 where all differences are 0.

    Args:
        differences: ``(..., seeds)``.
    """
    x = _rows(differences)
    flat = x.reshape(-1, x.shape[-1])
    return np.array([_biserial(row[~np.isnan(row)]) for row in flat], dtype=np.float64).reshape(x.shape[:-1])


def _biserial(d: Values) -> float:
    if not len(d):
        return np.nan
    d = d[~_zero(d)]
    ranks = _doubled_ranks(np.abs(d))
    return float((ranks * np.sign(d)).sum() / ranks.sum()) if len(d) else 0.0


def probability_of_improvement(differences: ArrayLike) -> Values:
    """Share of seeds in which the difference is positive, half of the ties included: P(d > 0) + P(d = 0) / 2.

    Agarwal et al. 2021, section 4.3, over pairs of the same seed rather than over all pairs of runs; McGraw & Wong
    1992, Psychological Bulletin 111:361-365. NaN for n = 0.

    Args:
        differences: ``(..., seeds)``.
    """
    x = _rows(differences)
    known = ~np.isnan(x)
    zero = known & _zero(np.where(known, x, 1.0))
    wins = (known & (x > 0) & ~zero).sum(-1) + zero.sum(-1) / 2
    return _over(wins, known.sum(-1))


def ranks(scores: ArrayLike, higher_is_better: bool = True) -> Values:
    """Ranks within each row, 1 the best, ties sharing their mean rank.

    Args:
        scores: ``(..., rules)``, without NaN.
        higher_is_better: of the scores.
    """
    x = _rows(scores)
    flat = (-x if higher_is_better else x).reshape(-1, x.shape[-1])
    return np.array([_doubled_ranks(row) / 2 for row in flat], dtype=np.float64).reshape(x.shape)


def critical_difference(rules: int, blocks: int) -> float:
    """Difference of mean ranks from which two of so many rules differ at 5 %: q sqrt(k (k + 1) / (6 N)).

    q is the 95 % quantile of the studentised range of k independent normals over sqrt(2). Nemenyi 1963; Demsar 2006,
    JMLR 7:1-30, section 3.2.2. NaN for fewer than two rules or no block.

    Args:
        rules: k, how many are ranked.
        blocks: N, how many independent rankings the mean ranks are over.
    """
    if rules < 2 or blocks < 1:
        return float("nan")
    return _studentised_range(rules) * float(np.sqrt(rules * (rules + 1) / (6 * blocks)))


@lru_cache(maxsize=256)
def _studentised_range(rules: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, rules, np.inf) / np.sqrt(2))


def cliques(mean_ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """The largest groups of rules within a critical difference of each other, as places in ``mean_ranks``.

    Each group is what one bar of the diagram joins (Demsar 2006, figure 1); single rules are not told.
    """
    order = sorted(range(len(mean_ranks)), key=lambda i: mean_ranks[i])
    found: list[tuple[int, ...]] = []
    for start in range(len(order)):
        within = [i for i in order[start:] if mean_ranks[i] - mean_ranks[order[start]] <= difference]
        if len(within) > 1 and not any(set(within) <= set(before) for before in found):
            found.append(tuple(within))
    return found


def _rows(values: ArrayLike) -> Values:
    return np.asarray(values, dtype=np.float64)


def _over(part: Any, whole: Any) -> Values:
    """part / whole; NaN where whole is not positive."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))
