"""Heatmap of every attack against every rule: attacks down, the clean twins on top, the worst case last."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flipbench.analysis.columns import WORST
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.worst_case import Place
from flipbench.report.figures import captions, style
from flipbench.report.figures.heatmap import draw_squares, square_width
from flipbench.report.figures.layout import COLUMN, Bar, Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL, middles
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label

_ROW, _SQUARE, _WIDEST = 0.285, 0.42, 0.85  # inches: of a row; of the narrowest and the widest column
_NAMES = 1.75  # inches, the widest name of an attack or, upright, of a rule


def draw(page: Page, table: pd.DataFrame, metric: MetricColumn, place: Place, norm: Normalize) -> Figure:
    """One metric at one place; ``table``: of `analysis.worst_case.overview`, not empty."""
    columns, attacks = len(page.rows), list(dict.fromkeys(table["attack"]))
    names = [wrapped(attack_name(page, attack), _NAMES, SMALL) for attack in attacks]
    bar = Bar(norm, style.colours(metric.higher_is_better, norm), metric.heading)
    with style.style():
        row = max(_ROW, *(0.115 * (name.count("\n") + 1) + 0.03 for name in names))
        rows = grid(1, 1, row * len(names))
        square = square_width(table.to_dict("records"), _SQUARE)
        sheet = Sheet(rows, panel=(columns * square, columns * max(square, _WIDEST)), least=COLUMN, bar=bar)
        ax = sheet.panels[0].ax
        draw_squares(ax, table.to_dict("records"), columns, bar)
        _label(ax, page, attacks, names)
        title = captions.at_place(f"{metric.label} under every attack", page, place)
        last = " Last row: the worst mean above." if (table["attack"] == WORST).any() else ""
        caption = captions.of_squares(page, metric, table, names, last)
        return sheet.finish(title, captions.subtitle(page), caption, style.keys_of(set(table["state"])))


def _label(ax: Axes, page: Page, attacks: Sequence[str], names: Sequence[str]) -> None:
    """Names of aggregators on top and of attacks on the left; white lines beside the clean twins and the worst case."""
    rules = [wrapped(aggregator_label(rule), _NAMES, SMALL) for rule in page.rows]
    for i, attack in enumerate(attacks):
        if (attack == CLEAN and i + 1 < len(attacks)) or attack == WORST:
            ax.axhline(i + (attack == CLEAN), color="white", linewidth=4)
    ax.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set_xticks(middles(rules), rules, fontsize=SMALL, rotation=90)
    ax.set_yticks(middles(names), names, fontsize=SMALL)
    if attacks[-1] == WORST:
        ax.get_yticklabels()[-1].set_fontweight("bold")
