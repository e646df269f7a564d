"""Bars of what each attack costs each rule: damage with its interval, paired with the clean twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flipbench.analysis.caveats import MARK
from flipbench.analysis.columns import by_place, columns_of
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.worst_case import Place
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import COLUMN, Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL
from flipbench.report.tables.model import by_rule
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.spec.labels import aggregator_label

MOST_BARS = 80  # attacks x rules of one figure; more are unreadable, and the heatmaps have them
_BAR, _SPACE = 0.085, 0.12  # inches: height of a bar, space between attacks
_LONGEST = 1.1  # inches, the widest name of an attack
_HATCHES = ("", "////", "....")  # when colours start again


def draw(page: Page, table: pd.DataFrame, metric: MetricColumn, place: Place) -> Figure:
    """Attacks down, a bar a rule; ``table``: of `analysis.pivot.Pivot.squares`, of a damage, at one place."""
    attacks = [column.attack for column in columns_of(table)]
    with style.style():
        names = [wrapped(attack_name(page, attack), _LONGEST, SMALL) for attack in attacks]
        group = max(_BAR * len(page.rows), 0.13 * max(name.count("\n") + 1 for name in names)) + _SPACE
        sheet = Sheet(grid(1, 1, group * len(attacks)), width=COLUMN)
        ax = sheet.panels[0].ax
        _draw_bars(ax, page.rows, table, group)
        ax.set_yticks([(j + 0.5) * group for j in range(len(names))], names, fontsize=SMALL)
        ax.set_xlabel(f"{metric.heading[0].lower()}{metric.heading[1:]}", fontsize=SMALL, labelpad=1)
        several = "mean over seeds; whiskers: its 95 % interval, cut at the edge"
        caption = f"Clean twin minus attacked, same seed, {page.headline.when}: "
        caption += f"{several if (table['n'] > 1).any() else 'one seed'}."
        caption += (
            captions.adaptive(names)
            + " No bar: 0, infeasible, or no number."
            + by_rule(page.by_row)
            + chosen_for(page)
            + captions.private(page)
        )
        caption += captions.marked(table["caveat"])
        title = captions.at_place(f"{metric.label} by attack", page, place)
        labels = [wrapped(aggregator_label(rule), COLUMN - 0.7, SMALL) for rule in page.rows]
        keys = [Patch(label=label, **_look(i)) for i, label in enumerate(labels)]
        return sheet.finish(title, captions.subtitle(page), caption, keys, columns=4)


def _draw_bars(ax: Axes, rules: Sequence[str], table: pd.DataFrame, group: float) -> None:
    """Bars and whiskers; attacks are ``group`` inches apart."""
    columns = columns_of(table)
    at = by_place(table)
    means = table["mean"].dropna().to_numpy(dtype=float)
    low, high = min(0.0, float(means.min(initial=0.0))), max(0.05, float(means.max(initial=0.0)))
    air = 0.08 * (high - low)
    for j, column in enumerate(columns):
        for i, rule in enumerate(rules):
            square = at[rule, column]
            if square["state"] != "done":
                continue
            y = j * group + _SPACE / 2 + _BAR * (i + 0.5)
            ax.barh(y, square["mean"], 0.9 * _BAR, label=rule, **_look(i))
            if square["caveat"]:
                ax.text(max(square["mean"], 0.0), y, f" {MARK}", fontsize=SMALL, va="center", in_layout=False)
            if square["n"] > 1:
                ends = np.clip([square["low"], square["high"]], low - air, high + air)
                # Dark on a light edge: to be seen on a bar of any colour, and beside it.
                ax.plot(ends, [y, y], color="white", linewidth=2.0, solid_capstyle="butt")
                ax.plot(ends, [y, y], color="black", linewidth=0.7, solid_capstyle="butt")
        if j:
            ax.axhline(j * group, color="0.85", linewidth=0.5)
    ax.set(xlim=(low - air, high + air), ylim=(group * len(columns), 0))
    ax.axvline(0, color="black", linewidth=0.6)
    ax.tick_params(left=False)
    style.lines_behind(ax, "x")
    style.percent_ticks(ax.xaxis)


def _look(place: int) -> dict[str, Any]:
    """Colour and hatch of the rule in this place of the legend."""
    turn, colour = divmod(place, len(style.COLOURS))
    hatch = _HATCHES[turn % len(_HATCHES)]
    return {"facecolor": style.COLOURS[colour], "edgecolor": "white", "linewidth": 0, "hatch": hatch}
