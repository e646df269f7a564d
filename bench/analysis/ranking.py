"""Rules ranked: mean ranks over attacks with their critical difference, and what each rule costs without an attack.

In every seed and under every attack at every place the rules are ranked by a metric; the ranks are averaged within each
seed first. N is the number of seeds: attacks of one seed share its data, clients and weights, and are no independent
rankings. That makes the critical difference wide, and its claims safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import rank_tests, statistics
from flipbench.analysis.attack_selection import pooled
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import by_seed

_LEAST = 2  # rules and seeds that a ranking needs


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of rules, 1 the best.

    Attributes:
        rules: that have a number under every attack which is counted; in the order of the page.
        ranks: their mean ranks.
        difference: the critical difference at 5 %.
        seeds: N.
        columns: attacks x places that are ranked.
        asked: attacks x places in which any of the rules has a number.
        unranked: the rules for whose lack of numbers columns are left out.
        left_out: rules that have no number in any of them, or too few.
    """

    rules: tuple[str, ...]
    ranks: tuple[float, ...]
    difference: float
    seeds: int
    columns: int
    asked: int
    unranked: tuple[str, ...]
    left_out: tuple[str, ...]


def rank(page: Page, tidy: pd.DataFrame, shown: MetricColumn) -> Ranking | None:
    """The ranking of a page under attack; None where fewer than two rules or seeds can be ranked.

    Columns in which some rule has no number (infeasible there, say) are left out; rules that would empty the table, the
    emptiest first.

    Args:
        page: whose cells.
        tidy: of `analysis.metrics.evaluate`.
        shown: a measure that every attack has.
    """
    page = pooled(page)
    values, columns = by_seed(page, tidy, shown, page.attacks)
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    values = values[attacked]
    rules = list(range(values.shape[1]))
    while len(rules) >= _LEAST:
        complete: Any = ~np.isnan(values[:, rules]).any(axis=1)  # (columns, seeds)
        seeds = np.flatnonzero(complete.any(0))
        if len(seeds) >= _LEAST:
            break
        known = (~np.isnan(values[:, rules])).sum((0, 2))
        rules.pop(int(np.argmin(known)))
    else:
        return None
    each = rank_tests.ranks(np.moveaxis(values[:, rules], 1, -1), shown.higher_is_better)  # (columns, seeds, rules)
    of_seed = [each[complete[:, s], s].mean(0) for s in seeds]
    mean = np.mean(of_seed, axis=0)
    dropped = (~np.isnan(values[:, rules])).any((1, 2)) & ~complete.any(1)
    lacking = np.isnan(values[dropped][:, rules]).all(-1).any(0)  # of a whole column
    return Ranking(
        tuple(page.rows[r] for r in rules),
        tuple(float(m) for m in mean),
        rank_tests.critical_difference(len(rules), len(seeds)),
        len(seeds),
        int(complete.any(1).sum()),
        int(complete.any(1).sum() + dropped.sum()),
        tuple(page.rows[r] for r, lacks in zip(rules, lacking, strict=True) if lacks),
        tuple(row for r, row in enumerate(page.rows) if r not in rules),
    )


def costs(page: Page, tidy: pd.DataFrame, shown: MetricColumn, yardstick: str = "fedavg") -> pd.DataFrame:
    """Robustness cost: the yardstick's clean metric minus the rule's, seed by seed; positive is a price.

    Args:
        page: whose cells.
        tidy: of `analysis.metrics.evaluate`.
        shown: a measure with a clean value of its own.
        yardstick: the rule that the others are held against.

    Returns:
        One row a rule and clean column: ``aggregator, setting, mean, low, high, n`` of the difference; empty where the
        yardstick is not on the page.
    """
    values, columns = by_seed(page, tidy, shown, page.attacks)
    names = ["aggregator", "setting", "mean", "low", "high", "n"]
    if yardstick not in page.rows or shown.clean is None:
        return pd.DataFrame(columns=names)
    sign = 1.0 if shown.higher_is_better else -1.0
    rows = []
    for i, column in enumerate(columns):
        if column.clean:
            lost = sign * (values[i, page.rows.index(yardstick)] - values[i])
            mean, _, n = statistics.moments(lost)
            low, high = statistics.student_interval(lost)
            told = zip(page.rows, mean, low, high, n, strict=True)
            rows += [(r, column.setting, float(m), float(a), float(b), int(k)) for r, m, a, b, k in told]
    return pd.DataFrame(rows, columns=names)
