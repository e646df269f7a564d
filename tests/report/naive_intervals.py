"""Intervals once more, in plain Python: what tables must show."""

from __future__ import annotations

from collections.abc import Iterable

from scipy import stats


def of_shares(values: Iterable[float]) -> tuple[float, float]:
    """Both ends of the score interval of a mean of shares, as roots of (m - x)^2 = c x (1 - x)."""
    own = list(map(float, values))
    n, m = len(own), sum(own) / len(own)
    t = float(stats.t.ppf(0.975, n - 1))
    c = t * t * sum((v - m) ** 2 for v in own) / (n - 1) / n / (m * (1 - m))
    # (1 + c) x^2 - (2 m + c) x + m^2 = 0
    root = ((2 * m + c) ** 2 - 4 * (1 + c) * m * m) ** 0.5
    return (2 * m + c - root) / (2 + 2 * c), (2 * m + c + root) / (2 + 2 * c)
