"""The statistics of a comparison: pure functions of numbers over seeds, each with its formula and source.

Arrays end in the seeds, ``(..., seeds)``; NaN is a seed without a number and is left out of its row. Two rules that
met the same seed met the same clients, flips, weights and batches (common random numbers), so rules are compared by
their differences seed by seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import: only where nothing else will do

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL
LEAST_SEEDS = 6  # with fewer, no exact two-sided signed-rank test reaches 0.05: `analysis.rank_tests.least_p`

Values = NDArray[np.float64]
STATISTICS = ("mean", "sd", "n", "low", "high")  # of `over_seeds`


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


def student_interval(values: ArrayLike) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row: mean -+ t(0.975, n - 1) sd / sqrt(n).

    Student 1908, Biometrika 6:1-25; exact for normal values at every n, and the only interval that still covers with
    three to seven seeds (``docs/statistics.md``), so every table and figure has it. NaN for n < 2.

    Args:
        values: ``(..., seeds)``.
    """
    mean, sd, n = moments(values)
    half = stdtrit(np.where(n > 1, n - 1, np.nan), 1 - LEVEL / 2) * sd / np.sqrt(np.maximum(n, 1))
    return mean - half, mean + half


def over_seeds(values: ArrayLike) -> dict[str, Any]:
    """`moments` and `student_interval` of each row, by the names of `STATISTICS`.

    Args:
        values: ``(..., seeds)``.
    """
    low, high = student_interval(values)
    return dict(zip(STATISTICS, (*moments(values), low, high), strict=True))


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
