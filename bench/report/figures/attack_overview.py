"""Heatmap of every attack against every rule: attacks down, the clean twins on top, the worst case last."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import WORST
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.worst_case import Place
from flipbench.report.figures import captions, style
from flipbench.report.figures.heatmap import draw_square
from flipbench.report.figures.layout import Bar, Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label

_ROW, _SQUARE, _WIDEST = 0.285, 0.42, 0.85  # inches: of a row; of the narrowest and the widest column
_NAMES = 1.75  # inches, the widest name of an attack or, upright, of a rule


def draw(page: Page, table: pd.DataFrame, metric: MetricColumn, place: Place, norm: Normalize) -> Figure:
    """One metric at one place.

    Args:
        page: whose aggregators.
        table: of `analysis.worst_case.overview`, not empty.
        metric: what is shown.
        place: settings and levels, for the title.
        norm: the colour scale, shared by all heatmaps of the metric.
    """
    columns, names = len(page.rows), _names(page, table)
    bar = Bar(norm, style.colours(metric.higher_is_better, norm), f"{metric.label} (%)")
    with style.style():
        row = max(_ROW, *(0.115 * (name.count("\n") + 1) + 0.03 for name in names))
        rows = grid(1, 1, row * len(names))
        sheet = Sheet(rows, panel=(columns * _SQUARE, columns * _WIDEST), least=4.5, bar=bar)
        _squares(sheet.panels[0].ax, page, table, bar)
        title = captions.at_place(f"{metric.label} under every attack", page, place)
        last = " Last row: the worst mean above." if (table["attack"] == WORST).any() else ""
        caption = captions.of_squares(page, metric, table, names, last)
        return sheet.finish(title, captions.subtitle(page), caption, style.keys_of(set(table["state"])))


def _names(page: Page, table: pd.DataFrame) -> list[str]:
    return [wrapped(attack_name(page, attack), _NAMES, SMALL) for attack in dict.fromkeys(table["attack"])]


def _squares(ax: Axes, page: Page, table: pd.DataFrame, bar: Bar) -> None:
    """The squares and labels."""
    attacks, names = list(dict.fromkeys(table["attack"])), _names(page, table)
    rules = [wrapped(aggregator_label(rule), _NAMES, SMALL) for rule in page.rows]
    values = table["mean"].to_numpy(dtype=float).reshape(len(attacks), len(rules))
    style.mesh(ax, values, bar.norm, bar.cmap, gap=0.8)
    for at, square in enumerate(table.to_dict("records")):
        draw_square(ax, *divmod(at, len(rules)), square, bar)
    for i, attack in enumerate(attacks):  # the clean twins and the worst case stand apart
        if (attack == CLEAN and i + 1 < len(attacks)) or attack == WORST:
            ax.axhline(i + (attack == CLEAN), color="white", linewidth=4)
    ax.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set_xticks([j + 0.5 for j in range(len(rules))], rules, fontsize=SMALL, rotation=90)
    ax.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=SMALL)
    for label, attack in zip(ax.get_yticklabels(), attacks, strict=True):
        label.set_fontweight("bold" if attack == WORST else "normal")
