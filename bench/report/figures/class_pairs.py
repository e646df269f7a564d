"""Heatmaps of every source and target class: one L x L panel an aggregator, small multiples with one colour bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, single_pairs
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import COLUMN, Bar, Sheet, grid, widest, wrapped
from flipbench.report.figures.style import NORMAL, SMALL, middles
from flipbench.report.tables.model import number
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label, class_name

Matrix = NDArray[np.float64]  # (L, L), source down, target across
_SMALLEST = 0.2  # inches; a smaller square has no room for its number
_SHOWN = ("source examples that are taken for the target", "the clean twin's less the attacked cell's, same seed")
_ACROSS, _LEAST, _SIDE = 2, 0.6, 3.0  # panels side by side; inches, the smallest and the largest


def matrices(page: Page, tidy: pd.DataFrame, shown: MetricColumn) -> dict[str, Matrix]:
    """The mean over seeds for each aggregator, ``(L, L)``; NaN where there is no number."""
    pairs, size = single_pairs(page), len(page.classes)
    cells = tidy[tidy["key"].isin(page.cells["key"]) & tidy["attack"].isin(list(pairs))]
    found = {row: np.full((size, size), np.nan) for row in page.rows}
    means = cells.groupby(["aggregator", "attack"], sort=False, as_index=False)[shown.name].mean()
    for rule, attack, mean in means.itertuples(index=False):
        found[rule][pairs[attack]] = mean
    return found


def refused(page: Page) -> Mapping[str, str]:
    """Aggregators that are infeasible in every attacked cell, with the reason."""
    attacked = page.cells[page.cells["attack"] != CLEAN]
    each = attacked.groupby("aggregator", sort=False)
    return {str(r): str(c["reason"].iloc[0]) for r, c in each if (c["status"] == "infeasible").all()}


def draw(page: Page, panels: Mapping[str, Matrix], metric: MetricColumn, norm: Normalize) -> Figure:
    """Panels in a grid of two columns; class names as labels, diagonal blank; ``panels``: of `matrices`."""
    names = [class_name(i, page.classes) for i in range(len(page.classes))]
    why = refused(page)
    label = metric.label.replace(" damage", " lost") if metric.clean is None else metric.label
    bar = Bar(norm, style.colours(metric.higher_is_better, norm), f"{label} ({metric.unit})")
    with style.style():
        sheet = Sheet(grid(len(panels), _ACROSS), panel=(_LEAST, _SIDE), least=COLUMN, gap=0.25, bar=bar)
        for ax, leftmost, _ in sheet.panels:
            ax.set_yticks(middles(names), names if leftmost else [""] * len(names), fontsize=SMALL)
            ax.set_ylabel("source class" if leftmost else "", labelpad=2)
        side = sheet.fit()[0]
        sheet.set_height(side)
        upright = widest(names) > side / len(names) - 0.04  # then the names stand on end
        for (ax, _, lowest), (row, matrix) in zip(sheet.panels, panels.items(), strict=True):
            _draw_matrix(ax, matrix, bar, side, why.get(row))
            ax.set_title(wrapped(aggregator_label(row), side), fontsize=NORMAL, pad=3)
            ax.set_xticks(middles(names), names if lowest else [""] * len(names), fontsize=SMALL, rotation=90 * upright)
            ax.set_xlabel("target class" if lowest else "", labelpad=2)
            ax.tick_params(pad=2)
        holes = any(np.isnan(m[~np.eye(len(m), dtype=bool)]).any() for row, m in panels.items() if row not in why)
        over = "Mean over seeds" if page.seeds > 1 else "One seed"
        caption = f"{over}, in {metric.unit}, {page.headline.when}: {_SHOWN[metric.clean is None]}."
        caption += (" ?: failed or not run." if holes else "") + captions.of_cells(page, single_pairs(page))
        return sheet.finish(f"{label}: every source and target class", captions.subtitle(page), caption)


def _draw_matrix(ax: Axes, matrix: Matrix, bar: Bar, side: float, why: str | None) -> None:
    """One aggregator's squares, or the reason why it has none."""
    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "in_layout": False}
    size = len(matrix)
    style.mesh(ax, matrix, bar.norm, bar.cmap, gap=0.4)
    if why is not None:
        ax.add_patch(style.infeasible(0, 0, size, size))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 3}
        ax.text(size / 2, size / 2, wrapped(f"infeasible: {why}", side - 0.5, SMALL), bbox=box, **middle)
        return
    for i, j in np.ndindex(size, size):
        value = float(matrix[i, j])
        if i == j:
            continue
        if np.isnan(value):
            ax.add_patch(style.unknown(j, i))
        if side / size >= _SMALLEST:
            text = "?" if np.isnan(value) else number(value, 0)
            colour = "black" if np.isnan(value) else style.ink(value, bar.norm, bar.cmap)
            ax.text(j + 0.5, i + 0.5, text, color=colour, **middle)
