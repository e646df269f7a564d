"""Means over seeds of columns of the tidy frame, one row a group, with the interval of Student's t.

The seed is the replicate: it draws partition, malicious clients, flips, initial weights and batches. Damage is paired
(the same seed with and without the attack), so that its interval is that of the differences, not of two separate means.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit  # quantile of t; scipy.stats takes twice as long to import

from flipbench.analysis.metrics import METRICS
from flipbench.analysis.statistics import LEVEL
from flipbench.errors import UserError
from flipbench.spec.metric_names import DAMAGE

STATISTICS = ("mean", "sd", "n", "low", "high")


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, int, float, float]:
    """Mean, standard deviation, n, and the 95 % interval of the mean.

    mean +- t(0.975, n - 1) sd / sqrt(n), sd with n - 1 (Student 1908, Biometrika 6:1-25; exact for normal values).
    NaN values are left out of n; sd and interval are NaN for n < 2, the mean for n = 0.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n < 2:
        return (float(known[0]) if n else np.nan), np.nan, n, np.nan, np.nan
    mean, sd = float(known.mean()), float(known.std(ddof=1))
    half = _quantile(n - 1) * sd / n**0.5
    return mean, sd, n, mean - half, mean + half


@lru_cache(maxsize=1024)
def _quantile(degrees: int) -> float:
    return float(stdtrit(degrees, 1 - LEVEL / 2))


def summarise(tidy: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean over seeds of a column, for each group.

    Args:
        tidy: of `analysis.metrics.evaluate`, or a part of it.
        by: columns that make a group. What else varies but the seed is averaged within each seed first, so that n
            is the number of seeds and never the number of cells.
        metric: a column of numbers: a metric, or one with ``_last5``, ``_clean`` or ``_damage``, seconds, ...

    Returns:
        One row a group, in order of appearance: ``by``, then mean, sd, n, low, high (`interval`).

    Raises:
        UserError: a column is not there.
    """
    _need(tidy, [*by, metric, "seed"])
    across = [name for name in by if name != "seed"]
    groups: dict[tuple[Any, ...], dict[int, list[float]]] = {}
    columns = [_plain(tidy[name]) for name in by]
    for seed, value, *group in zip(tidy["seed"], tidy[metric].astype(np.float64), *columns, strict=True):
        of_seed = groups.setdefault(tuple(group), {})
        of_seed.setdefault(seed, []).append(value)
    rows = [(*group, *interval([_known_mean(v) for v in seeds.values()])) for group, seeds in groups.items()]
    frame = pd.DataFrame(rows, columns=[*by, *STATISTICS])
    for name in across:
        if name in tidy and len(frame) and not frame[name].isna().any():
            frame[name] = frame[name].astype(tidy[name].dtype)
    return frame


def damage(tidy: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """What the attack cost, paired with the clean twin of the same seed; positive is harm.

    d_k = clean_k - attacked_k (attack success rate: attacked_k - clean_k) for each seed k; mean, sd and interval are
    those of the d_k, as in the paired t test (Student 1908). Clean cells and cells without a finished twin are left
    out.

    Args:
        tidy: of `analysis.metrics.evaluate`.
        by: columns that make a group.
        metric: a name in `analysis.metrics.METRICS`.
    """
    if metric not in METRICS:
        raise UserError(f"{metric!r} is no metric: choose one of {', '.join(METRICS)}")
    _need(tidy, ["clean"])
    return summarise(tidy[~tidy["clean"].astype(bool)], by, metric + DAMAGE)


def _known_mean(values: Sequence[float]) -> float:
    if len(values) == 1:
        return float(values[0])
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else np.nan


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Values that can name a group: None for NaN, which equals nothing."""
    return [None if v != v else v for v in column.tolist()]


def _need(tidy: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in tidy.columns]:
        raise UserError(f"no column {', '.join(map(repr, missing))}: choose among {', '.join(map(str, tidy.columns))}")
