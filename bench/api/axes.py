"""Figures of the report in axes of the caller's own: which page, attack and panel they show, and their titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd

from flipbench.analysis import frame as frames
from flipbench.analysis.attack_selection import attack_name, showable
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, pages
from flipbench.analysis.pivot import Pivot
from flipbench.errors import UserError
from flipbench.plugins.definitions import kind_of
from flipbench.report.figures import accuracy_curves
from flipbench.report.figures import heatmap as heatmaps
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import field_label, value_label
from flipbench.spec.suggestions import near

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SQUARE, _ROW = 0.55, 0.42  # inches, of a square of a heatmap in axes that are made here
_NAMES, _BELOW = 1.6, 0.9  # inches left of the squares and below them


def heatmap(frame: pd.DataFrame, tidy: pd.DataFrame, metric: str, attack: str | None, ax: Axes | None) -> Axes:
    """One attack's heatmap; see `api.results.Results.heatmap`."""
    _check_axes(ax)
    with frames.labels_of(frame):
        page, column = _page(frame), metric_column(metric)
        known = showable(page, column)
        chosen = _attack(page, known, attack) if known or attack else None
        table = Pivot(page, tidy).squares(column, [chosen] if chosen else [])
        if table.empty:
            raise UserError(f"{column.label} is not defined for any attack of this grid")
        if ax is None:
            wide = _NAMES + _SQUARE * table["column"].nunique()
            ax = _new(wide, _BELOW + _ROW * len(page.rows))
        heatmaps.draw_into(ax, page, table, column)
        ax.set_title(_title(column.heading, page, chosen), fontsize="medium")
        return ax


def curves(frame: pd.DataFrame, attack: str | None, ax: Axes | None) -> Axes:
    """One attack's accuracy by round; see `api.results.Results.curves`."""
    _check_axes(ax)
    with frames.labels_of(frame):
        page = _page(frame)
        chosen = _attack(page, page.attacks, attack)
        lines = accuracy_curves.series(page, chosen)
        if lines.empty:
            raise UserError(f"no cell with the attack {chosen} is done")
        across, down = lines.iloc[0]["across"], lines.iloc[0]["down"]
        lines = lines[(lines["across"] == across) & (lines["down"] == down)]
        ax = _new(6.0, 3.6) if ax is None else ax
        accuracy_curves.draw_into(ax, page.rows, lines, accuracy_curves.band(lines)[:2])
        ax.set(xlabel="round", ylabel="accuracy")
        ax.set_title(_title("Test accuracy", page, chosen, malicious_fraction=across), fontsize="medium")
        drawn = set(lines["aggregator"])
        keys = [k for rule, k in zip(page.rows, accuracy_curves.keys_of(page.rows), strict=True) if rule in drawn]
        ax.legend(handles=[*keys, accuracy_curves.dashed("clean twin")], fontsize="x-small", frameon=False)
        return ax


def _page(frame: pd.DataFrame) -> Page:
    found = pages(frame)
    if not found:
        raise UserError("none of the cells has been run yet")
    return found[0]


def _attack(page: Page, known: Any, attack: str | None) -> str:
    if attack is None:
        if not known:
            raise UserError("the grid has no attack")
        return str(known[0])
    names = {attack_name(page, a): a for a in known} | {a: a for a in known}
    if attack not in names:
        listed = ", ".join(known)
        raise UserError(f"there is no attack {attack!r}{near(attack, names)} to show here; there are {listed}")
    return str(names[attack])


def _title(label: str, page: Page, attack: str | None, **more: Any) -> str:
    """The shown part of the grid: the attack, and of several data sets or partitions which one."""
    about = {**page.about, **more}
    parts = [label, *([attack_name(page, attack)] if attack and attack != CLEAN else [])]
    parts += [f"{field_label(name)} {value_label(name, value)}" for name, value in about.items()]
    return ", ".join(parts)


def _check_axes(ax: Any) -> None:
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise UserError(f"ax is one matplotlib Axes, as of plt.subplots(), or None; got {kind_of(ax)}")


def _new(width: float, height: float) -> Axes:
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    del figure
    return ax
