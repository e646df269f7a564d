"""Curves of accuracy against the partition of the data: where one rule overtakes another as heterogeneity grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flipbench.analysis.caveats import MARK
from flipbench.analysis.columns import Column
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.worst_case import Place, places
from flipbench.errors import UserError
from flipbench.report.figures import captions, style
from flipbench.report.figures.accuracy_curves import keys_of, look
from flipbench.report.figures.layout import Sheet, grid, wrapped
from flipbench.report.figures.style import SMALL
from flipbench.report.tables.model import by_rule
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.spec.cell import CLEAN
from flipbench.spec.distinct_texts import distinct, printable
from flipbench.spec.headline import LAST_ROUND
from flipbench.spec.labels import value_label
from flipbench.spec.reference import parse

_HIGH, _ACROSS = 1.7, 3  # inches, of a panel; panels side by side
_SPREAD = 0.5  # of the distance between two partitions, over which the rules' points are spread

Group = tuple[Page, ...]  # pages that differ in their partition only


def groups(all_pages: Sequence[Page]) -> list[Group]:
    """Pages of one data set that differ in their partition only, in the order of the plan; iid first or last."""
    found: dict[Any, list[Page]] = {}
    for page in all_pages:
        if "partition" in page.about:
            others = tuple((f, v) for f, v in page.about.items() if f != "partition")
            found.setdefault((others, page.settings, page.levels), []).append(page)
    # Sorting is stable: the others keep their order.
    alike = [p for p in found.values() if len(p) > 1]
    return [(p[0], *sorted(p[1:], key=lambda page: page.about["partition"] == "iid")) for p in alike]


def points(group: Sequence[Pivot], place: Place) -> pd.DataFrame:
    """Accuracy at one place of settings and levels.

    Returns:
        One row a panel (``attack``; the clean twins' ``none`` first), ``aggregator`` and ``partition`` (its number in
        the group): ``state, mean, sd, low, high, n`` as in `analysis.pivot.Pivot.squares`.
    """
    parts = []
    for number, pivot in enumerate(group):
        attacks = pivot.page.attacks
        table = pivot.squares(metric_column("accuracy"), attacks, [Column(attack, *place) for attack in attacks])
        here = table[table["column"].map(lambda c: c.setting == place[0] and (c.clean or c.level == place[1]))]
        parts.append(here.assign(attack=here["column"].map(lambda c: c.attack), partition=number))
    return pd.concat(parts, ignore_index=True)


def all_places(group: Group) -> list[Place]:
    """The places of all pages of a group."""
    return list(dict.fromkeys(place for page in group for place in places(page)))


def draw(group: Group, table: pd.DataFrame, place: Place) -> Figure:
    """A panel an attack, the partitions to the right, a line a rule; ``table``: of `points`, with at least a number."""
    page = group[0]
    attacks = list(dict.fromkeys(table["attack"]))
    names = [attack_name(page, attack) for attack in attacks]
    rules = list(dict.fromkeys(rule for p in group for rule in p.rows))
    ticks, axis = tick_labels([str(p.about["partition"]) for p in group])
    with style.style():
        sheet = Sheet(grid(len(attacks), 2 if len(attacks) == 4 else min(_ACROSS, len(attacks)), _HIGH))
        for (ax, leftmost, _), attack in zip(sheet.panels, attacks, strict=True):
            draw_into(ax, rules, table[table["attack"] == attack], len(group))
            ax.set_ylim(*_limits(table))
            ax.set_ylabel("accuracy (%)" if leftmost else "", fontsize=SMALL)
            ax.tick_params(left=leftmost, labelleft=leftmost)
            ax.set_xticks(range(len(group)), [""] * len(ticks))
        wide = sheet.fit()[0]
        ticks = [wrapped(tick, wide / len(ticks) - 0.04, SMALL) for tick in ticks]
        for (ax, _, lowest), name in zip(sheet.panels, names, strict=True):
            ax.set_title(wrapped(name, wide, SMALL), fontsize=SMALL, pad=3)
            ax.set_xticks(range(len(group)), ticks if lowest else [""] * len(ticks), fontsize=SMALL)
            ax.set_xlabel(axis if lowest else "", fontsize=SMALL, labelpad=2)
        title = captions.at_place("Accuracy by partition", page, place)
        partition = value_label("partition", page.about["partition"])
        subtitle = captions.subtitle(page).replace(f"{partition}, ", "", 1)
        return sheet.finish(title, subtitle, _caption(table, page) + captions.adaptive(names), keys_of(rules))


def draw_into(ax: Axes, rules: Sequence[str], points: pd.DataFrame, partitions: int) -> None:
    """One attack's lines in axes of the caller's; no labels, legend or limits of accuracy.

    Args:
        ax: the axes, partitions across, shares (0.5 for 50 %) up.
        rules: the aggregators in the order of their colours.
        points: of `points`, of a single attack.
        partitions: how many there are.
    """
    for place, rule in enumerate(rules):
        line = points[(points["aggregator"] == rule) & (points["state"] == "done")].sort_values("partition")
        if line.empty:
            continue
        x = line["partition"].to_numpy(dtype=float) + _SPREAD * ((place + 0.5) / len(rules) - 0.5)
        half = np.nan_to_num((line["high"] - line["low"]).to_numpy(dtype=float) / 2)
        own = look(place)
        bars = {"ecolor": own["color"], "elinewidth": 0.6, "capsize": 1.2, "capthick": 0.6}
        ax.errorbar(x, line["mean"].to_numpy(dtype=float), half, linewidth=1.0, label=rule, **own, **bars)
        for at, mean, caveat in zip(x, line["mean"], line["caveat"], strict=True):
            if caveat:
                place_of: dict[str, Any] = {"xytext": (2, 1), "textcoords": "offset points"}
                ax.annotate(MARK, (at, mean), fontsize=SMALL, in_layout=False, **place_of)
    ax.set_xlim(-0.5, partitions - 0.5)
    style.percent_ticks(ax.yaxis)
    style.lines_behind(ax, "y")
    for edge in range(1, partitions):
        ax.axvline(edge - 0.5, color="0.93", linewidth=0.5, zorder=0)


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
        values = [p.options.get(option, p.name) for p in parsed]
        short = distinct(values, lambda v: f"{v:g}" if isinstance(v, int | float) else printable(str(v)), repr)
        return [short[v] for v in values], f"partition: {next(iter(names))}, {option}"
    return [value_label("partition", p) for p in partitions], "partition"


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """One range for all panels: the means, and the intervals as far as half the means' range beyond them."""
    low, high = float(table["mean"].min()), float(table["mean"].max())
    room = max(0.02, 0.5 * (high - low))
    least, most = float(table["low"].min()), float(table["high"].max())
    low = min(low - 0.01, max(low - room, least if least == least else low))
    high = max(high + 0.01, min(high + room, most if most == most else high))
    return max(0.0, low), min(1.02, high)


def _caption(table: pd.DataFrame, page: Page) -> str:
    done = table[table["state"] == "done"]
    when = page.headline.when if page.headline == LAST_ROUND else f"({page.headline.said})"
    text = f"Mean over seeds of the accuracy {when}; bars: its 95 % interval (cut at the frame)."
    if (done["n"] <= 1).all():
        text = f"Accuracy {when}, one seed."
    if (table["attack"] == CLEAN).any():
        text += captions.clean_twins(table)
    if (table["state"] == "infeasible").any():
        text += " A rule without a point is infeasible there."
    return text + by_rule(page.by_row) + chosen_for(page) + captions.private(page) + captions.marked(table["caveat"])
