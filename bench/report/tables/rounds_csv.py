"""Every evaluated round of every finished cell as a line: the metrics over training, for plots of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis.frame import typed
from flipbench.analysis.metrics import METRICS, backdoor_success_rate, malicious_influence
from flipbench.report.tables.cells_csv import plain_column
from flipbench.report.tables.csv_format import csv_parts

# Enough to tell the cells of a grid apart in the usual cases; `key` leads to every other field in cells.csv.
_OF_CELL = (
    *("key", "twin", "clean", "dataset", "partition", "aggregator", "attack"),
    *("malicious_fraction", "flip_rate", "declared_byzantine", "seed"),
)
_OF_ROUND = ("malicious_influence", "no_prediction", "clamped", "nonfinite_updates")
COLUMNS = (*_OF_CELL, "round", *METRICS, *_OF_ROUND)


def rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row an evaluated round of a finished cell, in the order of the cells; shares from 0 to 1.

    Args:
        frame: of `analysis.frame.load`.

    Returns:
        The columns `COLUMNS` (docs/data_dictionary.md). Rounds that were not evaluated have no row.
    """
    done = frame[frame["status"] == "done"]
    fields = {name: typed(done[name]) for name in _OF_CELL}
    counts = np.array([len(r) for r in done["rounds_evaluated"]], dtype=np.int64)
    table = pd.DataFrame(fields).loc[done.index.repeat(counts)].reset_index(drop=True)
    each = [_of_cell(cell) for cell in done.to_dict("records")]
    for name in COLUMNS[len(_OF_CELL) :]:
        table[name] = np.concatenate([columns[name] for columns in each]) if each else np.empty(0)
    return table


def rounds_csv(frame: pd.DataFrame) -> Iterator[str]:
    """`rounds` as CSV, some thousand lines at a time."""
    table = rounds(frame)
    return csv_parts({str(name): plain_column(str(name), table[name]) for name in table.columns})


def _of_cell(cell: dict[Any, Any]) -> dict[str, Any]:
    """The columns of one cell, each ``(rounds,)``."""
    numbers, confusion = cell["rounds_evaluated"], cell["confusion"]
    columns: dict[str, Any] = {"round": numbers}
    columns |= {name: metric.function(confusion, cell["mapping"]) for name, metric in METRICS.items()}
    if cell["stamped"] is not None and cell["target"] is not None:
        columns["attack_success_rate"] = backdoor_success_rate(cell["stamped"], int(cell["target"]))
    ids = np.array(cell["malicious"], dtype=np.int64)
    columns["malicious_influence"] = malicious_influence(cell["influence"], cell["participants"], ids)
    classes = confusion.shape[-2]
    columns["no_prediction"] = confusion[..., classes:].sum((-2, -1))
    columns["clamped"] = np.isin(numbers, np.array(cell["clamped"] or (), dtype=np.int64))
    columns["nonfinite_updates"] = np.array([cell["nonfinite"].get(n, 0) for n in numbers.tolist()], dtype=np.int64)
    return columns
