"""What each attack costs each rule: damage with its interval, paired with the clean twin; a panel a place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import columns_of
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.worst_case import Place
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, words
from flipbench.report.figures.style import SMALL, width_of, wrapped
from flipbench.report.tables.attacks import place_label
from flipbench.spec.labels import ADAPTIVE, aggregator_label

MOST_BARS = 80  # attacks x rules of one figure; more are unreadable, and the heatmaps have them
_BAR, _SPACE = 0.085, 0.12  # inches: height of a bar, space between attacks
_WIDE, _LONGEST = 3.3, 1.1  # inches: one column of a two-column page; the widest name of an attack
_HATCHES = ("", "////", "....")  # when colours start again


def draw(page: Page, table: pd.DataFrame, shown: MetricColumn, place: Place) -> Figure:
    """Attacks down, a bar a rule; whiskers: the 95 % interval.

    Args:
        page: whose rules.
        table: of `analysis.pivot.squares`, of a damage, at one place.
        shown: the damage.
        place: settings and levels, for the heading.
    """
    columns, rules = columns_of(table), list(page.rows)
    at = {(s["aggregator"], s["column"]): s for s in table.to_dict("records")}
    with style.style():
        names = [wrapped(attack_name(page, c.attack), _LONGEST, SMALL) for c in columns]
        left = 0.25 + max(width_of(line, SMALL) for n in names for line in n.split("\n"))
        told = ", ".join(place_label(page, place))
        heading = style.headings(f"{shown.label} by attack{f': {told}' if told else ''}", circumstances(page), _WIDE)
        caption = "Clean twin minus attacked, same seed, after the last round: mean over seeds"
        caption += "; whiskers: its 95 % Student interval, cut at the edge." if (table["n"] > 1).any() else "."
        caption += f" {ADAPTIVE}: knows the rule it faces." if any(ADAPTIVE in n for n in names) else ""
        caption = wrapped(f"{caption} No bar: infeasible, or no number.", _WIDE - 0.2, SMALL)
        keys = [Patch(label=wrapped(aggregator_label(r), _WIDE - 0.7, SMALL), **_look(i)) for i, r in enumerate(rules)]
        labels = [str(k.get_label()) for k in keys]
        widest = max(width_of(line, SMALL) for label in labels for line in label.split("\n")) + 0.45
        across = max(1, min(4, len(keys), int((_WIDE - 0.2) / widest)))
        group = max(_BAR * len(rules), 0.13 * max(n.count("\n") + 1 for n in names)) + _SPACE
        top = 0.15 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        foot = 0.14 + 0.13 * (caption.count("\n") + 1) + style.legend_height(keys, across)
        tall = group * len(columns)
        made = style.figure(_WIDE, top + tall + 0.4 + foot)
        ax = style.place(made, left, foot + 0.4, _WIDE - left - 0.15, tall)
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
                if square["n"] > 1:
                    ends = np.clip([square["low"], square["high"]], low - air, high + air)
                    # Dark on a light edge: to be seen on a bar of any colour, and beside it.
                    ax.plot(ends, [y, y], color="white", linewidth=2.0, solid_capstyle="butt")
                    ax.plot(ends, [y, y], color="black", linewidth=0.7, solid_capstyle="butt")
            if j:
                ax.axhline(j * group, color="0.85", linewidth=0.5)
        ax.set(xlim=(low - air, high + air), ylim=(tall, 0))
        ax.set_yticks([(j + 0.5) * group for j in range(len(columns))], names, fontsize=SMALL)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.tick_params(left=False)
        ax.grid(axis="x", color="0.9", linewidth=0.5)
        ax.set_axisbelow(True)
        ax.xaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}")
        ax.set_xlabel(f"{shown.label[0].lower()}{shown.label[1:]} (%)", fontsize=SMALL, labelpad=1)
        words(made, heading, caption)
        y = (0.07 + 0.13 * (caption.count("\n") + 1)) / made.get_size_inches()[1]
        made.legend(handles=keys, loc="lower left", bbox_to_anchor=(0.1 / _WIDE, y), ncols=across, frameon=False,
                    borderaxespad=0, borderpad=0.1)  # fmt: skip
    return made


def _look(place: int) -> dict[str, Any]:
    turn, colour = divmod(place, len(style.COLOURS))
    return {
        "facecolor": style.COLOURS[colour],
        "edgecolor": "white",
        "linewidth": 0,
        "hatch": _HATCHES[turn % len(_HATCHES)],
    }
