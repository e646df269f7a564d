"""Every source and target class: one L x L heatmap an aggregator, small multiples under one colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flipbench.analysis.attack_selection import single_pairs
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, words
from flipbench.report.figures.style import NORMAL, SMALL, WIDTH, width_of, wrapped
from flipbench.spec.labels import aggregator_label, class_name, percent

Matrix = NDArray[np.float64]  # (L, L), source down, target across
_SMALLEST = 0.2  # inches; a smaller square has no room for its number
_ACROSS = 2  # panels side by side


def matrices(page: Page, tidy: pd.DataFrame, shown: MetricColumn) -> dict[str, Matrix]:
    """The mean over seeds for each aggregator, ``(L, L)``; NaN where there is no number."""
    pairs, size = single_pairs(page), len(page.classes)
    mine = tidy[tidy["key"].isin(page.cells["key"]) & tidy["attack"].isin(list(pairs))]
    means = mine.groupby(["aggregator", "attack"], sort=False)[shown.name].mean()
    found = {row: np.full((size, size), np.nan) for row in page.rows}
    for one in means.reset_index().to_dict("records"):
        found[one["aggregator"]][pairs[one["attack"]]] = one[shown.name]
    return found


def refused(page: Page) -> Mapping[str, str]:
    """Aggregators that are infeasible in every attacked cell, with the reason."""
    attacked = page.cells[page.cells["attack"] != "none"]
    found = {}
    for row, cells in attacked.groupby("aggregator", sort=False):
        if (cells["status"] == "infeasible").all():
            found[str(row)] = str(cells["reason"].iloc[0])
    return found


def draw(page: Page, panels: Mapping[str, Matrix], shown: MetricColumn, norm: Normalize) -> Figure:
    """Panels in a grid of two columns; class names as labels, diagonal blank.

    Args:
        page: whose classes.
        panels: of `matrices`.
        shown: the measure.
        norm: the colour scale.
    """
    names = [class_name(i, page.classes) for i in range(len(page.classes))]
    cmap, why = style.colours(shown.higher_is_better, norm), refused(page)
    label = shown.label.replace(" damage", " lost") if shown.clean is None else shown.label
    with style.style():
        long = max(width_of(n, SMALL) for n in names)
        across = min(_ACROSS, len(panels))
        left, right, gap = 0.42 + long, 0.8, 0.25
        side = min(3.0, (WIDTH - left - right - gap * (across - 1)) / across)
        width = max(4.5, left + across * side + gap * (across - 1) + right)
        down = -(-len(panels) // across)
        heading = style.headings(f"{label}: every source and target class", circumstances(page), width)
        holes = any(np.isnan(m[~np.eye(len(m), dtype=bool)]).any() for row, m in panels.items() if row not in why)
        caption = wrapped(_caption(shown) + (" ?: failed or not run." if holes else ""), width - 0.2, SMALL)
        top = 0.04 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        upright = long > side / len(names) - 0.04  # then the names stand on end
        below = (long if upright else 0.12) + 0.3
        foot = 0.12 + 0.13 * (caption.count("\n") + 1)
        height = top + down * (side + 0.25) + below + foot
        made = style.figure(width, height)
        for place, (row, matrix) in enumerate(panels.items()):
            i, j = divmod(place, across)
            x, y = left + j * (side + gap), height - top - (i + 1) * (side + 0.25)
            ax = style.place(made, x, y, side, side)
            _panel(ax, matrix, norm, cmap, side, why.get(row))
            ax.set_title(wrapped(aggregator_label(row), side), fontsize=NORMAL, pad=3)
            _names(ax, names, source=j == 0, target=place + across >= len(panels), upright=upright)
        tall = down * (side + 0.25) - 0.25
        bar = style.place(made, left + across * (side + gap) - gap + 0.12, height - top - 0.25 - tall, 0.12, tall)
        style.colour_bar(made, bar, norm, cmap, f"{label} (%)")
        words(made, heading, caption)
    return made


def _caption(shown: MetricColumn) -> str:
    if shown.clean is None:
        return "Mean over seeds, in %, after the last round: the clean twin's less the attacked cell's, same seed."
    return "Mean over seeds, in %, after the last round: source examples that are taken for the target."


def _panel(ax: Axes, matrix: Matrix, norm: Normalize, cmap: Colormap, side: float, why: str | None) -> None:
    size = len(matrix)
    style.mesh(ax, matrix, norm, cmap, gap=0.4)
    ax.set(xlim=(0, size), ylim=(size, 0))
    ax.spines[:].set_color("0.7")
    if why is not None:
        ax.add_patch(style.infeasible(0, 0, size, size))
        text = wrapped(f"infeasible: {why}", side - 0.5, SMALL)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 3}
        ax.text(size / 2, size / 2, text, ha="center", va="center", fontsize=SMALL, bbox=box)
        return
    roomy = side / size >= _SMALLEST
    for i, j in np.ndindex(size, size):
        value = matrix[i, j]
        if i != j and np.isnan(value):
            ax.add_patch(style.unknown(j, i))
        if i != j and roomy:
            text = "?" if np.isnan(value) else percent(round(float(value), 2) + 0.0)
            colour = "black" if np.isnan(value) else style.ink(float(value), norm, cmap)
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=SMALL, color=colour)


def _names(ax: Axes, names: Sequence[str], *, source: bool, target: bool, upright: bool) -> None:
    """Names on the outer edges only."""
    middles = [i + 0.5 for i in range(len(names))]
    ax.tick_params(length=0, pad=2)
    ax.set_yticks(middles, names if source else [""] * len(names), fontsize=SMALL)
    ax.set_xticks(middles, names if target else [""] * len(names), fontsize=SMALL, rotation=90 if upright else 0)
    ax.set_ylabel("source class" if source else "", labelpad=2)
    ax.set_xlabel("target class" if target else "", labelpad=2)
