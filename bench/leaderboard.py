"""One line a rule: what it costs without an attack, what it holds under all of them, and how it ranks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench import statistics
from bench.arrangement import Page, by_seed, measure
from bench.blocks import DASH, Block, Entry, half_width, number
from bench.labels import aggregator_label
from bench.page_attacks import pooled
from bench.ranking import costs, rank
from bench.worst import worst

HEADS = ("clean", "robustness cost", "mean under attack", "worst case", "mean rank", "seconds a cell")
SAID = (
    "Clean and costs without an attack; robustness cost: FedAvg's clean accuracy minus the rule's, seed by seed; mean "
    "under attack: over all attacks and places in which the rule has a number; worst case: the least mean of an attack "
    "at a place; mean rank: 1 is best; seconds: of aggregation, the mean of the cells."
)


def leaderboard(page: Page, tidy: pd.DataFrame) -> Block:
    """The rules of a page, best mean under attack first; settings are averaged over.

    Args:
        page: whose cells.
        tidy: of `bench.metrics.evaluate`.
    """
    shown, plain = measure("accuracy"), pooled(page)
    values, columns = by_seed(plain, tidy, shown, plain.attacks)
    clean = [i for i, c in enumerate(columns) if c.clean]
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    found = rank(page, tidy, shown) if attacked else None
    ranks = dict(zip(found.rules, found.ranks, strict=True)) if found else {}
    cost = costs(page, tidy, shown).groupby("aggregator", sort=False).first()
    lowest = worst(page, tidy, shown) if len(page.attacks) > 1 else None
    spent = tidy[tidy["key"].isin(page.cells["key"])].groupby("aggregator")["seconds_aggregation"].mean()
    rows: list[tuple[float, tuple[str, tuple[Entry, ...]]]] = []
    for place, rule in enumerate(page.rows):
        told = [_mean(values[clean, place]), DASH, _mean(values[attacked, place]), DASH, DASH, DASH]
        line: Any = cost.loc[rule] if rule in cost.index else None
        if line is not None and line["n"] > 0:
            told[1] = number(float(line["mean"])) + (f" ± {half_width(dict(line))}" if line["n"] > 1 else "")
        if lowest is not None:
            means = [s["mean"] for s in lowest.to_dict("records") if s["aggregator"] == rule and s["worst"]]
            told[3] = number(min(means)) if means else DASH
        told[4] = f"{ranks[rule]:.2f}" if rule in ranks else DASH
        told[5] = f"{spent[rule]:.2f}" if rule in spent.index and spent[rule] == spent[rule] else DASH
        under = float(told[2].split()[0]) if told[2] != DASH else float("-inf")
        rows.append((under, (aggregator_label(rule), tuple(map(Entry, told)))))
    rows.sort(key=lambda r: -r[0])  # stable: equals stay in the order of the page
    return Block("Rules at a glance: accuracy (%)", ("",), (HEADS,), tuple(line for _, line in rows), ())


def _mean(values: statistics.Values) -> str:
    """Mean over columns of the means over seeds; a dash where no column has a number."""
    means = statistics.moments(values)[0] if values.size else values
    known = means[means == means]
    if not known.size:
        return DASH
    partly = f" ({known.size} of {means.size} columns)" if known.size < means.size else ""
    return number(float(known.mean())) + partly
