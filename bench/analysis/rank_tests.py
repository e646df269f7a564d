"""Statistics of ranks: the exact signed-rank test, mean ranks and their critical difference.

Arrays end in the seeds (or, for `ranks`, in the rules), NaN is a seed without a number; as in `analysis.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipbench.analysis.statistics import CONFIDENCE, LEVEL, Values

_MOST = 2**22  # comparisons of two numbers that are held at once


def wilcoxon(differences: ArrayLike) -> Values:
    """Two-sided exact p of the signed-rank test of each row.

    Zeros are dropped; |d| is ranked, ties sharing their mean rank; W is the sum of the ranks of positive d. Under the
    null each sign is a fair coin, so p is the share of the 2^n sign patterns with a W as far from its mean (counted
    exactly, ties and all, by adding one rank after the other). Wilcoxon 1945, Biometrics Bulletin 1:80-83; Hollander
    & Wolfe 1999, section 3.1. 1 where all differences are 0, NaN for n = 0.

    Args:
        differences: ``(..., seeds)``.
    """
    x = np.asarray(differences, dtype=np.float64)
    signed = _signed_ranks(x).reshape(-1, x.shape[-1])
    sums = np.where(signed > 0, signed, 0).sum(-1)  # of the ranks of positive differences
    ordered = np.sort(np.abs(signed), axis=-1)
    p = [_tail(ranks.tobytes(), w) for ranks, w in zip(ordered, sums.tolist(), strict=True)]
    return np.where(np.isnan(x).all(-1), np.nan, np.array(p, dtype=np.float64).reshape(x.shape[:-1]))


def _signed_ranks(x: Values) -> NDArray[np.int64]:
    """Twice the mean rank of each |d|, with the sign of d; 0 for no number and for no difference."""
    counts = np.abs(np.where(np.isnan(x), 0.0, x)) >= 1e-12  # less between equal shares is rounding
    size = np.where(counts, np.abs(x), np.inf)
    return np.where(counts, _doubled_ranks(size) * np.sign(np.where(counts, x, 0.0)).astype(np.int64), 0)


def _doubled_ranks(values: Values) -> NDArray[np.int64]:
    """Twice the mean ranks within each row, which are whole numbers; what differs by rounding only is a tie."""
    flat = np.round(values, 12).reshape(-1, values.shape[-1])
    found = np.empty(flat.shape, dtype=np.int64)
    step = max(1, _MOST // max(1, flat.shape[-1]) ** 2)
    for start in range(0, len(flat), step):
        own, other = flat[start : start + step, :, None], flat[start : start + step, None, :]
        found[start : start + step] = 2 * (other < own).sum(-1) + (other == own).sum(-1) + 1
    return found.reshape(values.shape)


@lru_cache(maxsize=4096)
def _distribution(ranks: bytes) -> Values:
    """P(W = w) for w = 0, 1, ..., sum of ranks, each rank counting with probability 1/2; 0 is no rank."""
    known = [rank for rank in np.frombuffer(ranks, dtype=np.int64).tolist() if rank]
    chances = np.zeros(sum(known) + 1)
    chances[0] = 1.0
    for rank in known:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return chances


@lru_cache(maxsize=65536)
def _tail(ranks: bytes, w: int) -> float:
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


def ranks(scores: ArrayLike, higher_is_better: bool = True) -> Values:
    """Ranks within each row, 1 the best, ties sharing their mean rank.

    Args:
        scores: ``(..., rules)``, without NaN.
        higher_is_better: of the scores.
    """
    x = np.asarray(scores, dtype=np.float64)
    return np.asarray(_doubled_ranks(-x if higher_is_better else x) / 2)


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
