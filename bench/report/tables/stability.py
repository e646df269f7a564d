"""Whether the numbers of a grid are steady at the end of training: a table a page, and a line a square as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.rounds import stability
from flipbench.analysis.rounds.late_rounds import LATE, ROUNDS_LATE, STABILITY
from flipbench.report.tables.attacks_csv import fields_of, values_of
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.model import DASH, Block, Entry, number
from flipbench.spec.labels import aggregator_label
from flipbench.spec.metric_names import DAMAGE, HEADLINES, POINTS

METRICS = tuple(name for name in HEADLINES if not name.endswith(DAMAGE))
SAID = (
    "Cells by what their accuracy does in the last fifth of the rounds (of those evaluated, at least the last three of "
    "the second half). Oscillates: it falls and rises by more than 10 points (by more than 2.5/√n where that is more, "
    "n test images); collapses, rises: one of the two; steady: neither. Changes, unknown: one of the two, or neither, "
    "where fewer than three rounds one after the other were evaluated, which would show a cycle (evaluate_last sets "
    "how many). Spread: the most less the least accuracy of a cell there."
)
_COUNTED = ("cells", *stability.CLASSES)
_COLUMNS = (*_COUNTED, "late_mean", "late_least", "late_most", "late_spread", "largest_spread", "rounds")


def stability_block(pivot: Pivot) -> Block | None:
    """How many cells of each rule are steady, and how far their accuracy moves; None without a finished cell."""
    tidy = pivot.tidy[pivot.tidy["key"].isin(pivot.page.cells["key"])]
    rows = []
    for rule in pivot.page.rows:
        own = tidy[tidy["aggregator"] == rule]
        if not len(own):
            rows.append((aggregator_label(rule), tuple(Entry(DASH) for _ in (*_COUNTED, "mean", "largest"))))
            continue
        counts = stability.counted(own["accuracy" + STABILITY])
        spread = own["accuracy" + LATE[-1]]
        texts = [str(len(own)), *map(str, counts.values()), number(float(spread.mean())), number(float(spread.max()))]
        rows.append((aggregator_label(rule), tuple(map(Entry, texts))))
    if not len(tidy):
        return None
    heads = (*_COUNTED, f"mean spread ({POINTS})", f"largest spread ({POINTS})")
    return Block("Stability of accuracy at the end of training", ("",), (heads,), tuple(rows), ())


def sentence(pivots: Sequence[Pivot]) -> str | None:
    """How many cells of the grid are steady; None without a finished cell."""
    tidy = pivots[0].tidy if pivots else None
    return None if tidy is None else stability.sentence(tidy["accuracy" + STABILITY])


def stability_csv(pivots: Sequence[Pivot]) -> str:
    """One line a metric, rule and column: how many of its cells are of each class, and how they move.

    ``late_mean`` and ``late_spread`` are means over the cells, ``late_least`` and ``late_most`` their extremes,
    shares from 0 to 1; ``rounds``: the late ones, where all cells have the same.
    """
    fields = fields_of(pivots)
    lines = [line for pivot in pivots for name in METRICS for line in _lines(pivot, name, fields)]
    return csv_text(["metric", "aggregator", "attack", *fields, *_COLUMNS], lines)


def _lines(pivot: Pivot, name: str, fields: list[str]) -> Iterator[list[Any]]:
    placed, page, shown = pivot.placement, pivot.page, metric_column(name)
    there = (placed.row >= 0) & ~np.array([bool(c.of) for c in placed.columns], dtype=bool)[placed.cells.column]
    own = pivot.tidy.iloc[placed.row[there]]
    cells = pd.DataFrame({"column": placed.cells.column[there], "rule": placed.cells.row[there]})
    for part in (*LATE, STABILITY):
        cells[part] = own[shown.name + part].to_numpy()
    cells[ROUNDS_LATE] = own[ROUNDS_LATE].to_numpy(dtype=object)
    cells = cells[cells[STABILITY].notna()].sort_values(["column", "rule"], kind="stable")
    mean, least, most, spread = LATE
    for column, rule in dict.fromkeys(zip(cells["column"].tolist(), cells["rule"].tolist(), strict=True)):
        some = cells[(cells["column"] == column) & (cells["rule"] == rule)]
        about, row = placed.columns[column], page.rows[rule]
        counts = stability.counted(some[STABILITY])
        rounds = set(some[ROUNDS_LATE])
        yield [
            *(name, row, about.attack, *values_of(page, fields, about.setting, about.level, row)),
            *(len(some), *counts.values()),
            *(float(some[mean].mean()), float(some[least].min()), float(some[most].max())),
            *(float(some[spread].mean()), float(some[spread].max())),
            " ".join(map(str, next(iter(rounds)))) if len(rounds) == 1 else "",
        ]
