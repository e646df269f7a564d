"""How many cells a sequential run of the shipped grids saves: grids drawn from the moments of their committed tables.

Each column of a grid has the means and the covariance between rules that its committed accuracies have, and is drawn
normal. What is counted is every cell that `flipbench.api.seed_stages` would run: the attacked ones whose rule is still
in the race of its column, and of each rule all clean twins while any of its cells with such twins, or its own clean
column, goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.seeds import race
from flipbench.spec.seed_plan import SeedPlan
from tests.docs.committed_tables import cells

GRIDS = ("label_flip", "attacks", "crossover", "fashion_mnist", "ham10000")
PAGE, FIELDS = ("dataset", "partition"), ("attack", "flip_rate", "malicious_fraction")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Page:
    """One table of accuracies, its clean column last.

    Attributes:
        mean: ``(columns, rules)``; NaN where a rule has no number.
        root: ``(columns, rules, rules)``: of the covariance between rules.
        twins: clean cells of a rule and seed.
    """

    mean: Values
    root: Values
    twins: int


def pages(grid: str) -> list[Page]:
    """The tables of a committed grid."""
    frame = cells(grid)
    frame = frame[frame["accuracy"].notna()]
    rules = list(dict.fromkeys(frame["aggregator"]))
    found = []
    for _, page in frame.groupby(list(PAGE), sort=False):
        clean = page[page["clean"]]
        columns = [one for _, one in page[~page["clean"]].groupby(list(FIELDS), sort=False, dropna=False)]
        values = [_values(one, rules) for one in [*columns, clean]]
        per_rule = clean.groupby(["aggregator", "seed"]).size()
        roots = np.stack([_root(one) for one in values])
        means = np.stack([_mean(one) for one in values])
        found.append(Page(means, roots, round(float(per_rule.mean()))))
    return found


def used(page: Page, plan: SeedPlan, rng: np.random.Generator) -> tuple[int, int]:
    """Cells of one sequential run, and of one with the most seeds."""
    there = ~np.isnan(page.mean)
    noise = np.einsum("crk,ckn->crn", page.root, rng.standard_normal((*page.mean.shape, plan.most)))
    values = np.where(there[:, :, None], page.mean[:, :, None] + noise, np.nan)
    seeds = np.where(there, plan.least, 0)
    for look, following in zip(plan.looks, [*plan.looks[1:], plan.most], strict=True):
        found = race.after_looks(values, plan, look)
        seeds[found.running] = following
        if found.over:
            break
    attacked, clean = seeds[:-1].sum(), (page.twins * seeds.max(0)).sum()
    every = there[:-1].sum() + (page.twins * there.any(0)).sum()
    return int(attacked + clean), int(every * plan.most)


def over_grids(runs: int, plan: SeedPlan, rng: np.random.Generator) -> tuple[float, dict[str, float]]:
    """The share of cells that sequential runs save against the most seeds for all: of all grids, and of each."""
    counts = {}
    for grid in GRIDS:
        tables = pages(grid)
        counts[grid] = np.sum([used(page, plan, rng) for page in tables for _ in range(runs)], axis=0)
    both = np.sum(list(counts.values()), axis=0)
    return float(1 - both[0] / both[1]), {grid: float(1 - own[0] / own[1]) for grid, own in counts.items()}


def _values(rows: pd.DataFrame, rules: list[str]) -> Values:
    table = rows.pivot_table(index="aggregator", columns="seed", values="accuracy", aggfunc="mean").reindex(rules)
    return np.asarray(table.to_numpy(dtype=np.float64))


def _mean(values: Values) -> Values:
    known = ~np.isnan(values)
    return np.where(known.any(1), np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)


def _root(values: Values) -> Values:
    there = ~np.isnan(values).any(1)
    covariance = np.zeros((len(values), len(values)))
    if there.sum() > 1 and values.shape[1] > 1:
        covariance[np.ix_(there, there)] = np.cov(values[there])
    weights, axes = np.linalg.eigh(covariance)
    return np.asarray(axes * np.sqrt(np.maximum(weights, 0.0)))
