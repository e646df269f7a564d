"""Every finished cell as a line of CSV; shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from flipbench.analysis.rounds.late_rounds import HIDDEN
from flipbench.report.tables.csv_format import csv_parts
from flipbench.spec.distinct_texts import printable
from flipbench.spec.labels import dataset_text

_UNSHOWN = ("classes", "traceback")


def cells_csv(tidy: pd.DataFrame) -> str:
    """One line a finished cell: key, split, every field, every metric, flips, influence, seconds; shares from 0 to 1.

    Args:
        tidy: of `analysis.metrics.evaluate`.
    """
    return "".join(cells_parts(tidy))


def cells_parts(tidy: pd.DataFrame) -> Iterator[str]:
    """`cells_csv` some thousand lines at a time: of a large grid it has a hundred megabytes."""
    names = [c for c in tidy.columns if c not in _UNSHOWN and not c.startswith(HIDDEN)]
    return csv_parts({name: plain_column(name, tidy[name]) for name in names})


def plain_column(name: str, column: pd.Series[Any]) -> Any:
    """A column of the tidy frame as it is written: each name looked at once, numbers as they are."""
    if column.dtype.kind in "biuf":
        return column
    show: Callable[[Any], Any] = lambda value: printable(value, 2000) if isinstance(value, str) else value  # noqa: E731
    if name in {"dataset", "task"}:
        show = lambda value: dataset_text(str(value))  # noqa: E731
    if name == "mapping":
        show = lambda value: "" if value is None else " ".join(f"{s}>{t}" for s, t in value)  # noqa: E731
    if name.endswith("_rounds"):
        show = lambda value: " ".join(map(str, value))  # noqa: E731
    values = column.tolist()
    if set(map(type, values)) <= {str, tuple, type(None)}:
        shown = {v: show(v) for v in set(values)}
        return list(map(shown.__getitem__, values))
    known: dict[tuple[type, Any], Any] = {}  # by type too: 1 and 1.0 are written apart
    return [known[k] if (k := (type(v), v)) in known else known.setdefault(k, show(v)) for v in values]
