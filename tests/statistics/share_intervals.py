"""Intervals of the mean of shares that the suite's own is compared with, each in its plain form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from flipbench.analysis import statistics

Values = NDArray[np.float64]
Interval = Callable[[Values], tuple[Values, Values]]
# Beta distributions of a seed's share: (name, a, b); their mean is a / (a + b).
DRAWN = (
    ("near 90 %, sd 4", 45.0, 5.0),
    ("near 80 %, sd 12", 8.0, 2.0),
    ("near 60 %, sd 20", 3.0, 2.0),
    ("near 98 %, sd 2", 49.0, 1.0),
    ("either low or high, sd 35", 0.5, 0.5),
)


def student(x: Values) -> tuple[Values, Values]:
    """Student's, cut at 0 and 1."""
    low, high = statistics.student_interval(x)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def logit_of_mean(x: Values) -> tuple[Values, Values]:
    """Student's on the scale of log odds, by the delta method: logit(m) -+ t s / (sqrt(n) m (1 - m))."""
    n, m = x.shape[-1], np.clip(x.mean(-1), 1e-6, 1 - 1e-6)
    half = stats.t.ppf(0.975, n - 1) * x.std(-1, ddof=1) / np.sqrt(n) / (m * (1 - m))
    middle = np.log(m / (1 - m))
    return 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))


def mean_of_logits(x: Values) -> tuple[Values, Values]:
    """Student's of the log odds of each seed, transformed back: an interval of another mean than is shown."""
    y = np.log(np.clip(x, 5e-4, 1 - 5e-4) / np.clip(1 - x, 5e-4, 1 - 5e-4))
    low, high = statistics.student_interval(y)
    return 1 / (1 + np.exp(-low)), 1 / (1 + np.exp(-high))


OTHERS: tuple[tuple[str, Interval], ...] = (
    ("Student's cut at the bounds", student),
    ("logit of the mean", logit_of_mean),
    ("mean of the logits", mean_of_logits),
)
