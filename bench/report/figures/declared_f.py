"""Heatmaps of the declared f against the true number: one panel an aggregator, declared f upwards, true number across.

On the diagonal the true number is declared; above it f is over-declared, below it under-declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flipbench.analysis.columns import Values
from flipbench.analysis.declared_f import rest
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.statistics import STATISTICS
from flipbench.report.figures import captions, style
from flipbench.report.figures.heatmap import draw_squares, square_width
from flipbench.report.figures.layout import COLUMN, WIDTH, Bar, Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL, middles
from flipbench.report.tables.model import by_rule
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.spec.labels import aggregator_label, labelled
from flipbench.spec.metric_names import POINTS

_SQUARE, _HIGH, _LOW = 0.42, 0.3, 0.2  # inches: width; height with an interval, without
_TIGHT = 0.34  # inches, the width without an interval
_MANY = 6  # panels; with more, intervals are left to the tables
_GAP, _MARGINS = 0.2, 1.35  # inches: between two panels; for labels and bar


def draw(
    page: Page,
    squares: pd.DataFrame,
    metric: MetricColumn,
    norm: Normalize,
    attack: str,
    values: Values,
    regret: bool = False,
) -> Figure:
    """Small multiples, one an aggregator, with one colour bar.

    Args:
        page, metric, norm, attack: as all figures (`report.figures`).
        squares: of `analysis.declared_f.table`.
        values: of `analysis.declared_f.rest`, for the subtitle.
        regret: whether what the wrong f costs is drawn, in place of the metric.
    """
    prefix = "regret_" if regret else ""
    declared = sorted(set(squares["declared"]), reverse=True)
    known = squares[squares[f"{prefix}state"] != "absent"]
    true, states = sorted(set(known["true"])), set(known[f"{prefix}state"])
    dense = len(page.rows) > _MANY
    by_rule_here = (_by_place(known[known["aggregator"] == row], prefix, dense) for row in page.rows)
    every = [square for squares_of in by_rule_here for square in squares_of.values()]
    wide, high = (_TIGHT, _LOW) if dense else (square_width(every, _SQUARE), _HIGH)
    wide, high = wide * len(true), high * len(declared)
    label = f"{metric.label} lost" if regret else metric.label
    unit = POINTS if regret else metric.unit
    bar = Bar(norm, style.colours(metric.higher_is_better and not regret, norm), f"{label} ({unit})")
    with style.style():
        across = max(1, min(len(page.rows), int((WIDTH - _MARGINS + _GAP) / (wide + _GAP))))
        rows = grid(len(page.rows), across, high)
        sheet = Sheet(rows, panel=(wide, wide), least=COLUMN, gap=_GAP, bar=bar)
        for (ax, leftmost, lowest), row in zip(sheet.panels, page.rows, strict=True):
            at = _by_place(known[known["aggregator"] == row], prefix, dense)
            here = [at.get((d, t), _ABSENT) for d in declared for t in true]
            draw_squares(ax, here, len(true), bar, gap=0.6)
            for place in (place for place, square in enumerate(here) if square["right"]):
                corner = place % len(true) + 0.03, place // len(true) + 0.03
                ax.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.0))
            ax.set_title(wrapped(aggregator_label(row), wide + 0.1, SMALL), fontsize=SMALL, pad=3)
            ax.set_yticks(middles(declared), declared if leftmost else [""] * len(declared), fontsize=SMALL)
            ax.set_xticks(middles(true), true if lowest else [""] * len(true), fontsize=SMALL)
            ax.set_ylabel("declared f" if leftmost else "", labelpad=2, fontsize=SMALL)
            ax.set_xlabel("malicious clients" if lowest else "", labelpad=2, fontsize=SMALL)
            ax.tick_params(pad=2)
        what = f"{label} to a wrong declared f" if regret else f"{label}, declared f against the true number"
        name = attack_name(page, attack)
        caption = _caption(
            int(known[f"{prefix}n"].max()), dense, regret, f"{unit}, {page.headline.when}", "infeasible" in states
        ) + captions.adaptive([name])
        caption += (
            by_rule(page.by_row) + chosen_for(page) + captions.private(page) + captions.marked(known[f"{prefix}caveat"])
        )
        subtitle = ", ".join([captions.subtitle(page), *labelled(rest(page), values)])
        return sheet.finish(f"{what}: {name}", subtitle, caption, style.keys_of(states))


_ABSENT: Mapping[str, Any] = {"state": "absent", "mean": float("nan"), "right": False}


def _by_place(squares: pd.DataFrame, prefix: str, dense: bool) -> dict[tuple[int, int], dict[str, Any]]:
    """(declared, true) -> square, as `report.figures.heatmap.draw_squares` takes it; dense: without interval."""
    found = {}
    for row in squares.to_dict("records"):
        square = {name: row[f"{prefix}{name}"] for name in ("state", *STATISTICS, "planned", "caveat")}
        square |= {"n": 1, "planned": 1} if dense else {}
        found[row["declared"], row["true"]] = {**square, "right": row["right"]}
    return found


def _caption(seeds: int, dense: bool, regret: bool, unit: str, hatched: bool) -> str:
    text = "Mean over seeds" if seeds > 1 else "One seed"
    text += "" if dense or seeds <= 1 else " and, below it, ± half width of its 95 % interval, or both its ends"
    text += f", in {unit}."
    if dense and seeds > 1:
        text += " Intervals: tables/declared_f.csv."
    if regret:
        text += " The metric where the true number is declared minus that here, same seed"
        text += " (hatched: either is infeasible)." if hatched else "."
    return (
        f"{text} Framed: the true number is declared; above the frames f is over-declared, below them under-declared."
    )
