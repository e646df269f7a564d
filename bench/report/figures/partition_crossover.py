"""Accuracy against how the data is dealt to the clients: where one rule overtakes another as heterogeneity grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import Column
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import squares
from flipbench.analysis.worst_case import Place, places
from flipbench.errors import UserError
from flipbench.report.figures import style
from flipbench.report.figures.accuracy_curves import keys_of, look
from flipbench.report.figures.heatmap import circumstances, clean_caption, words
from flipbench.report.figures.style import SMALL, WIDTH, wrapped
from flipbench.report.tables.attacks import place_label
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import ADAPTIVE, printable, value_label
from flipbench.spec.reference import Reference, parse

_HIGH, _GAP = 1.7, 0.14  # inches: of a panel, between two
_ACROSS = 3
_SPREAD = 0.5  # of the distance between two partitions, over which the rules' points are spread

Group = tuple[Page, ...]  # pages that differ in their partition only


def groups(all_pages: Sequence[Page]) -> list[Group]:
    """Pages of one data set that differ in their partition only, in the order of the plan; iid first or last."""
    found: dict[Any, list[Page]] = {}
    for page in all_pages:
        if "partition" in page.about:
            others = tuple((f, v) for f, v in page.about.items() if f != "partition")
            found.setdefault((others, page.settings, page.levels), []).append(page)
    ordered = []
    for pages in found.values():
        if len(pages) > 1:
            first, middle = pages[:1], pages[1:]
            middle.sort(key=lambda p: p.about["partition"] == "iid")  # stable: the others keep their order
            ordered.append((*first, *middle))
    return ordered


def points(group: Group, tidy: pd.DataFrame, place: Place) -> pd.DataFrame:
    """Accuracy at one place of settings and levels.

    Returns:
        One row a panel (``attack``; the clean twins' ``none`` first), ``aggregator`` and ``partition`` (its number in
        the group): ``state, mean, sd, low, high, n`` as in `analysis.pivot.squares`.
    """
    parts = []
    for number, page in enumerate(group):
        among = [Column(attack, *place) for attack in page.attacks]
        table = squares(page, tidy, metric_column("accuracy"), page.attacks, among)
        here = table["column"].map(lambda c: c.setting == place[0] and (c.clean or c.level == place[1]))
        one = table[here]
        parts.append(one.assign(attack=one["column"].map(lambda c: c.attack), partition=number))
    return pd.concat(parts, ignore_index=True)


def all_places(group: Group) -> list[Place]:
    """The places of all pages of a group."""
    return list(dict.fromkeys(place for page in group for place in places(page)))


def draw(group: Group, table: pd.DataFrame, place: Place) -> Figure:
    """A panel an attack, the partitions to the right, a line a rule; bars: the 95 % interval.

    Args:
        group: of `groups`.
        table: of `points`, with at least one number.
        place: of settings and levels, for the heading.
    """
    page = group[0]
    attacks = list(dict.fromkeys(table["attack"]))
    rules = list(dict.fromkeys(r for p in group for r in p.rows))
    ticks, axis = tick_labels([str(p.about["partition"]) for p in group])
    across = 2 if len(attacks) == 4 else min(_ACROSS, len(attacks))
    down = -(-len(attacks) // across)
    with style.style():
        left = 0.55
        each = (WIDTH - left - 0.1 - _GAP * (across - 1)) / across
        ticks = [wrapped(t, each / len(ticks) - 0.04, SMALL) for t in ticks]
        titles = [wrapped(attack_name(page, a), each, SMALL) for a in attacks]
        keys = keys_of(rules)
        told = ", ".join(place_label(page, place))
        heading = style.headings(f"Accuracy by partition{f': {told}' if told else ''}", _circumstances(page), WIDTH)
        caption = wrapped(_caption(table, any(ADAPTIVE in t for t in titles)), WIDTH - 0.2, SMALL)
        key_columns = max(1, min(5, len(keys)))
        over = 0.08 + 0.12 * max(t.count("\n") + 1 for t in titles)
        below = 0.3 + 0.12 * max(t.count("\n") + 1 for t in ticks)
        top = 0.06 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        foot = 0.14 + 0.13 * (caption.count("\n") + 1) + style.legend_height(keys, key_columns)
        height = top + down * (_HIGH + over) + below + foot
        made = style.figure(WIDTH, height)
        ends = _limits(table)
        for number, (attack, title) in enumerate(zip(attacks, titles, strict=True)):
            i, j = divmod(number, across)
            ax = style.place(made, left + j * (each + _GAP), height - top - (i + 1) * (_HIGH + over), each, _HIGH)
            _panel(ax, rules, table[table["attack"] == attack], len(group))
            lowest = number + across >= len(attacks)
            ax.set_title(title, fontsize=SMALL, pad=3)
            ax.set_xticks(range(len(group)), ticks if lowest else [""] * len(ticks), fontsize=SMALL)
            ax.set_xlabel(axis if lowest else "", fontsize=SMALL, labelpad=2)
            ax.set_ylabel("accuracy (%)" if j == 0 else "", fontsize=SMALL)
            ax.set_ylim(*ends)
            ax.tick_params(left=j == 0, labelleft=j == 0)
            ax.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}")
        words(made, heading, caption)
        made.legend(
            handles=keys,
            loc="lower center",
            bbox_to_anchor=(0.5, (0.1 + 0.13 * (caption.count("\n") + 1)) / height),
            ncols=key_columns,
            frameon=False,
            borderaxespad=0,
            borderpad=0.1,
        )
    return made


def tick_labels(partitions: Sequence[str]) -> tuple[list[str], str]:
    """Short names of partitions and what their axis is called: 0.1, 1, iid under "dirichlet alpha"."""
    try:
        parsed = [parse(p) for p in partitions]
    except UserError:
        return [printable(p) for p in partitions], "partition"
    numbered = [p for p in parsed if p.options]
    names, options = {p.name for p in numbered}, {o for p in numbered for o in p.options}
    if len(names) == 1 and len(options) == 1 and len(numbered) > 1:
        option = next(iter(options))
        return [_short(p, option) for p in parsed], f"partition: {next(iter(names))}, {option}"
    return [value_label("partition", p) for p in partitions], "partition"


def _short(one: Reference, option: str) -> str:
    value = one.options.get(option)
    return one.name if value is None else f"{value:g}" if isinstance(value, int | float) else printable(str(value))


def _circumstances(page: Page) -> str:
    """Those of the page, less the partition."""
    told = circumstances(page)
    return told.replace(f"{value_label('partition', page.about['partition'])}, ", "", 1)


def _panel(ax: Axes, rules: Sequence[str], mine: pd.DataFrame, partitions: int) -> None:
    for place, rule in enumerate(rules):
        one = mine[(mine["aggregator"] == rule) & (mine["state"] == "done")].sort_values("partition")
        if one.empty:
            continue
        x = one["partition"].to_numpy(dtype=float) + _SPREAD * ((place + 0.5) / len(rules) - 0.5)
        mean = one["mean"].to_numpy(dtype=float)
        half = np.nan_to_num((one["high"] - one["low"]).to_numpy(dtype=float) / 2)
        own = look(place)
        bars = {"ecolor": own["color"], "elinewidth": 0.6, "capsize": 1.2, "capthick": 0.6}
        ax.errorbar(x, mean, half, linewidth=1.0, label=rule, **own, **bars)
    ax.set_xlim(-0.5, partitions - 0.5)
    ax.grid(axis="y", color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)
    for edge in range(1, partitions):
        ax.axvline(edge - 0.5, color="0.93", linewidth=0.5, zorder=0)


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """One range for all panels: the means, and the intervals as far as half the means' range beyond them."""
    low, high = float(table["mean"].min()), float(table["mean"].max())
    room = max(0.02, 0.5 * (high - low))
    least, most = float(table["low"].min()), float(table["high"].max())
    low = min(low - 0.01, max(low - room, least if least == least else low))
    high = max(high + 0.01, min(high + room, most if most == most else high))
    return max(0.0, low), min(1.02, high)


def _caption(table: pd.DataFrame, adaptive: bool) -> str:
    done = table[table["state"] == "done"]
    told = "Mean over seeds of the accuracy after the last round; bars: its 95 % Student interval (cut at the frame)."
    if (done["n"] <= 1).all():
        told = "Accuracy after the last round, one seed."
    if (table["attack"] == CLEAN).any():
        told += clean_caption(table)
    if (table["state"] == "infeasible").any():
        told += " A rule without a point is infeasible there."
    return told + (f" {ADAPTIVE}: knows the rule it faces." if adaptive else "")
