"""What a flip's damage is made of: lost source recall, lost target precision, attack success, collateral, worst class.

Each is the damage of a metric, paired with the clean twin seed by seed (`analysis.metrics`), positive where it harms.
Attacks on many pairs, one each, are pooled: their mean, and the pair that suffers most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import statistics
from flipbench.analysis.columns import Column, by_place, level_values
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import EVERY_PAIR, single_pairs
from flipbench.analysis.pivot import Pivot
from flipbench.report.tables.attacks_csv import fields_of, values_of
from flipbench.report.tables.csv_format import csv_text
from flipbench.spec.metric_names import DAMAGE

PARTS = ("accuracy", "source_recall", "target_precision", "attack_success_rate", "collateral", "worst_recall")
_STATISTICS = ("mean", "low", "high", "n")


def decompose(pivot: Pivot) -> pd.DataFrame:
    """The parts of the damage of every attack.

    Args:
        pivot: of the page.

    Returns:
        One row an aggregator, attack and place: ``aggregator, attack, setting, level``; for each of `PARTS`
        ``_mean, _low, _high, _n`` over seeds; ``worst_pair`` (source, target) with the largest mean loss of source
        recall and ``worst_pair_mean``, None and NaN where the attack is one pair or none;
        ``caveat`` of the accuracy damage (`analysis.squares.Standing`).
    """
    pivot = pivot.pooled
    plain = pivot.page
    numbers: dict[str, Any] = {}
    columns: list[Column] = []
    for part in PARTS:
        values, columns = pivot.by_seed(metric_column(part + DAMAGE), plain.attacks)
        found = statistics.over_seeds(values, statistics.DIFFERENCE)
        numbers |= {f"{part}_{s}": found[s] for s in _STATISTICS}
    worst, at = _worst_pairs(pivot), by_place(pivot.squares(metric_column(PARTS[0] + DAMAGE), plain.attacks))
    there = np.any([numbers[f"{part}_n"] > 0 for part in PARTS], axis=0) if columns else np.empty((0, 0))
    rule, column = np.nonzero(there.T)
    there_columns, names = [columns[c] for c in column], [plain.rows[r] for r in rule]
    pairs = [worst.get(square, (None, np.nan)) for square in zip(names, there_columns, strict=True)]
    objects: dict[str, list[Any]] = {"aggregator": names, "worst_pair": [pair for pair, _ in pairs]}
    squares = [at.get(square, {}) for square in zip(names, there_columns, strict=True)]
    objects["caveat"] = [square.get("caveat") for square in squares]
    objects |= {name: [getattr(c, name) for c in there_columns] for name in ("attack", "setting", "level")}
    return pd.DataFrame(
        {name: pd.Series(values, dtype=object) for name, values in objects.items()}
        | {name: number[column, rule] for name, number in numbers.items()}
        | {"worst_pair_mean": [mean for _, mean in pairs]}
    )


def _worst_pairs(pivot: Pivot) -> dict[tuple[str, Column], tuple[Any, float]]:
    """(aggregator, column) of `EVERY_PAIR` -> the pair that loses most source recall in the mean, and how much."""
    page = pivot.page
    cells = page.cells[page.cells["attack"] == EVERY_PAIR]
    if not len(cells):
        return {}
    lost = pivot.tidy.set_index("key")["source_recall_damage"].reindex(cells["key"]).to_numpy(dtype=float)
    fields = zip(level_values(cells, page.settings), level_values(cells, page.levels), strict=True)
    each: dict[Any, list[float]] = {}
    for rule, (setting, level), pair, value in zip(cells["aggregator"], fields, cells["mapping"], lost, strict=True):
        if value == value:
            each.setdefault((rule, Column(EVERY_PAIR, setting, level), pair[0]), []).append(float(value))
    found: dict[tuple[str, Column], tuple[Any, float]] = {}
    for (rule, column, pair), values in each.items():
        mean = sum(values) / len(values)
        if mean > found.get((rule, column), (None, -np.inf))[1]:
            found[rule, column] = (pair, mean)
    return found


def decomposition_csv(pivots: Sequence[Pivot]) -> str | None:
    """One line an aggregator, attack and place; None where no attack has a map of classes."""
    fields = fields_of(pivots)
    lines: list[list[Any]] = []
    for pivot in pivots:
        page = pivot.page
        if not single_pairs(page) and not page.cells["mapping"].notna().any():
            continue
        for row in decompose(pivot).to_dict("records"):
            place = values_of(page, fields, row["setting"], row["level"], row["aggregator"])
            numbers = [row[f"{p}_{s}"] for p in PARTS for s in _STATISTICS]
            pair = "" if row["worst_pair"] is None else "{}>{}".format(*row["worst_pair"])
            lines.append(
                [row["aggregator"], row["attack"], *place, *numbers, pair, row["worst_pair_mean"], row["caveat"]]
            )
    heads = [f"{metric_column(p).name}_damage_{s}" for p in PARTS for s in _STATISTICS]
    names = ["aggregator", "attack", *fields, *heads, "worst_pair", "worst_pair_source_recall_damage", "caveat"]
    return csv_text(names, lines) if lines else None
