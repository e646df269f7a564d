"""Heatmap of one attack and metric: aggregators down, the attack's settings across, the clean twins leftmost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import WORST, columns_of
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import Bar, Sheet, grid, widest, wrapped
from flipbench.report.figures.style import NORMAL, SMALL
from flipbench.report.tables.model import half_width, header_of, number
from flipbench.spec.labels import aggregator_label

_ROW, _LINE = 0.40, 0.17  # inches: the least height of a square, the height of a line of column labels
_SQUARE, _WIDEST = 0.44, 0.85  # inches: "100.0" with room on both sides; more is only white
_ATTACK, _AGGREGATOR = 0.8, 1.7  # inches: the widest line of an attack's name in a square, of a row's name


def draw(page: Page, table: pd.DataFrame, metric: MetricColumn, attack: str, norm: Normalize) -> Figure:
    """One attack, one metric: the mean over seeds in each square, half its interval below.

    Args:
        page: whose squares.
        table: of `analysis.pivot.Pivot.squares`, of this attack; or of `analysis.worst_case.worst`, whose squares also
            name the attack.
        metric: what is shown.
        attack: its reference, or `analysis.columns.WORST`.
        norm: the colour scale, shared by all heatmaps of the metric.
    """
    columns = len(columns_of(table))
    bar = Bar(norm, style.colours(metric.higher_is_better, norm), f"{metric.label} (%)")
    with style.style():
        sheet = Sheet(grid(1, 1), panel=(columns * _SQUARE, columns * _WIDEST), least=4.5, bar=bar)
        ax = sheet.panels[0].ax
        labels = _labels(ax, page, table)
        worst = _worst_attacks(page, table, min(_ATTACK, sheet.fit()[0] / columns - 0.08)) if attack == WORST else {}
        square = max(_SQUARE, widest(worst.values()) + 0.08)
        sheet.panel_width = (columns * square, columns * max(square, _WIDEST))
        lines = 2 + max((name.count("\n") + 1 for name in worst.values()), default=0)
        row = max(_ROW, 0.115 * lines + 0.06, *(0.14 * (label.count("\n") + 1) for label in labels))
        sheet.set_height(len(labels) * row)
        _squares(ax, page, table, bar, worst)
        title = f"worst case over the {len(page.attacks)} attacks" if attack == WORST else attack_name(page, attack)
        below = " Below: the attack of the grid with the least mean, whose interval it is." if "worst" in table else ""
        caption = captions.of_squares(page, metric, table, [*worst.values(), attack_name(page, attack)], below)
        keys = style.keys_of(set(table["state"]))
        return sheet.finish(f"{metric.label}: {title}", captions.subtitle(page), caption, keys)


def draw_into(
    ax: Axes, page: Page, table: pd.DataFrame, metric: MetricColumn, norm: Normalize | None = None
) -> QuadMesh:
    """The squares and labels of a heatmap in axes of the caller's; no title, caption or colour bar.

    Text is 7 and 8 points whatever the size of the axes: a square needs 0.44 inches across and 0.4 down, the labels of
    columns 0.17 inches a line below the axes.

    Args:
        ax: empty axes; their limits, ticks and spines are set.
        page: whose squares.
        table: of `analysis.pivot.Pivot.squares` for one attack, or of `analysis.worst_case.worst`.
        metric: what is shown.
        norm: the colour scale; None: from the numbers of this table.

    Returns:
        The coloured squares, for ``figure.colorbar(drawn, ax=ax)``. Values are shares, 0.5 for 50 %.
    """
    harm = not metric.higher_is_better
    norm = norm or style.scale(table["mean"].tolist(), harm=harm, gains=True)
    with style.style():
        _labels(ax, page, table)
        bar = Bar(norm, style.colours(metric.higher_is_better, norm), metric.label)
        return _squares(ax, page, table, bar, _worst_attacks(page, table, _ATTACK))


def _worst_attacks(page: Page, table: pd.DataFrame, inches: float) -> dict[Any, str]:
    """(aggregator, column) -> the worst attack there, in lines of so many inches; empty for a table of one attack."""
    if "worst" not in table:
        return {}
    squares = zip(table["aggregator"], table["column"], table["worst"], strict=True)
    return {(row, column): wrapped(attack_name(page, worst), inches, SMALL) for row, column, worst in squares if worst}


def _labels(ax: Axes, page: Page, table: pd.DataFrame) -> list[str]:
    """Names of aggregators and labels of columns; the names."""
    names = [wrapped(aggregator_label(row), _AGGREGATOR) for row in page.rows]
    ax.set(xlim=(0, len(columns_of(table))), ylim=(len(names), 0), xticks=[])
    ax.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=NORMAL)
    levels, header = header_of(page, columns_of(table), with_attack=False)
    _levels(ax, levels, list(zip(*header, strict=True)))
    return names


def _squares(ax: Axes, page: Page, table: pd.DataFrame, bar: Bar, worst: Mapping[Any, str]) -> QuadMesh:
    """The mesh, a text in every square, hatches and marks; row 0 on top."""
    columns = columns_of(table)
    drawn = style.mesh(
        ax, table["mean"].to_numpy(dtype=float).reshape(len(page.rows), len(columns)), bar.norm, bar.cmap, 0.8
    )
    for place, square in enumerate(table.to_dict("records")):
        draw_square(ax, *divmod(place, len(columns)), square, bar, worst.get((square["aggregator"], square["column"])))
    for j, (before, here) in enumerate(pairwise(columns), 1):  # clean twins stand apart, then groups of the outer level
        if before.clean or here.clean or before.level[:1] != here.level[:1]:
            ax.axvline(j, color="white", linewidth=4 if before.clean or here.clean else 2)
    return drawn


def draw_square(ax: Axes, i: int, j: int, square: Mapping[Any, Any], bar: Bar, more: str | None = None) -> None:
    """The text or the mark of the square in row i (from the top) and column j: mean, half its interval, ``more``."""
    middle: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}
    state = square["state"]
    if state == "infeasible":
        ax.add_patch(style.infeasible(j, i))
    elif state == "done":
        lines = [number(square["mean"])]
        lines += [f"±{half_width(square)}"] if square["n"] > 1 else []
        lines += [f"n={square['n']}"] if square["n"] < square["planned"] else []
        lines += [more] if more else []
        colour = style.ink(square["mean"], bar.norm, bar.cmap)
        ax.text(j + 0.5, i + 0.5, "\n".join(lines), fontsize=SMALL, linespacing=1.05, color=colour, **middle)
    elif state != "absent":
        ax.add_patch(style.unknown(j, i))
        ax.text(j + 0.5, i + 0.5, "n/a" if state == "undefined" else "?", fontsize=NORMAL, **middle)


def _levels(ax: Axes, names: Sequence[str], paths: Sequence[tuple[str, ...]]) -> None:
    """Grouped labels below the squares, the innermost level nearest, each level's name left of its line.

    Args:
        ax: the axes.
        names: of the levels, outermost first.
        paths: the labels of each column, one a level.
    """
    for depth, name in enumerate(reversed(names)):
        inner, y, at = len(names) - depth, 0.05 + _LINE * (depth + 0.5), 0
        for path, same in groupby(path[:inner] for path in paths):
            count = len(list(same))
            ax.text(at + count / 2, 0, path[-1], transform=_below(ax, y), ha="center", va="center", fontsize=SMALL)
            if count > 1 and path[-1]:
                line: dict[str, Any] = {"color": "0.5", "linewidth": 0.6, "clip_on": False}
                ax.plot([at + 0.12, at + count - 0.12], [0, 0], transform=_below(ax, y - _LINE / 2), **line)
            at += count
        ax.text(0, 0, name, transform=_below(ax, y, -0.05), ha="right", va="center", fontsize=SMALL, style="italic")


def _below(ax: Axes, inches: float, right: float = 0.0) -> Transform:
    """Columns across; down, so far below the axes."""
    return ax.get_xaxis_transform() + ScaledTranslation(right, -inches, ax.figure.dpi_scale_trans)
