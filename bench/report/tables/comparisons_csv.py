"""Every pair of rules, and every square's other statistics, as CSV, for further work; shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flipbench.analysis import caveats, rank_tests, statistics
from flipbench.analysis.columns import Column, by_place
from flipbench.analysis.comparisons import Pairs, Places, compare
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import Page, showable
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.rounds.late_rounds import LAST_ROUNDS
from flipbench.analysis.squares import Objects
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.report.tables.attacks_csv import fields_of, values_of
from flipbench.report.tables.csv_format import csv_columns
from flipbench.report.tables.model import about_attack, has_last_rounds
from flipbench.spec.metric_names import HEADLINES

_SQUARE = (
    *("n", "mean", "sd", "student_low", "student_high", "interquartile_mean"),
    *("least", "most", "mean_of_last_rounds", "low", "high"),
)


def comparisons_csv(pivots: Sequence[Pivot]) -> str | None:
    """One line a metric, column and pair of rules; None with a single rule.

    ``of_attack``: the attack that the table is about, whose source and target classes clean rows are measured by too;
    empty where the table has all attacks. Lines of one data set, partition, metric and ``of_attack`` are one table.
    ``difference`` is first minus second, over their common seeds; ``low`` and ``high`` its 95 % Student interval, by
    itself; ``_holm``: corrected over the ``comparisons`` of the table (its lines with a p); ``claim``: first or second,
    whichever is better, "none" where they cannot be told apart, "too few seeds" with fewer than six. Of sequential runs
    p and interval allow for all looks, and there is no signed-rank test.
    """
    fields = fields_of(pivots, of_rules=False)  # a line is of two rules
    parts: list[dict[str, Any]] = []
    for pivot, shown, attacks, values, columns in _tables(pivots):
        page = pivot.page
        if values.shape[1] < 2:
            continue
        pairs = compare(values)
        there = pairs.n > 0
        column, pair = np.nonzero(there)
        rules = np.array(page.rows, dtype=object)
        parts.append(
            {"metric": [shown.name] * len(column), **_about(page, fields, shown, columns, column)}
            | {"first": rules[pairs.first[pair]], "second": rules[pairs.second[pair]]}
            | {name: number[there] for name, number in _numbers(pairs, shown).items()}
            | {"caveat": _of_pairs(_caveats(pivot, shown, attacks, columns), pairs)[there]}
        )
    return csv_columns(_stacked(parts)) if parts else None


def _numbers(pairs: Pairs, shown: MetricColumn) -> dict[str, Any]:
    """What `comparisons_csv` says of every pair, ``(columns, pairs)`` each."""
    d, sign = pairs.differences, 1.0 if shown.higher_is_better else -1.0
    found = statistics.over_seeds(d, statistics.difference(shown.bounds))
    mean, n = found.pop("mean"), found["n"]
    wilcoxon = rank_tests.wilcoxon(d)
    if statistics.seed_plan() is not None:  # a test of a fixed number of seeds
        wilcoxon = np.full_like(wilcoxon, np.nan)
    claim = np.where(sign * mean > 0, "first", "second")
    claim = np.where(pairs.claimed, claim, "none")
    return {
        **{"n": n, "difference": mean, **found, "p_t": pairs.p, "p_t_holm": pairs.corrected},
        **{"p_wilcoxon": wilcoxon, "p_wilcoxon_holm": statistics.holm(wilcoxon)},
        "comparisons": np.full(n.shape, int((~np.isnan(pairs.p)).sum())),
        "claim": np.where(n < LEAST_SEEDS, "too few seeds", claim).astype(object),
    }


def statistics_csv(pivots: Sequence[Pivot]) -> str:
    """One line a metric, rule and column: the intervals, the interquartile mean, and the mean of the last rounds;
    ``of_attack`` as in `comparisons_csv`."""
    fields = fields_of(pivots)
    parts: list[dict[str, Any]] = []
    for pivot, shown, attacks, values, columns in _tables(pivots):
        page = pivot.page
        mean, sd, n, low, high = statistics.over_seeds(values, shown.bounds).values()
        student = (np.clip(end, *shown.bounds) for end in statistics.student_interval(values))
        ends = _end(values, -1.0), _end(values, 1.0)
        last = _last(pivot, shown, attacks, columns)
        numbers = (n, mean, sd, *student, statistics.interquartile_mean(values), *ends, last, low, high)
        column, rule = np.nonzero(n > 0)
        about = _about(page, fields, shown, columns, column)
        for field, value in page.by_row.items():
            about[field] = np.array([value[r] for r in page.rows], dtype=object)[rule]
        parts.append(
            {"metric": [shown.name] * len(column), "aggregator": np.array(page.rows, dtype=object)[rule], **about}
            | {name: number[column, rule] for name, number in zip(_SQUARE, numbers, strict=True)}
            | {"caveat": _caveats(pivot, shown, attacks, columns)[column, rule]}
        )
    names = ["metric", "aggregator", "attack", "of_attack", *fields, *_SQUARE, "caveat"]
    return csv_columns(_stacked(parts) if parts else dict.fromkeys(names, ()))


def _caveats(pivot: Pivot, shown: MetricColumn, attacks: list[str], columns: list[Column]) -> Objects:
    """`analysis.squares.Standing.caveat` of the squares, ``(columns, rules)``."""
    at = by_place(pivot.squares(shown, attacks))
    found = np.full((len(columns), len(pivot.page.rows)), None, dtype=object)
    for i, j in np.ndindex(found.shape):
        found[i, j] = at[pivot.page.rows[j], columns[i]]["caveat"]
    return found


def _of_pairs(of_rules: Objects, pairs: Pairs) -> Objects:
    """The caveats of both rules of each pair, ``(columns, pairs)``."""
    found = np.full(pairs.n.shape, None, dtype=object)
    marked = [text is not None for text in of_rules.ravel()]
    for i, j in np.ndindex(found.shape) if any(marked) else ():
        both: list[Any] = [of_rules[i, pairs.first[j]], of_rules[i, pairs.second[j]]]
        found[i, j] = caveats.joined(both)
    return found


def _about(page: Page, fields: list[str], shown: MetricColumn, columns: list[Column], at: Places) -> dict[str, Any]:
    """Attack and fields of the columns at some places, as columns of a table."""
    about = about_attack(shown, columns)
    lines = [[c.attack, about, *values_of(page, fields, c.setting, c.level)] for c in columns]
    found = {}
    for i, name in enumerate(["attack", "of_attack", *fields]):
        values = np.empty(len(lines), dtype=object)
        values[:] = [line[i] for line in lines]
        found[name] = values[at]
    return found


def _stacked(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _end(values: statistics.Values, sign: float) -> statistics.Values:
    """The most (sign 1) or the least (sign -1) of the seeds of each row, NaN left out."""
    return np.asarray(sign * np.where(np.isnan(values), -np.inf, sign * values).max(-1))


def _last(pivot: Pivot, shown: MetricColumn, attacks: list[str], columns: list[Column]) -> Any:
    """Mean of the metric over the last rounds, square by square; NaN for damage, for clean values that depend on the
    attack, and where it would be the last round alone."""
    found = np.full((len(columns), len(pivot.page.rows)), np.nan)
    last = None if shown.damage else metric_column(shown.metric + LAST_ROUNDS)
    if last is not None and has_last_rounds(pivot, last):
        values, last_columns = pivot.by_seed(last, attacks)
        means = statistics.moments(values)[0] if values.size else values
        for column, row in zip(last_columns, means, strict=True):
            found[columns.index(column)] = row
    return found


_Table = tuple[Pivot, MetricColumn, list[str], statistics.Values, list[Column]]


def _tables(pivots: Sequence[Pivot]) -> Iterator[_Table]:
    """Pivot, metric, attacks, numbers by seed and columns of each table, as `report.tables.model.sections` has them."""
    for pivot in (p.pooled for p in pivots):
        for name in HEADLINES:
            shown = metric_column(name)
            known = showable(pivot.page, shown)
            for attacks in [[a] for a in known] if shown.needs_mapping else [known]:
                values, columns = pivot.by_seed(shown, attacks) if attacks or shown.clean else (np.empty(0), [])
                if values.size:
                    yield pivot, shown, attacks, values, columns
