"""The bias-corrected and accelerated bootstrap of the mean, for many rows of numbers at once.

The resamples are the same for all rows of one length, drawn from a fixed seed: a row's interval does not depend on its
neighbours, and all resampled means are one product of matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from flipbench.analysis.statistics import LEVEL, Values, as_rows

RESAMPLES = 9999
LEAST = 10  # seeds; with fewer it covers less than 93 % of accuracies (docs/statistics.md)
_MOST = 2**22  # resampled means that are held at once


def bca_interval(
    values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, least: int = LEAST
) -> tuple[Values, Values]:
    """The 95 % interval of the mean of each row by the BCa bootstrap, widened for small samples.

    Efron 1987, JASA 82:171-185, with the tails of Hesterberg 2015 (The American Statistician 69:371-386, section 4.1,
    "expanded percentile"): instead of 2.5 % each, Phi(-sqrt(n / (n - 1)) t(0.975, n - 1)), so that with symmetric
    numbers it is as wide as Student's and not as narrow as a normal one with a variance over n. No interval inside the
    range of so few numbers can cover (with five, one time in sixteen all lie on one side of the mean), so there is none
    for fewer than ``least``.

    Args:
        values: ``(..., seeds)``; NaN is left out.
        resamples: how many.
        seed: of the resampling.
        least: numbers that a row must have.

    Returns:
        Lower and upper ends; NaN for fewer than ``least`` numbers; the value itself, twice, where all are equal.
    """
    x = as_rows(values)
    flat = x.reshape(-1, x.shape[-1])
    low, high = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    known = ~np.isnan(flat)
    counts = known.sum(-1)
    for n in sorted(set(counts[counts >= max(2, least)].tolist())):
        rows = np.flatnonzero(counts == n)
        own = flat[rows][known[rows]].reshape(-1, n)
        weights = _weights(n, resamples, seed)
        step = max(1, _MOST // resamples)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            low[rows[part]], high[rows[part]] = _bca(own[part], weights)
    return low.reshape(x.shape[:-1]), high.reshape(x.shape[:-1])


def _weights(n: int, resamples: int, seed: int) -> Values:
    """How much of each number is in each resampled mean: ``(n, resamples)``, columns summing to 1."""
    drawn = np.random.default_rng([seed, n]).integers(n, size=(resamples, n))
    flat = (drawn + n * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=n * resamples).reshape(resamples, n).T / n


def _bca(rows: Values, weights: Values) -> tuple[Values, Values]:
    """Both ends for rows ``(rows, n)``."""
    n = rows.shape[-1]
    centre = rows.mean(-1, keepdims=True)
    apart = rows - centre
    spread = np.ptp(rows, axis=-1)
    means = np.sort(apart @ weights, axis=-1)  # around 0, where the mean is
    rounding = 1e-12 * np.maximum(spread, 1e-300)[:, None]
    below = ((means < -rounding).sum(-1) + (means <= rounding).sum(-1)) / 2
    share = np.clip(below / means.shape[-1], 0.5 / means.shape[-1], 1 - 0.5 / means.shape[-1])
    bias = ndtri(share)
    # Jackknife means are centre - apart / (n - 1): their skewness is that of -apart.
    squares = np.where(spread > 0, (apart**2).sum(-1), 1.0)
    acceleration = (apart**3).sum(-1) / (6 * squares**1.5)
    tail = -np.sqrt(n / (n - 1)) * stdtrit(n - 1, 1 - LEVEL / 2)
    ends = []
    for z in (tail, -tail):
        shifted = bias + (bias + z) / (1 - acceleration * (bias + z))
        ends.append(centre[:, 0] + np.where(spread > 0, _quantiles(means, ndtr(shifted)), 0.0))
    return ends[0], ends[1]


def _quantiles(ordered: Values, shares: Values) -> Values:
    """One quantile of each row: linear between the two neighbours, as `numpy.quantile` has it."""
    at = np.clip(shares, 0.0, 1.0) * (ordered.shape[-1] - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    rows = np.arange(len(ordered))
    return np.asarray(ordered[rows, below] + (at - below) * (ordered[rows, above] - ordered[rows, below]))
