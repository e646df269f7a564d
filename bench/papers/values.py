"""Ours beside a published number: the same quantity, from the stored confusion counts of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import metrics
from flipbench.analysis.metrics import METRICS
from flipbench.papers.model import UNITS, Metric, Number, Window

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Ours:
    """What became of the cells of one number.

    Attributes:
        values: seed -> value in the table's unit, of the seeds that are done.
        planned: seeds that were to be run.
        reason: why the others have no value, in the words of the first of them; None: they are just not run yet.
        refused: whether ``reason`` is a result (the rule's conditions do not hold) or a fault that would come again.
    """

    values: Mapping[int, float]
    planned: int
    reason: str | None = None
    refused: bool = False


def ours(number: Number, keys: Mapping[Any, str], rows: pd.DataFrame, unit: str) -> Ours:
    """The number's own value for each seed.

    Args:
        number: with its cells.
        keys: cell -> its key in the store.
        rows: of `analysis.frame.load`, indexed by key.
        unit: of the table.
    """
    values: dict[int, float] = {}
    reason, refused = None, False
    for cell in number.cells:
        row = rows.loc[keys[cell]] if keys[cell] in rows.index else None
        if row is not None and row["status"] == "done":
            values[cell.seed] = UNITS[unit] * value(number.metric, number.window, row)
        elif row is not None and row["status"] in ("infeasible", "failed") and reason is None:
            reason, refused = f"{row['status']}: {row['reason']}", True
    return Ours(values, len(number.cells), reason, refused)


def value(metric: Metric, window: Window, row: Any) -> float:
    """A metric of one finished cell over a window of its rounds, as a share; NaN where it is not defined."""
    needed = window.needed(int(row["rounds"]))
    places = [i for i, r in enumerate(row["rounds_evaluated"]) if r in needed]
    each = of_counts(metric, np.asarray(row["confusion"])[places], row["mapping"])
    known = each[~np.isnan(each)] if window.of_all else each
    over: Mapping[str, Any] = {"median": np.median, "max": np.max, "min": np.min}
    return float(over.get(window.take, np.mean)(known)) if len(known) else float("nan")


def of_counts(metric: Metric, counts: metrics.Counts, mapping: metrics.Mapping = None) -> Values:
    """The metric of confusion counts ``(..., L, L)``, rows true, columns predicted; ``(...)`` float64."""
    o = metric.options
    if metric.name == "error":
        return np.asarray(1.0 - metrics.accuracy(counts))
    if metric.name == "recall":
        return np.asarray(metrics.recall(counts)[..., o["of"]])
    if metric.name == "accuracy_but":
        return metrics.collateral(counts, [(o["of"], o["of"])])
    if metric.name == "taken_for":
        return metrics.attack_success_rate(counts, [(o["source"], o["target"])])
    return METRICS[metric.name].function(counts, mapping)
