"""What a flip's damage is made of: lost source recall, lost target precision, attack success, collateral, worst class.

Each is the damage of a metric, paired with the clean twin seed by seed (`bench.metrics`), positive where it harms.
Attacks on many pairs, one each, are pooled: their mean, and the pair that suffers most.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from bench import statistics
from bench.arrangement import Page, measure, pages
from bench.attack_csv import facts_of, told_of
from bench.cell import CLEAN
from bench.page_attacks import EVERY_PAIR, pooled, single_pairs
from bench.tables import csv_text

PARTS = ("accuracy", "source_recall", "target_precision", "attack_success_rate", "collateral", "worst_recall")
_STATISTICS = ("mean", "low", "high", "n")


def decompose(page: Page, tidy: pd.DataFrame) -> pd.DataFrame:
    """The parts of the damage of every attack.

    Args:
        page: whose cells.
        tidy: of `bench.metrics.evaluate`.

    Returns:
        One row an aggregator, attack and place: ``aggregator, attack, setting, level``; for each of `PARTS`
        ``_mean, _low, _high, _n`` over seeds; ``worst_pair`` (source, target) with the largest mean loss of source
        recall and ``worst_pair_mean``, None and NaN where the attack is one pair or none.
    """
    plain = pooled(page)
    names = [f"{part}_damage" for part in PARTS]
    cells = plain.cells.merge(tidy[["key", *names]], on="key", how="inner", validate="1:1")
    cells = cells[cells["attack"] != CLEAN]
    rows: list[dict[str, Any]] = []
    settings = [cells[f] for f in (*plain.settings, *plain.levels)]
    place = pd.Series(list(zip(*settings, strict=True)) if settings else [()] * len(cells), cells.index, dtype=object)
    cells = cells.assign(place=place)
    for which, mine in cells.groupby(["aggregator", "attack", "place"], sort=False):
        rule, attack, where = cast(tuple[str, str, tuple[Any, ...]], which)
        cut = len(plain.settings)
        row: dict[str, Any] = {"aggregator": rule, "attack": attack, "setting": where[:cut], "level": where[cut:]}
        for part, name in zip(PARTS, names, strict=True):
            each = mine.groupby("seed")[name].mean().to_numpy(dtype=float)
            low, high = statistics.student_interval(each)
            mean, _, n = statistics.moments(each)
            numbers = (float(mean), float(low), float(high), int(n))
            row |= dict(zip((f"{part}_{s}" for s in _STATISTICS), numbers, strict=True))
        rows.append({**row, **_worst_pair(mine, str(attack))})
    columns = ["aggregator", "attack", "setting", "level", *(f"{p}_{s}" for p in PARTS for s in _STATISTICS)]
    return pd.DataFrame(rows, columns=[*columns, "worst_pair", "worst_pair_mean"])


def _worst_pair(cells: pd.DataFrame, attack: str) -> dict[str, Any]:
    if attack != EVERY_PAIR:
        return {"worst_pair": None, "worst_pair_mean": np.nan}
    means: dict[Any, float] = cells.groupby("mapping")["source_recall_damage"].mean().dropna().to_dict()
    if not means:
        return {"worst_pair": None, "worst_pair_mean": np.nan}
    worst = max(means, key=means.__getitem__)
    return {"worst_pair": worst[0], "worst_pair_mean": means[worst]}


def decomposition_csv(frame: pd.DataFrame, tidy: pd.DataFrame) -> str | None:
    """One line an aggregator, attack and place; None where no attack has a map of classes."""
    facts = facts_of(frame)
    lines: list[list[Any]] = []
    for page in pages(frame):
        if not single_pairs(page) and not page.cells["mapping"].notna().any():
            continue
        for row in decompose(page, tidy).to_dict("records"):
            told = told_of(page, facts, row["setting"], row["level"])
            numbers = [row[f"{p}_{s}"] for p in PARTS for s in _STATISTICS]
            pair = "" if row["worst_pair"] is None else "{}>{}".format(*row["worst_pair"])
            lines.append([row["aggregator"], row["attack"], *told, *numbers, pair, row["worst_pair_mean"]])
    heads = [f"{measure(p).name}_damage_{s}" for p in PARTS for s in _STATISTICS]
    names = ["aggregator", "attack", *facts, *heads, "worst_pair", "worst_pair_source_recall_damage"]
    return csv_text(names, lines) if lines else None
