"""How many seeds a comparison of two rules needs: the power of the paired t test with Holm's correction.

A difference d (its true mean over seeds) with spread s (standard deviation over seeds) gives a t of n - 1 degrees with
noncentrality d sqrt(n) / s. Of m comparisons of a table the first that Holm's correction lets pass must come below
0.05 / m. That level is what counts here: a comparison that passes it is claimed however the others turn out, so the
power of a table is at least the one computed. (A table in which many rules differ asks less of the rest.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, ndtr, stdtrit

from flipbench.analysis import statistics
from flipbench.analysis.comparisons import compare
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import showable
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.statistics import LEAST_SEEDS, LEVEL, Values

POWER = 0.8
MOST = 1000  # seeds that are looked at
_CONFIDENCE = 0.8  # of the upper limit of a spread
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)  # scipy's noncentral t gives NaN in far tails
_REACH = 14.0  # standard errors of the standard deviation that are integrated over


def power(difference: ArrayLike, spread: ArrayLike, seeds: ArrayLike, level: ArrayLike = LEVEL) -> Values:
    """How likely the two-sided paired t test claims a difference.

    P(|T| > t(1 - level / 2, n - 1)) with T noncentral t of n - 1 degrees, as an integral over the chi distribution of
    the measured standard deviation. Where the spread is 0, any difference is seen.

    Args:
        difference: true mean of the differences; its sign does not count.
        spread: their standard deviation over seeds, in the same unit.
        seeds: n, at least 2.
        level: of the test.
    """
    d, s, n, a = np.broadcast_arrays(np.abs(np.asarray(difference, dtype=np.float64)), spread, seeds, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(s > 0, d * np.sqrt(n) / s, np.where(d > 0, np.inf, 0.0))[..., None]
    freedom, critical = (n - 1.0)[..., None], -stdtrit(n - 1.0, a / 2)[..., None]
    reach = _REACH / np.sqrt(2 * freedom)
    low, high = np.maximum(0.0, 1 - reach), 1 + reach
    x = (low + high) / 2 + (high - low) / 2 * _NODES  # measured over true standard deviation
    log_density = (freedom - 1) * np.log(x) - freedom * (x**2 - 1) / 2
    mass = np.exp(log_density) * _WEIGHTS
    claims = ndtr(shift - critical * x) + ndtr(-shift - critical * x)
    return np.asarray((mass * claims).sum(-1) / mass.sum(-1), dtype=np.float64)


def seeds_needed(
    difference: float, spread: ArrayLike, level: float = LEVEL, wanted: float = POWER
) -> NDArray[np.int64]:
    """The least n, from `LEAST_SEEDS` on, whose `power` is at least ``wanted``; `MOST` + 1 where none up to `MOST` is.

    Args:
        difference: to be claimed, other than 0.
        spread: of each comparison.
        level: of the test.
        wanted: power.
    """
    s = np.asarray(spread, dtype=np.float64)
    low, high = np.full(s.shape, LEAST_SEEDS - 1), np.full(s.shape, MOST + 1)
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, LEAST_SEEDS)
        enough = power(difference, s, middle, level) >= wanted
        low, high = np.where(enough, low, np.minimum(middle, high)), np.where(enough, middle, high)
    return np.asarray(high, dtype=np.int64)


def upper_spread(spread: ArrayLike, seeds: ArrayLike) -> Values:
    """The upper 80 % limit of a standard deviation that was measured over n seeds: s sqrt((n - 1) / chi2(0.2, n - 1)).

    A pilot of few seeds is as likely too small in spread as too large. Planned with this limit, 80 % of the pilots give
    enough seeds (Browne 1995, Statistics in Medicine 14:1933-1940).
    """
    n = np.asarray(seeds, dtype=np.float64)
    return np.asarray(np.asarray(spread) * np.sqrt((n - 1) / chdtri(n - 1, _CONFIDENCE)), dtype=np.float64)


@dataclass(frozen=True)
class Spreads:
    """The spread of every comparison of a table, from pilot seeds.

    Attributes:
        about: fields that tell its page from others, and the attack where each has a table of its own.
        spread: standard deviation of the differences over seeds, ``(comparisons,)``.
        seeds: behind each of them.
    """

    about: tuple[str, ...]
    spread: Values
    seeds: NDArray[np.int64]


def pilot_spreads(pivots: Sequence[Pivot], shown: MetricColumn) -> list[Spreads]:
    """The spreads of all tables of a metric; comparisons of fewer than two common seeds are left out.

    Args:
        pivots: of the pilot's cells.
        shown: the metric.
    """
    found: list[Spreads] = []
    for pivot in pivots:
        page = pivot.page
        attacks: list[list[str]] = [[a] for a in showable(page, shown)] if shown.needs_mapping else [list(page.attacks)]
        for family in attacks:
            values, _ = pivot.by_seed(shown, family)
            if values.shape[1] < 2 or not values.size:
                continue
            pairs = compare(values)
            known = pairs.n > 1
            about = (*(str(v) for v in page.about.values()), *(family if shown.needs_mapping else ()))
            spread: Any = statistics.moments(pairs.differences)[1][known]
            found.append(Spreads(about, spread, pairs.n[known]))
    return [s for s in found if len(s.spread)]
