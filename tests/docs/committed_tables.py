"""The committed tables, and what printed numbers are compared with: computed with pandas and scipy alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from tests.helpers.paths import ROOT


def cells(grid: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/reference" / grid / "tables" / "cells.csv", low_memory=False)


def interval(by_seed: pd.Series) -> tuple[float, float]:
    """Mean over seeds and the half width of its 95 % Student interval, in per cent."""
    values = 100 * by_seed.to_numpy(dtype=float)
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(half)


def share_interval(by_seed: pd.Series) -> tuple[float, float]:
    """Mean of shares over seeds and the half width of Wilson's 95 % interval (docs/statistics.md), in per cent."""
    values = by_seed.to_numpy(dtype=float)
    n, m = len(values), values.mean()
    k = stats.t.ppf(0.975, n - 1) ** 2 * values.var(ddof=1) / n / (m * (1 - m))
    low, high = sorted(np.roots([1 + k, -2 * m - k, m * m]).real)  # (m - x)^2 = k x (1 - x)
    return float(100 * m), float(100 * (high - low) / 2)


def agree(printed: list[float], *computed: tuple[float, float]) -> None:
    """Printed with one decimal."""
    exact = [number for pair in computed for number in pair]
    assert len(printed) == len(exact)
    for number, value in zip(printed, exact, strict=True):
        assert abs(number - value) <= 0.05 + 1e-9, (number, value)
