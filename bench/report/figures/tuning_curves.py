"""Curves of the score that a rule reaches in the trials against each tuned field: what was chosen, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flipbench.analysis.metrics import METRICS
from flipbench.analysis.settings.choice import MAXIMIN, Decision
from flipbench.report.figures import style
from flipbench.report.figures.accuracy_curves import keys_of, limits, look
from flipbench.report.figures.layout import Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL
from flipbench.report.tables.tuned_settings import listed, name_of, value_of
from flipbench.spec.labels import labelled

_HIGH, _ACROSS = 1.9, 2  # inches, of a panel; panels side by side
_SPREAD = 0.4  # of the distance between two values, over which the rules' points are spread


def draw(lines: pd.DataFrame, setting: Sequence[tuple[str, Any]], decision: Decision) -> Figure:
    """A panel a tuned field, its candidates to the right, a line a rule; rings: what was chosen.

    Args:
        lines: of `analysis.settings.choice.curves`, of one setting.
        setting: the fields that tell it from others, with their values.
        decision: one of the grid's, which all were made alike.
    """
    fields, rules = list(dict.fromkeys(lines["field"])), list(dict.fromkeys(lines["aggregator"]))
    metric = METRICS[decision.metric].label
    with style.style():
        sheet = Sheet(grid(len(fields), min(_ACROSS, len(fields)), _HIGH))
        for (ax, leftmost, _), name in zip(sheet.panels, fields, strict=True):
            own = lines[lines["field"] == name]
            values = in_order(own["value"])
            draw_into(ax, rules, own, values)
            ax.set_ylim(*limits([*lines["score"]], 0.0, 1.0))
            ax.set_ylabel(f"{metric} (%)" if leftmost else "", fontsize=SMALL)
            ax.set_xticks(range(len(values)), [value_of(name, v) for v in values], fontsize=SMALL)
        wide = sheet.fit()[0]
        for (ax, *_), name in zip(sheet.panels, fields, strict=True):
            ax.set_xlabel(wrapped(name_of(name), wide, SMALL), fontsize=SMALL, labelpad=2)
        ring = Line2D([], [], linewidth=0, label="chosen", **_RING)
        subtitle = ", ".join(labelled([f for f, _ in setting], [v for _, v in setting]))
        title = f"Trials: {metric} on validation examples"
        return sheet.finish(title, subtitle, _caption(decision, len(fields)), [*keys_of(rules), ring])


_RING: dict[str, Any] = {"marker": "o", "markersize": 6, "fillstyle": "none", "color": "0.25", "markeredgewidth": 0.8}


def draw_into(ax: Axes, rules: Sequence[str], lines: pd.DataFrame, values: Sequence[Any]) -> None:
    """One field's lines in axes of the caller's; no labels, legend or limits of the score.

    Args:
        ax: the axes, places of values across, shares (0.5 for 50 %) up.
        rules: the aggregators in the order of their colours.
        lines: of one field.
        values: its candidates from left to right.
    """
    for place, rule in enumerate(rules):
        own = lines[lines["aggregator"] == rule]
        at = [values.index(v) for v in own["value"]]
        line = own.assign(at=at).sort_values("at")
        if line.empty:
            continue
        x = line["at"].to_numpy(dtype=float) + _SPREAD * ((place + 0.5) / len(rules) - 0.5)
        score = line["score"].to_numpy(dtype=float)
        bars = np.nan_to_num(np.stack([score - line["low"], line["high"] - score]).clip(min=0))
        shown = {"ecolor": look(place)["color"], "elinewidth": 0.6, "capsize": 1.2, "capthick": 0.6}
        ax.errorbar(x, score, bars, linewidth=1.0, label=rule, **look(place), **shown)
        chosen = line["chosen"].to_numpy(dtype=bool)
        ax.plot(x[chosen], score[chosen], linewidth=0, zorder=5, **_RING)
    ax.set_xlim(-0.5, len(values) - 0.5)
    style.percent_ticks(ax.yaxis)
    style.lines_behind(ax, "y")


def in_order(values: Any) -> list[Any]:
    """Numbers ascending; anything else in the order of the file."""
    every = list(dict.fromkeys(values))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in every)
    return sorted(every) if numbers else every


def _caption(decision: Decision, fields: int) -> str:
    score = "the least over the attacks of the mean over seeds"
    if decision.criterion != MAXIMIN:
        score = "the mean over attacks and seeds"
    text = f"Score: {score}, on examples that the clients hold out; seeds {listed(map(str, decision.seeds))}, which "
    text += "no reported number is of. Bars: 95 % Student interval"
    text += " of the mean under the worst attack." if decision.criterion == MAXIMIN else "."
    return text + (" At each value the best that the other fields allow." if fields > 1 else "")
