"""Rules against each other, seed by seed: every pair in every column of a table, corrected over the whole table.

What a table claims: two rules differ in a column where the paired t test over their common seeds gives p < 0.05 after
Holm's correction over every pair of rules in every column of the table, from six seeds on. (With fewer, even all
differences of one sign are no evidence without the assumption that they are normal: `analysis.rank_tests.least_p`.) All
pairs are counted, so that picking the best after seeing the numbers is paid for.

The seed is the replicate: it draws partition, malicious clients, flips, initial weights and batches. `summarise` gives
means over seeds of any groups of cells, with the same intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from flipbench.analysis import rank_tests, statistics
from flipbench.analysis.columns import coded
from flipbench.analysis.metric_columns import bounds_of
from flipbench.analysis.statistics import LEAST_SEEDS, LEVEL, STATISTICS, Values
from flipbench.errors import UserError
from flipbench.spec.seed_plan import SeedPlan

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Every pair of rules: ``first``, ``second`` are places of rules; the others ``(columns, pairs)``.

    Attributes:
        first, second: ``(pairs,)``.
        differences: ``(columns, pairs, seeds)``, first minus second; NaN where either has no number.
        n: common seeds.
        p: of the paired t test.
        corrected: Holm over all of them.
    """

    first: Places
    second: Places
    differences: Values
    n: Places
    p: Values
    corrected: Values

    @property
    def claimed(self) -> NDArray[np.bool_]:
        """Where the two rules can be told apart."""
        return (self.corrected < LEVEL) & (self.n >= LEAST_SEEDS)


def seed_table(column: ArrayLike, rule: ArrayLike, seed: ArrayLike, value: ArrayLike, shape: tuple[int, int]) -> Values:
    """Numbers as an array ``(columns, rules, seeds)``, NaN where there is none.

    Args:
        column, rule, seed, value: ``(cells,)`` each, the first two as places; of several cells with one seed (twins
            that differ in declared f, fields that are averaged over) the mean counts, of those that have a number.
        shape: how many columns and rules there are.
    """
    numbers = np.asarray(value, dtype=np.float64)
    known = ~np.isnan(numbers)
    seeds, of_seed = np.unique(np.asarray(seed)[known], return_inverse=True)
    places = (np.asarray(column, dtype=np.int64)[known], np.asarray(rule, dtype=np.int64)[known], of_seed)
    whole = (*shape, len(seeds))
    if not len(seeds):
        return np.full(whole, np.nan)
    flat = np.ravel_multi_index(places, whole)
    counts = np.bincount(flat, minlength=math.prod(whole))
    sums = np.bincount(flat, numbers[known], math.prod(whole))
    return statistics.ratio(sums, counts).reshape(whole)


def compare(values: Values) -> Pairs:
    """All pairs of rules of a table.

    Args:
        values: ``(columns, rules, seeds)``.
    """
    first, second = np.triu_indices(values.shape[1], 1)
    differences = values[:, first] - values[:, second]
    p = statistics.paired_t(differences)
    return Pairs(first, second, differences, (~np.isnan(differences)).sum(-1), p, statistics.holm(p))


def tied(values: Values, higher_is_better: bool, rival: NDArray[np.bool_]) -> set[tuple[int, int]]:
    """What cannot be told from the best of its column, as (column, rule), the best itself left out.

    Empty where no claim is possible: fewer than `LEAST_SEEDS` seeds.

    Args:
        values: ``(columns, rules, seeds)``.
        higher_is_better: of the values.
        rival: ``(columns, rules)``; the best is one of these, and so is what cannot be told from it.
    """
    if values.shape[-1] < LEAST_SEEDS or values.shape[1] < 2:
        return set()
    pairs, mean = compare(values), statistics.moments(values)[0]
    apart = np.zeros((*values.shape[:1], values.shape[1], values.shape[1]), dtype=bool)
    apart[:, pairs.first, pairs.second] = apart[:, pairs.second, pairs.first] = pairs.claimed
    enough = np.zeros_like(apart)
    enough[:, pairs.first, pairs.second] = enough[:, pairs.second, pairs.first] = pairs.n >= LEAST_SEEDS
    found = set()
    for column in range(len(values)):
        known = np.flatnonzero(~np.isnan(mean[column]) & rival[column])
        if len(known) > 1:
            best = known[np.argmax(mean[column, known] if higher_is_better else -mean[column, known])]
            found |= {(column, int(r)) for r in known if enough[column, best, r] and not apart[column, best, r]}
    return found


def said(seeds: int) -> str:
    """What a table says of its claims; ``seeds``: how many the grid has."""
    if (plan := statistics.seed_plan()) is not None:
        return _sequential(plan)
    if seeds >= LEAST_SEEDS:
        return (
            "Underlined: cannot be told from the best (paired t test over the same seeds, Holm-corrected over every "
            "pair of rules in every column of the table, 5 %)."
        )
    return f"No difference between rules is claimed: {too_few(seeds)}."


def _sequential(plan: SeedPlan) -> str:
    """What a table of a sequential run says of its seeds, intervals and claims."""
    looks = "each seed" if plan.step == 1 else f"every {plan.step} seeds"
    return (
        f"A sequential run: {plan.least} to {plan.most} seeds, as many as each square's note says. After {looks} a "
        f"rule left its column where another was better in {plan.metric.replace('_', ' ')}, and a column ended where "
        "its best rule was decided against each other one or a decision was unlikely. Underlined: cannot be told from "
        "the best (group-sequential paired t test with Kim-DeMets spending, Holm-corrected over every pair of rules in "
        f"every column of the table, 5 %, from {LEAST_SEEDS} seeds on). Intervals cover with 95 % at all looks "
        "together."
    )


def too_few(seeds: int, tests: int | None = None) -> str:
    """Why so few seeds cannot carry a claim, and how many can."""
    text = (
        f"with {seeds} seed{'s' * (seeds != 1)} the smallest two-sided p of the exact signed-rank test is "
        f"{rank_tests.least_p(seeds):g}; {LEAST_SEEDS} seeds are needed to come below {LEVEL}"
    )
    if tests is not None and tests > 1:
        text += f", {rank_tests.seeds_needed(tests)} to do so after correction for {tests:,} comparisons"
    return text


def tests_of(columns: int, rules: int) -> int:
    """How many comparisons a table makes."""
    return columns * rules * (rules - 1) // 2


def summarise(tidy: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean over seeds of a column, for each group.

    Args:
        tidy: of `analysis.metrics.evaluate`, or a part of it.
        by: columns that make a group. What else varies but the seed is averaged within each seed first, so that n
            is the number of seeds and never the number of cells.
        metric: a column of numbers: a metric, or one with ``_last5``, ``_clean`` or ``_damage``, seconds, ...

    Returns:
        One row a group, in order of appearance: ``by``, then `analysis.statistics.STATISTICS`.

    Raises:
        UserError: a column is not there.
    """
    _need(tidy, [*by, metric, "seed"])
    codes, groups = coded(tidy, by)
    values = seed_table(codes, np.zeros_like(codes), tidy["seed"], tidy[metric], (len(groups), 1))[:, 0]
    numbers = zip(*(array.tolist() for array in statistics.over_seeds(values, bounds_of(metric)).values()), strict=True)
    rows = [(*group, *of_group) for group, of_group in zip(groups, numbers, strict=True)]
    frame = pd.DataFrame(rows, columns=[*by, *STATISTICS])
    for name in by:
        if len(frame) and not frame[name].isna().any():
            frame[name] = frame[name].astype(tidy[name].dtype)
    return frame


def _need(tidy: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in tidy.columns]:
        raise UserError(f"no column {', '.join(map(repr, missing))}: choose among {', '.join(map(str, tidy.columns))}")
