"""Mean ranks of the aggregators over attacks, with their critical difference.

In every seed and under every attack at every place the rules are ranked by a metric; the ranks are averaged within each
seed first. N is the number of seeds: attacks of one seed share its data, clients and weights, and are no independent
rankings. That makes the critical difference wide, and its claims safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flipbench.analysis import rank_tests, statistics
from flipbench.analysis.comparisons import too_few
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.statistics import LEAST_SEEDS

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

    @property
    def silent(self) -> str | None:
        """Why no two rules could be told apart whatever their ranks; None where some could."""
        if self.seeds < LEAST_SEEDS:
            return too_few(self.seeds)
        most = len(self.rules) - 1
        if self.difference < most:
            return None
        return (
            f"mean ranks of {len(self.rules)} rules differ by at most {most}, less than the critical difference "
            f"{self.difference:.2f} of {self.seeds} seeds"
        )


def undrawn(pivots: Sequence[Pivot], shown: MetricColumn) -> list[str]:
    """A sentence where rank diagrams are not drawn since they could tell no rules apart."""
    found = (rank(pivot, shown) for pivot in pivots if len(pivot.page.rows) > 2)
    reasons = dict.fromkeys(f"no rank diagram is drawn: {r.silent}" for r in found if r is not None and r.silent)
    return list(reasons)


def rank(pivot: Pivot, shown: MetricColumn) -> Ranking | None:
    """The ranking of a page under attack; None where fewer than two rules or seeds can be ranked.

    Columns in which some rule has no number (infeasible there, say) are left out; rules that would empty the table, the
    emptiest first.

    Args:
        pivot: of the page.
        shown: a metric that every attack has.
    """
    pivot = pivot.pooled
    page = pivot.page
    values, columns = pivot.by_seed(shown, page.attacks)
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    values = values[attacked]
    if (plan := statistics.seed_plan()) is not None:
        values = values[..., : plan.least]  # the seeds of later looks depend on what the first ones showed
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
