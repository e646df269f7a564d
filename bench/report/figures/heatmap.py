"""Heatmap of one attack and metric: aggregators down, the attack's settings across, the clean twins leftmost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise, zip_longest
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from flipbench.analysis.caveats import MARK
from flipbench.analysis.columns import WORST, Column, columns_of
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, attack_name
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import COLUMN, Bar, Sheet, grid, widest, wrapped
from flipbench.report.figures.style import NORMAL, SMALL, middles
from flipbench.report.tables.model import half_width, header_of, lopsided, number
from flipbench.spec.labels import aggregator_label

_ROW = 0.40  # inches, the least height of a square
_LINE, _MORE, _ABOVE = 0.17, 0.115, 0.03  # inches: of a column's label, of its further lines, of the room above it
_SQUARE, _WIDEST = 0.44, 0.85  # inches: "100.0" with room on both sides; more is only white
_SHORT = 0.02  # of an interval: whole per cents would hide it
_ATTACK, _AGGREGATOR = 0.8, 1.7  # inches: the widest line of an attack's name in a square, of a row's name


def draw(page: Page, table: pd.DataFrame, metric: MetricColumn, attack: str, norm: Normalize) -> Figure:
    """One attack, one metric: the mean over seeds in each square, half its interval below.

    Args:
        page, metric, norm: as all figures (`report.figures`).
        table: of `analysis.pivot.Pivot.squares`, of this attack; or of `analysis.worst_case.worst`, whose squares also
            name the attack.
        attack: its reference, or `analysis.columns.WORST`.
    """
    columns = len(columns_of(table))
    bar = Bar(norm, style.colours(metric.higher_is_better, norm), metric.heading)
    with style.style():
        sheet = Sheet(grid(1, 1), panel=(columns * _SQUARE, columns * _WIDEST), least=COLUMN, bar=bar)
        ax = sheet.panels[0].ax
        labels = _labels(ax, page, table, lambda: sheet.fit()[0])
        worst = _worst_attacks(page, table, min(_ATTACK, sheet.fit()[0] / columns - 0.08)) if attack == WORST else {}
        square = max(square_width(table.to_dict("records"), _SQUARE), widest(worst.values()) + 0.08)
        sheet.panel_width = (columns * square, columns * max(square, _WIDEST))
        lines = 2 + max((name.count("\n") + 1 for name in worst.values()), default=0)
        row = max(_ROW, 0.115 * lines + 0.06, *(0.14 * (label.count("\n") + 1) for label in labels))
        sheet.set_height(len(labels) * row)
        _squares(ax, table, bar, worst)
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
    columns 0.17 inches a level below the axes; they are broken where the axes, as large as they are now, have no room.

    Args:
        ax: empty axes; their limits, ticks and spines are set.
        page, metric: as all figures.
        table: of `analysis.pivot.Pivot.squares` for one attack, or of `analysis.worst_case.worst`.
        norm: the colour scale; None: from the numbers of this table.

    Returns:
        The coloured squares, for ``figure.colorbar(drawn, ax=ax)``. Values are shares, 0.5 for 50 %.
    """
    harm = not metric.higher_is_better
    norm = norm or style.scale(table["mean"].tolist(), harm=harm, gains=True)
    with style.style():
        _labels(ax, page, table, lambda: float(ax.get_window_extent().width) / ax.figure.dpi)
        bar = Bar(norm, style.colours(metric.higher_is_better, norm), metric.label)
        return _squares(ax, table, bar, _worst_attacks(page, table, _ATTACK))


def _worst_attacks(page: Page, table: pd.DataFrame, inches: float) -> dict[Any, str]:
    """(aggregator, column) -> the worst attack there, in lines of so many inches; empty for a table of one attack."""
    if "worst" not in table:
        return {}
    squares = zip(table["aggregator"], table["column"], table["worst"], strict=True)
    return {(row, column): wrapped(attack_name(page, worst), inches, SMALL) for row, column, worst in squares if worst}


def _labels(ax: Axes, page: Page, table: pd.DataFrame, room: Callable[[], float]) -> list[str]:
    """Names of aggregators and labels of columns; the names.

    Args:
        ax, page, table: as `draw_into`.
        room: gives the inches from the first column to the last, when the names on the left are drawn.
    """
    names = [wrapped(aggregator_label(row), _AGGREGATOR) for row in page.rows]
    ax.set(xlim=(0, len(columns_of(table))), ylim=(len(names), 0), xticks=[])
    ax.set_yticks(middles(names), names, fontsize=NORMAL)
    _label_columns(ax, page, columns_of(table), room)
    return names


def _squares(ax: Axes, table: pd.DataFrame, bar: Bar, worst: Mapping[Any, str]) -> QuadMesh:
    """All squares; white lines between groups of columns."""
    columns, squares = columns_of(table), table.to_dict("records")
    drawn = draw_squares(ax, squares, len(columns), bar, [worst.get((s["aggregator"], s["column"])) for s in squares])
    for j, (before, here) in enumerate(pairwise(columns), 1):  # clean twins stand apart, then groups of the outer level
        if before.clean or here.clean or before.level[:1] != here.level[:1]:
            ax.axvline(j, color="white", linewidth=4 if before.clean or here.clean else 2)
    return drawn


def draw_squares(
    ax: Axes,
    squares: Sequence[Mapping[Any, Any]],
    across: int,
    bar: Bar,
    more: Sequence[str | None] = (),
    gap: float = 0.8,
) -> QuadMesh:
    """Coloured squares, row by row from the top, ``across`` in each, with texts or marks; ``more``: last lines."""
    means = np.array([s["mean"] for s in squares], dtype=float).reshape(-1, across)
    drawn = style.mesh(ax, means, bar.norm, bar.cmap, gap)
    for place, (square, line) in enumerate(zip_longest(squares, more)):
        _draw_square(ax, *divmod(place, across), square, bar, line)
    return drawn


def _draw_square(ax: Axes, i: int, j: int, square: Mapping[Any, Any], bar: Bar, more: str | None) -> None:
    """The text or the mark of the square in row i (from the top) and column j: mean, half its interval, ``more``."""
    middle: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}
    state = square["state"]
    if state == "infeasible":
        ax.add_patch(style.infeasible(j, i))
    elif state == "done":
        lines = [number(square["mean"]) + (MARK if square.get("caveat") else "")]
        lines += [_interval(square)] if square["n"] > 1 else []
        lines += [f"n={square['n']}"] if square["n"] < square["planned"] else []
        lines += [more] if more else []
        colour = style.ink(square["mean"], bar.norm, bar.cmap)
        ax.text(j + 0.5, i + 0.5, "\n".join(lines), fontsize=SMALL, linespacing=1.05, color=colour, **middle)
    elif state != "absent":
        ax.add_patch(style.unknown(j, i))
        ax.text(j + 0.5, i + 0.5, "n/a" if state == "undefined" else "?", fontsize=NORMAL, **middle)


def _interval(square: Mapping[Any, Any]) -> str:
    """Half the interval of a square; where its sides are not equally long both ends, for room in whole per cents, but
    for a short one."""
    if not lopsided(square):
        return f"±{half_width(square)}"
    decimals = int(square["high"] - square["low"] < _SHORT)
    return f"[{number(square['low'], decimals)},{number(square['high'], decimals)}]"


def square_width(squares: Sequence[Mapping[Any, Any]], least: float) -> float:
    """Inches that the numbers of some squares need, at least ``least``."""
    return max(least, widest(_interval(s) for s in squares if s["state"] == "done" and s["n"] > 1) + 0.06)


def _label_columns(ax: Axes, page: Page, columns: Sequence[Column], room: Callable[[], float]) -> None:
    """Grouped labels below the squares, the innermost level nearest, each level's name left of its line."""
    names, header = header_of(page, columns, with_attack=False)
    left: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": SMALL, "style": "italic"}
    named = [ax.text(0, 0, name, transform=_below(ax, 0, -0.05), **left) for name in names]
    square, paths, y = room() / len(columns), list(zip(*header, strict=True)), 0.05
    for level in reversed(range(len(names))):
        groups = [(path[-1], len(list(same))) for path, same in groupby(path[: level + 1] for path in paths)]
        texts = [wrapped(text, square * count - 0.04, SMALL) for text, count in groups]
        named[level].set_transform(_below(ax, y + _ABOVE, -0.05))
        at = 0
        for text, (_, count) in zip(texts, groups, strict=True):
            ax.text(at + count / 2, 0, text, transform=_below(ax, y + _ABOVE), ha="center", va="top", fontsize=SMALL)
            if count > 1 and text:
                line: dict[str, Any] = {"color": "0.5", "linewidth": 0.6, "clip_on": False}
                ax.plot([at + 0.12, at + count - 0.12], [0, 0], transform=_below(ax, y), **line)
            at += count
        y += _LINE + _MORE * max(text.count("\n") for text in texts)


def _below(ax: Axes, inches: float, right: float = 0.0) -> Transform:
    """Columns across; down, so far below the axes."""
    return ax.get_xaxis_transform() + ScaledTranslation(right, -inches, ax.figure.dpi_scale_trans)
