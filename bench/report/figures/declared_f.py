"""Declared f against the true number: one small heatmap an aggregator, declared f upwards, the true number across.

On the diagonal the truth is declared; above it f is over-declared, below it under-declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import Values
from flipbench.analysis.declared_f import rest
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.warnings import STATISTICS
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, draw_square, words
from flipbench.report.figures.style import SMALL, WIDTH, wrapped
from flipbench.spec.labels import ADAPTIVE, aggregator_label, fact_label, value_label

_SQUARE, _HIGH, _LOW = 0.42, 0.3, 0.2  # inches: width; height with an interval, without
_TIGHT = 0.34  # inches, the width without an interval
_MANY = 6  # panels; with more, intervals are left to the tables
_GAP = 0.2


def draw(
    page: Page, squares: pd.DataFrame, shown: MetricColumn, norm: Normalize, told: tuple[str, Values, bool]
) -> Figure:
    """Small multiples, one an aggregator, under one colour bar.

    Args:
        page: whose aggregators.
        squares: of `analysis.declared_f.table`.
        shown: the measure.
        norm: the colour scale.
        told: the attack, the values of `rest`, and whether the regret is drawn rather than the metric.
    """
    attack, _, regret = told
    prefix = "regret_" if regret else ""
    down = sorted(set(squares["declared"]), reverse=True)
    known = squares[squares[f"{prefix}state"] != "absent"]
    across = sorted(set(known["true"]))
    states = set(known[f"{prefix}state"])
    cmap = style.colours(shown.higher_is_better and not regret, norm)
    dense = len(page.rows) > _MANY
    wide, high = (_TIGHT, _LOW) if dense else (_SQUARE, _HIGH)
    label = f"{shown.label} lost" if regret else shown.label
    with style.style():
        left, right = 0.55, 0.8
        each, tall = wide * len(across), high * len(down)
        side = max(1, min(len(page.rows), int((WIDTH - left - right + _GAP) / (each + _GAP))))
        rows = -(-len(page.rows) // side)
        width = max(4.5, left + side * (each + _GAP) - _GAP + right)
        heading = style.headings(*_heading(page, label, told), width)
        caption = wrapped(
            _caption(dense, regret, "infeasible" in states, attack_name(page, attack)), width - 0.2, SMALL
        )
        titles = [wrapped(aggregator_label(r), each + 0.1, SMALL) for r in page.rows]
        above = 0.1 + 0.12 * max(t.count("\n") + 1 for t in titles)
        keys = style.keys_of(states)
        top = 0.06 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        foot = 0.14 + 0.13 * (caption.count("\n") + 1) + (0.2 if keys else 0)
        height = top + rows * (tall + above) + 0.4 + foot
        made = style.figure(width, height)
        for place, (row, title) in enumerate(zip(page.rows, titles, strict=True)):
            i, j = divmod(place, side)
            ax = style.place(made, left + j * (each + _GAP), height - top - (i + 1) * (tall + above), each, tall)
            mine = known[known["aggregator"] == row]
            _panel(ax, _plain(mine, prefix), (down, across), norm, cmap, dense)
            ax.set_title(title, fontsize=SMALL, pad=3)
            lowest = place + side >= len(page.rows)
            ax.set_yticks([y + 0.5 for y in range(len(down))], down if j == 0 else [""] * len(down), fontsize=SMALL)
            ax.set_xticks([x + 0.5 for x in range(len(across))], across if lowest else [""] * len(across))
            ax.set_ylabel("declared f" if j == 0 else "", labelpad=2, fontsize=SMALL)
            ax.set_xlabel("malicious clients" if lowest else "", labelpad=2, fontsize=SMALL)
        body = rows * (tall + above) - above
        bar = style.place(made, left + side * (each + _GAP) - _GAP + 0.12, height - top - above - body, 0.12, body)
        style.colour_bar(made, bar, norm, cmap, wrapped(f"{label} (%)", body + 0.3))
        words(made, heading, caption)
        if keys:
            style.legend_at(made, keys, foot - 0.19)
    return made


def _plain(mine: pd.DataFrame, prefix: str) -> dict[tuple[int, int], dict[str, Any]]:
    """(declared, true) -> square, as `report.figures.heatmap.draw_square` takes it."""
    found = {}
    for row in mine.to_dict("records"):
        square = {name: row[f"{prefix}{name}"] for name in ("state", *STATISTICS, "planned")}
        found[(int(row["declared"]), int(row["true"]))] = {**square, "right": bool(row["right"])}
    return found


def _panel(
    ax: Axes,
    found: Mapping[tuple[int, int], Mapping[str, Any]],
    ends: tuple[Sequence[int], Sequence[int]],
    norm: Normalize,
    cmap: Colormap,
    dense: bool,
) -> None:
    down, across = ends
    absent = {"state": "absent", "mean": float("nan")}
    squares = [[found.get((d, t), absent) for t in across] for d in down]
    style.mesh(ax, np.array([[float(s["mean"]) for s in row] for row in squares]), norm, cmap, gap=0.6)
    ax.set(xlim=(0, len(across)), ylim=(len(down), 0))
    ax.tick_params(length=0, pad=2, labelrotation=0)
    ax.spines[:].set_visible(False)
    for i, row in enumerate(squares):
        for j, square in enumerate(row):
            draw_square(ax, i, j, {**square, "n": 1, "planned": 1} if dense else square, norm, cmap)
            if square.get("right"):
                frame = Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.0)
                ax.add_patch(frame)


def _heading(page: Page, label: str, told: tuple[str, Values, bool]) -> tuple[str, str]:
    attack, values, regret = told
    facts = [f"{fact_label(f)} {value_label(f, v)}" for f, v in zip(rest(page), values, strict=True)]
    what = f"{label} to a wrong declared f" if regret else f"{label}, declared f against the true number"
    return f"{what}: {attack_name(page, attack)}", ", ".join([circumstances(page), *facts])


def _caption(dense: bool, regret: bool, hatched: bool, name: str) -> str:
    told = "Mean over seeds" + ("" if dense else " and, below it, ± half width of its 95 % Student interval")
    told += ", in %, after the last round."
    if dense:
        told += " Intervals: tables/declared_f.csv."
    if regret:
        told += " The metric where the true number is declared minus that here, same seed"
        told += " (hatched: either is infeasible)." if hatched else "."
    told += " Framed: the true number is declared; above the frames f is over-declared, below them under-declared."
    told += f" {ADAPTIVE}: knows the rule it faces." if ADAPTIVE in name else ""
    return told
