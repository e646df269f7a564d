"""Every pair of rules, and every square's other statistics, as CSV, for further work; shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench import statistics
from bench.arrangement import Column, Measure, Page, by_seed, measure, pages
from bench.attack_csv import facts_of, told_of
from bench.comparisons import compare
from bench.metrics import LAST
from bench.page_attacks import pooled, showable
from bench.statistics import LEAST_SEEDS
from bench.tables import csv_text

MEASURES = ("accuracy", "accuracy_damage", "source_recall", "attack_success_rate")
_PAIR = (
    *("n", "difference", "sd", "low", "high", "p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm"),
    *("cohens_dz", "rank_biserial", "probability_of_improvement", "comparisons", "claim"),
)
_SQUARE = (
    *("n", "mean", "sd", "student_low", "student_high", "bca_low", "bca_high", "interquartile_mean"),
    *("least", "most", "mean_of_last_rounds"),
)


def comparisons_csv(frame: pd.DataFrame, tidy: pd.DataFrame) -> str | None:
    """One line a measure, column and pair of rules; None with a single rule.

    ``difference`` is first minus second, over their common seeds; ``low`` and ``high`` its 95 % Student interval, by
    itself; ``_holm``: corrected over the ``comparisons`` of the measure's table; ``claim``: first or second, whichever
    is better, "none" where they cannot be told apart, "too few seeds" with fewer than six.
    """
    facts = facts_of(frame)
    lines: list[list[Any]] = []
    for page, shown, attacks in _tables(frame):
        values, columns = by_seed(page, tidy, shown, attacks)
        if not values.size:
            continue
        pairs = compare(values)
        wilcoxon = statistics.wilcoxon(pairs.differences)
        mean, sd, n = statistics.moments(pairs.differences)
        low, high = statistics.student_interval(pairs.differences)
        sign = 1.0 if shown.higher_is_better else -1.0
        numbers = [
            *(n, mean, sd, low, high, pairs.p, pairs.corrected, wilcoxon, statistics.holm(wilcoxon)),
            *(statistics.cohens_dz(pairs.differences), statistics.rank_biserial(pairs.differences)),
            statistics.probability_of_improvement(sign * pairs.differences),
        ]
        tests = int((~np.isnan(pairs.p)).sum())
        for i, column in enumerate(columns):
            about = [column.attack, *_facts(page, facts, column)]
            for j, (first, second) in enumerate(zip(pairs.first, pairs.second, strict=True)):
                if n[i, j]:
                    own = [number[i, j].item() for number in numbers]
                    verdict = _verdict(pairs.claimed[i, j], int(n[i, j]), sign * float(mean[i, j]))
                    lines.append([shown.name, *about, page.rows[first], page.rows[second], *own, tests, verdict])
    names = ["metric", "attack", *facts, "first", "second", *_PAIR]
    return csv_text(names, lines) if lines else None


def _verdict(claimed: Any, seeds: int, better: float) -> str:
    if seeds < LEAST_SEEDS:
        return "too few seeds"
    return ("first" if better > 0 else "second") if claimed else "none"


def statistics_csv(frame: pd.DataFrame, tidy: pd.DataFrame) -> str:
    """One line a measure, rule and column: both intervals, the interquartile mean, and the mean of the last rounds."""
    facts = facts_of(frame)
    lines: list[list[Any]] = []
    for page, shown, attacks in _tables(frame):
        values, columns = by_seed(page, tidy, shown, attacks)
        if not values.size:
            continue
        mean, sd, n = statistics.moments(values)
        bca = [np.round(end, 9) for end in statistics.bca_interval(values)]  # the last bits depend on the processor
        numbers = [n, mean, sd, *statistics.student_interval(values), *bca, statistics.interquartile_mean(values)]
        numbers += [_end(values, -1.0), _end(values, 1.0), _last(page, tidy, shown, attacks, columns)]
        for i, column in enumerate(columns):
            about = _facts(page, facts, column)
            lines += [
                [shown.name, rule, column.attack, *about, *(number[i, j].item() for number in numbers)]
                for j, rule in enumerate(page.rows)
                if n[i, j]
            ]
    return csv_text(["metric", "aggregator", "attack", *facts, *_SQUARE], lines)


def _end(values: statistics.Values, sign: float) -> statistics.Values:
    """The most (sign 1) or the least (sign -1) of the seeds of each row, NaN left out."""
    return np.asarray(sign * np.where(np.isnan(values), -np.inf, sign * values).max(-1))


def _last(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: list[str], columns: list[Column]) -> Any:
    """Mean of the metric over the last evaluated rounds, square by square; NaN for damage and for clean values that
    depend on the attack."""
    found = np.full((len(columns), len(page.rows)), np.nan)
    if not shown.name.endswith("_damage"):
        values, mine = by_seed(page, tidy, measure(f"{shown.name}_last{LAST}"), attacks)
        means = statistics.moments(values)[0] if values.size else values
        for column, row in zip(mine, means, strict=True):
            found[columns.index(column)] = row
    return found


def _tables(frame: pd.DataFrame) -> Iterator[tuple[Page, Measure, list[str]]]:
    """Page, measure and attacks of each table in which rules are compared, as `bench.blocks.sections` has them."""
    for page in map(pooled, pages(frame)):
        for name in MEASURES:
            shown = measure(name)
            told = showable(page, shown)
            for attacks in [[a] for a in told] if shown.needs_mapping else [told]:
                if attacks or shown.clean:
                    yield page, shown, attacks


def _facts(page: Page, facts: list[str], column: Column) -> list[Any]:
    return told_of(page, facts, column.setting, column.level)
