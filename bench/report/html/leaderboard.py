"""One line a rule, ranked: what it holds under the worst attack and on average, what it costs, how long it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flipbench.analysis import caveats, statistics
from flipbench.analysis.columns import Column
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.ranking import rank
from flipbench.analysis.record_rows import COST
from flipbench.analysis.rounds.late_rounds import moves
from flipbench.analysis.squares import DONE, FAILED, worst_of
from flipbench.analysis.statistics import Values
from flipbench.report.tables.model import DASH, Block, Entry, footnotes, letter_of, number, with_interval
from flipbench.spec.labels import aggregator_label, labelled
from flipbench.spec.metric_names import POINTS

HEADS = (
    *("worst case", "mean under attack", "clean", "robustness cost", "mean rank"),
    *("ms a round", "of local training (%)", "peak MB", "MB up", "MB down"),
    "worst attack",
)
SAID = (
    "Ranked by the worst case: the least mean over seeds under any attack at any place of the grid (malicious "
    "fraction, declared f, setting), and which it is. A rule that lacks a place or seeds that others have stands "
    "below all that lack none, however good the rest is, and says what it lacks. Mean under attack: over all attacks "
    "and places in which the rule has a number. Clean: without an attack, the mean over settings. Robustness cost: "
    "FedAvg's clean accuracy minus the rule's over the same settings, seed by seed, ± half width of its 95 % "
    "interval. Mean rank: 1 is best, over the columns in which all rules have a number. ms a round: of aggregation, "
    "the median of the rule's cells; then its share of the seconds of local training, the memory that one call of the "
    "rule holds at its peak beside the updates, and what the clients of a round send and receive together (1 MB = 10^6 "
    "bytes); medians too, and a dash where the records are from before these were stored."
)


def leaderboard(pivot: Pivot) -> Block:
    """The rules of a page, best worst case first; settings are averaged over.

    Args:
        pivot: of the page.
    """
    page, shown = pivot.page, metric_column("accuracy")
    values, columns = pivot.pooled.by_seed(shown, pivot.pooled.page.attacks)
    clean = [i for i, c in enumerate(columns) if c.clean]
    attacked = [i for i, c in enumerate(columns) if not c.clean]
    found = rank(pivot, shown) if attacked else None
    ranks = dict(zip(found.rules, found.ranks, strict=True)) if found else {}
    lost = _costs(pivot, shown)
    lowest, notes = _worst(pivot, shown), dict[str, str]()
    cells = page.cells[page.cells["status"] == DONE]
    of_cells = caveats.with_moves(caveats.of_cells(cells), moves(pivot.tidy, cells["key"], shown.metric))
    spent = _costs_of_running(pivot)
    rows: list[tuple[bool, float, float, tuple[str, tuple[Entry, ...]]]] = []
    for at, rule in enumerate(page.rows):
        under, mean_text = _mean(values[attacked, at])
        worst = lowest[rule]
        texts = [
            *(number(worst.least) if worst.known else worst.attack, mean_text),
            *(_mean(values[clean, at])[1], lost[at]),
            f"{ranks[rule]:.2f}" if rule in ranks else DASH,
            *spent[rule],
            ", ".join([worst.attack, *worst.lacks]) if worst.known else DASH,
        ]
        mine = of_cells[(cells["aggregator"] == rule).to_numpy(dtype=bool)]
        said = caveats.text(mine.tolist(), len(mine))
        entries = [Entry(texts[0], note=letter_of(notes, said) if said else ""), *map(Entry, texts[1:])]
        rows.append((bool(worst.lacks), worst.least, under, (aggregator_label(rule), tuple(entries))))
    # Stable: equals in the page's order.
    rows.sort(key=lambda r: (r[0], *(math.inf if v != v else -v for v in r[1:3])))
    return Block(
        f"Rules ranked: accuracy (%); robustness cost in {POINTS}",
        ("",),
        (HEADS,),
        tuple(line for *_, line in rows),
        footnotes(notes),
        text=1,
    )


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


def _worst(pivot: Pivot, shown: MetricColumn) -> dict[str, Worst]:
    """Each rule's least mean under an attack, at any place."""
    numbers, columns = pivot.whole(shown).numbers, pivot.placement.columns
    attacked = [i for i, c in enumerate(columns) if c.attacked]
    worst = worst_of(numbers.mean, numbers.n, attacked, shown.higher_is_better)
    found = {}
    for row, name in enumerate(pivot.page.rows):
        at = int(worst.column[row])
        if at < 0:
            failed = any(pivot.standing.state[i, row] == FAILED for i in attacked)
            found[name] = Worst(math.nan, "failed" if failed else DASH, ("all",) if attacked else (), False)
            continue
        lacks = []
        if worst.known[row] < worst.asked:
            lacks.append(f"only {worst.known[row]} of {worst.asked} attacks and places")
        if worst.fewest[row] >= 0:
            lacks.append(f"only {numbers.n[worst.fewest[row], row]} of {worst.most[row]} seeds")
        found[name] = Worst(float(numbers.mean[at, row]), _place(pivot.page, columns[at]), tuple(lacks), True)
    return found


def _place(page: Page, column: Column) -> str:
    fields = labelled((*page.settings, *page.levels), (*column.setting, *column.level))
    return ", ".join([attack_name(page, column.attack), *fields])


def _costs(pivot: Pivot, shown: MetricColumn) -> list[str]:
    """Each rule's robustness cost as text, over the mean of the settings."""
    lost = pivot.robustness_cost(shown)[0]
    if not lost.size:
        return [DASH] * len(pivot.page.rows)
    each = statistics.moments(np.moveaxis(lost, 0, -1))[0]
    texts = []
    for rule in each:
        square = statistics.over_seeds(rule, statistics.DIFFERENCE)
        texts.append(with_interval(square) if square["n"] else DASH)
    return texts


def _costs_of_running(pivot: Pivot) -> dict[str, list[str]]:
    """The last numbers of `HEADS` for each rule: medians of its finished cells, as the first ones also compile."""
    tidy = pivot.tidy[pivot.tidy["key"].isin(pivot.page.cells["key"])]
    each = {
        "ms": 1000 * tidy["seconds_aggregation"] / tidy["rounds"],
        "share": 100 * tidy["aggregation_to_local"],
        **{name: tidy[name] / 1e6 for name in COST},
    }
    medians = {name: column.groupby(tidy["aggregator"]).median().to_dict() for name, column in each.items()}
    order = ("ms", "share", "rule_peak", "bytes_up", "bytes_down")
    return {rule: [_three_digits(medians[name].get(rule, math.nan)) for name in order] for rule in pivot.page.rows}


def _three_digits(value: float) -> str:
    """A number of any size with two decimals, more where it is small; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.1g}"


def _mean(values: Values) -> tuple[float, str]:
    """Mean over columns of the means over seeds, and as text; a dash where no column has a number."""
    means = statistics.moments(values)[0] if values.size else values
    known = means[~np.isnan(means)]
    if not known.size:
        return math.nan, DASH
    partly = f" ({known.size} of {means.size} columns)" if known.size < means.size else ""
    return float(known.mean()), number(float(known.mean())) + partly
