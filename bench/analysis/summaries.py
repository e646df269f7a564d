"""Means over seeds of columns of the tidy frame, one row a group, with the interval of Student's t.

The seed is the replicate: it draws partition, malicious clients, flips, initial weights and batches. Damage is paired
(the same seed with and without the attack), so that its interval is that of the differences, not of two separate means
(the paired t test, Student 1908).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flipbench.analysis.columns import coded
from flipbench.analysis.comparisons import seed_table
from flipbench.analysis.statistics import STATISTICS, over_seeds
from flipbench.errors import UserError


def summarise(tidy: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean over seeds of a column, for each group.

    Args:
        tidy: of `analysis.metrics.evaluate`, or a part of it.
        by: columns that make a group. What else varies but the seed is averaged within each seed first, so that n
            is the number of seeds and never the number of cells.
        metric: a column of numbers: a metric, or one with ``_last5``, ``_clean`` or ``_damage``, seconds, ...

    Returns:
        One row a group, in order of appearance: ``by``, then `analysis.statistics.STATISTICS`.

    Raises:
        UserError: a column is not there.
    """
    _need(tidy, [*by, metric, "seed"])
    codes, groups = coded(tidy, by)
    values = seed_table(codes, np.zeros_like(codes), tidy["seed"], tidy[metric], (len(groups), 1))[:, 0]
    numbers = zip(*(array.tolist() for array in over_seeds(values).values()), strict=True)
    rows = [(*group, *of_group) for group, of_group in zip(groups, numbers, strict=True)]
    frame = pd.DataFrame(rows, columns=[*by, *STATISTICS])
    for name in by:
        if len(frame) and not frame[name].isna().any():
            frame[name] = frame[name].astype(tidy[name].dtype)
    return frame


def _need(tidy: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in tidy.columns]:
        raise UserError(f"no column {', '.join(map(repr, missing))}: choose among {', '.join(map(str, tidy.columns))}")
