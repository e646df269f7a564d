"""One line a rule, ranked: what it holds under the worst attack and on average, what it costs, how long it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipbench.analysis import statistics
from flipbench.analysis.attack_selection import attack_name, pooled
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import by_seed
from flipbench.analysis.ranking import rank
from flipbench.analysis.statistics import Values
from flipbench.report.html.explorer_numbers import ATTACKED, FAILED, Numbers, Placed, numbers
from flipbench.report.tables.model import DASH, Block, Entry, half_width, number
from flipbench.spec.labels import aggregator_label, field_label, value_label

HEADS = (
    *("worst case", "mean under attack", "clean", "robustness cost", "mean rank", "ms a round"),
    "worst attack",
)
SAID = (
    "Ranked by the worst case: the least mean over seeds under any attack at any place of the grid (malicious "
    "fraction, declared f, setting), and which it is. A rule that lacks a place or seeds that others have stands "
    "below all that lack none, however good the rest is, and says what it lacks. Mean under attack: over all attacks "
    "and places in which the rule has a number. Clean: without an attack, the mean over settings. Robustness cost: "
    "FedAvg's clean accuracy minus the rule's over the same settings, seed by seed, ± half width of its 95 % "
    "interval. Mean rank: 1 is best, over the columns in which all rules have a number. ms a round: of aggregation, "
    "the median of the rule's cells."
)


def leaderboard(placed: Placed) -> Block:
    """The rules of a page, best worst case first; settings are averaged over.

    Args:
        placed: the cells of the page in their squares.
    """
    page, tidy, shown = placed.page, placed.tidy, metric_column("accuracy")
    plain = pooled(page)
    values, columns = by_seed(plain, tidy, shown, plain.attacks)
    clean = [i for i, c in enumerate(columns) if c.clean]
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    found = rank(page, tidy, shown) if attacked else None
    ranks = dict(zip(found.rules, found.ranks, strict=True)) if found else {}
    lost = _costs(values[clean], page.rows)
    lowest = _worst(placed)
    spent = _milliseconds(placed)
    rows: list[tuple[bool, float, float, tuple[str, tuple[Entry, ...]]]] = []
    for at, rule in enumerate(page.rows):
        under, told = _mean(values[attacked, at])
        one = lowest[rule]
        texts = [
            *(number(one.least) if one.least == one.least else one.attack if not one.known else DASH, told),
            *(_mean(values[clean, at])[1], lost[at]),
            *(f"{ranks[rule]:.2f}" if rule in ranks else DASH, f"{spent[rule]:.2f}" if rule in spent else DASH),
            ", ".join([one.attack, *one.lacks]) if one.known else DASH,
        ]
        rows.append((bool(one.lacks), one.least, under, (aggregator_label(rule), tuple(map(Entry, texts)))))
    # Stable: equals in the page's order.
    rows.sort(key=lambda r: (r[0], *(math.inf if v != v else -v for v in r[1:3])))
    return Block("Rules ranked: accuracy (%)", ("",), (HEADS,), tuple(line for *_, line in rows), (), text=1)


@dataclass(frozen=True)
class Worst:
    """Where a rule is worst.

    Attributes:
        least: the mean over seeds there; NaN where it has no number.
        attack: and its place; of a rule without a number why.
        lacks: what others have and it has not.
        known: whether it has a number.
    """

    least: float
    attack: str
    lacks: tuple[str, ...]
    known: bool


def _worst(placed: Placed) -> dict[str, Worst]:
    """Each rule's least mean under an attack, at any place."""
    one, state = numbers(placed, metric_column("accuracy")), placed.states[0]
    columns = [i for i, kind in enumerate(placed.kinds) if kind == ATTACKED]
    most = one.n.max(1) if one.n.size else np.zeros(0)
    found = {}
    for rule, name in enumerate(placed.page.rows):
        known = [i for i in columns if one.n[i, rule] > 0]
        if not known:
            failed = any(state[i, rule] == FAILED for i in columns)
            found[name] = Worst(math.nan, "failed" if failed else DASH, ("all",) if columns else (), False)
            continue
        at = min(known, key=lambda i: float(one.mean[i, rule]))
        found[name] = Worst(
            float(one.mean[at, rule]), _place(placed, at), _lacks(one, columns, known, most, rule), True
        )
    return found


def _place(placed: Placed, at: int) -> str:
    page, column = placed.page, placed.columns[at]
    facts = zip((*page.settings, *page.levels), (*column.setting, *column.level), strict=True)
    return ", ".join([attack_name(page, column.attack), *(f"{field_label(f)} {value_label(f, v)}" for f, v in facts)])


def _lacks(one: Numbers, columns: list[int], known: list[int], most: NDArray[np.float64], rule: int) -> tuple[str, ...]:
    """What a rule has not of what some other rule has: attacks and places, and seeds of them."""
    asked = [i for i in columns if most[i] > 0]
    told = [f"only {len(known)} of {len(asked)} attacks and places"] if len(known) < len(asked) else []
    short = [i for i in known if one.n[i, rule] < most[i]]
    if short:
        least = min(short, key=lambda i: int(one.n[i, rule]))
        told.append(f"only {int(one.n[least, rule])} of {int(most[least])} seeds")
    return tuple(told)


def _costs(clean: Values, rules: tuple[str, ...]) -> list[str]:
    """Each rule's robustness cost as text; of ``(columns, rules, seeds)`` clean accuracies."""
    if "fedavg" not in rules or not clean.size:
        return [DASH] * len(rules)
    lost = clean[:, [rules.index("fedavg")]] - clean
    told = []
    for rule in range(len(rules)):
        count = (~np.isnan(lost[:, rule])).sum(0)
        each = np.where(count > 0, np.nansum(lost[:, rule], axis=0) / np.maximum(count, 1), np.nan)
        mean, _, n = statistics.moments(each)
        if not n:
            told.append(DASH)
            continue
        low, high = statistics.student_interval(each)
        line = {"mean": float(mean), "low": float(low), "high": float(high), "n": int(n)}
        told.append(number(float(mean)) + (f" ± {half_width(line)}" if n > 1 else ""))
    return told


def _milliseconds(placed: Placed) -> dict[str, float]:
    """Time of aggregation a round: the median of each rule's finished cells, for the first ones also compile."""
    tidy = placed.tidy[placed.tidy["key"].isin(placed.page.cells["key"])]
    each = 1000 * tidy["seconds_aggregation"] / tidy["rounds"]
    return {str(r): float(v) for r, v in each.groupby(tidy["aggregator"]).median().items() if v == v}


def _mean(values: Values) -> tuple[float, str]:
    """Mean over columns of the means over seeds, and as text; a dash where no column has a number."""
    means = statistics.moments(values)[0] if values.size else values
    known = means[~np.isnan(means)]
    if not known.size:
        return math.nan, DASH
    partly = f" ({known.size} of {means.size} columns)" if known.size < means.size else ""
    return float(known.mean()), number(float(known.mean())) + partly
