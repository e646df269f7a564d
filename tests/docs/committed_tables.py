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


def agree(printed: list[float], *computed: tuple[float, float]) -> None:
    """Printed with one decimal."""
    exact = [number for pair in computed for number in pair]
    assert len(printed) == len(exact)
    for number, value in zip(printed, exact, strict=True):
        assert abs(number - value) <= 0.05 + 1e-9, (number, value)
