"""One line a rule, ranked: what it holds under the worst attack and on average, what it costs, how long it takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench import statistics
from bench.arrangement import by_seed, measure
from bench.blocks import DASH, Block, Entry, half_width, number
from bench.explorer import WORST_OF, Placed, numbers
from bench.labels import aggregator_label, fact_label, value_label
from bench.page_attacks import attack_name, pooled
from bench.ranking import costs, rank

HEADS = (
    *("worst case", "mean under attack", "clean", "robustness cost", "mean rank", "ms a round"),
    "worst attack",
)
SAID = (
    "Ranked by the worst case: the least mean over seeds of any attack at any place of the grid, and that attack. Mean "
    "under attack: over all attacks and places in which the rule has a number. Clean: without an attack. Robustness "
    "cost: FedAvg's clean accuracy minus the rule's, seed by seed, ± half width of its 95 % interval. Mean rank: 1 is "
    "best. ms a round: of aggregation, the mean of the cells. A rule that is infeasible somewhere is judged by "
    "what is left, and says so."
)


def leaderboard(placed: Placed) -> Block:
    """The rules of a page, best worst case first; settings are averaged over.

    Args:
        placed: the cells of the page in their squares.
    """
    page, tidy, shown = placed.page, placed.tidy, measure("accuracy")
    plain = pooled(page)
    values, columns = by_seed(plain, tidy, shown, plain.attacks)
    clean = [i for i, c in enumerate(columns) if c.clean]
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    found = rank(page, tidy, shown) if attacked else None
    ranks = dict(zip(found.rules, found.ranks, strict=True)) if found else {}
    cost = costs(page, tidy, shown).groupby("aggregator", sort=False).first()
    lowest = _worst(placed)
    spent = _milliseconds(placed)
    rows: list[tuple[float, float, tuple[str, tuple[Entry, ...]]]] = []
    for at, rule in enumerate(page.rows):
        under, told = _mean(values[attacked, at])
        line: Any = cost.loc[rule] if rule in cost.index else None
        lost = DASH
        if line is not None and line["n"] > 0:
            lost = number(float(line["mean"])) + (f" ± {half_width(dict(line))}" if line["n"] > 1 else "")
        least, attack = lowest.get(rule, (under, DASH))
        texts = [
            *(number(least) if least == least else DASH, told, _mean(values[clean, at])[1], lost),
            *(f"{ranks[rule]:.2f}" if rule in ranks else DASH, f"{spent[rule]:.2f}" if rule in spent else DASH, attack),
        ]
        rows.append((least, under, (aggregator_label(rule), tuple(map(Entry, texts)))))
    rows.sort(key=lambda r: tuple(math.inf if v != v else -v for v in r[:2]))  # stable: equals in the page's order
    return Block("Rules ranked: accuracy (%)", ("",), (HEADS,), tuple(line for *_, line in rows), (), text=1)


def _worst(placed: Placed) -> dict[str, tuple[float, str]]:
    """Each rule's least mean under an attack, and the attack with its place."""
    page = placed.page
    one = numbers(placed, measure("accuracy"))
    columns = [i for i, c in enumerate(placed.columns) if c.kind == WORST_OF]
    found = {}
    for rule, name in enumerate(page.rows):
        known = [i for i in columns if one.chosen[i, rule] >= 0]
        if known:
            at = min(known, key=lambda i: float(one.mean[i, rule]))
            column = placed.columns[int(one.chosen[at, rule])]
            facts = zip((*page.settings, *page.levels), (*column.setting, *column.level), strict=True)
            told = ", ".join(
                [attack_name(page, column.attack), *(f"{fact_label(f)} {value_label(f, v)}" for f, v in facts)]
            )
            partly = f" ({len(known)} of {len(columns)} places)" if len(known) < len(columns) else ""
            found[name] = (float(one.mean[at, rule]), told + partly)
    return found


def _milliseconds(placed: Placed) -> dict[str, float]:
    """Time of aggregation a round, the mean of each rule's finished cells."""
    tidy = placed.tidy[placed.tidy["key"].isin(placed.page.cells["key"])]
    each = 1000 * tidy["seconds_aggregation"] / tidy["rounds"]
    return {str(r): float(v) for r, v in each.groupby(tidy["aggregator"]).mean().items() if v == v}


def _mean(values: statistics.Values) -> tuple[float, str]:
    """Mean over columns of the means over seeds, and as text; a dash where no column has a number."""
    means = statistics.moments(values)[0] if values.size else values
    known = means[~np.isnan(means)]
    if not known.size:
        return math.nan, DASH
    partly = f" ({known.size} of {means.size} columns)" if known.size < means.size else ""
    return float(known.mean()), number(float(known.mean())) + partly
