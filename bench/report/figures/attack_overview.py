"""Every attack against every rule in one heatmap: attacks down, the clean twins on top, the worst case last."""

from __future__ import annotations

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flipbench.analysis.attack_selection import attack_name, stamped_note
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.worst_case import WORST, Place
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, clean_caption, draw_square, words
from flipbench.report.figures.style import SMALL, WIDTH, width_of, wrapped
from flipbench.report.tables.attacks import place_label
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import ADAPTIVE, aggregator_label

_ROW, _SQUARE, _WIDEST = 0.285, 0.42, 0.85  # inches: of a row; of the narrowest and the widest column
_NAMES = 1.75  # inches, the widest name of an attack or, upright, of a rule
_BAR = 0.75


def draw(page: Page, table: pd.DataFrame, shown: MetricColumn, place: Place, norm: Normalize) -> Figure:
    """One measure at one place.

    Args:
        page: whose aggregators.
        table: of `analysis.worst_case.overview`, not empty.
        shown: the measure.
        place: settings and levels, for the heading.
        norm: the colour scale, shared by all heatmaps of the measure.
    """
    attacks = list(dict.fromkeys(table["attack"]))
    cmap = style.colours(shown.higher_is_better, norm)
    with style.style():
        names = [wrapped(attack_name(page, a), _NAMES, SMALL) for a in attacks]
        rules = [wrapped(aggregator_label(r), _NAMES, SMALL) for r in page.rows]
        left = 0.2 + max(width_of(line, SMALL) for n in names for line in n.split("\n"))
        above = 0.1 + max(width_of(line, SMALL) for r in rules for line in r.split("\n"))
        row = max(_ROW, *(0.115 * (n.count("\n") + 1) + 0.03 for n in names))
        tall = row * len(attacks)
        along = wrapped(f"{shown.label} (%)", max(tall, 1.0) + 0.3)
        right = _BAR + 0.14 * along.count("\n")
        square = min(_WIDEST, max(_SQUARE, (WIDTH - left - right) / len(rules)))
        width = max(4.5, left + square * len(rules) + right)
        told = ", ".join(place_label(page, place))
        title = f"{shown.label} under every attack{f': {told}' if told else ''}"
        heading = style.headings(title, circumstances(page), width)
        caption = wrapped(_caption(page, shown, table, names), width - 0.2, SMALL)
        keys = style.keys_of(set(table["state"]))
        top = 0.12 + 0.17 * sum(h.count("\n") + 1 for h in heading) + above
        foot = 0.14 + 0.13 * (caption.count("\n") + 1) + (0.2 if keys else 0)
        made = style.figure(width, top + tall + foot)
        ax = style.place(made, left, foot, square * len(rules), tall)
        values = table["mean"].to_numpy(dtype=float).reshape(len(attacks), len(rules))
        style.mesh(ax, values, norm, cmap, gap=0.8)
        for at, one in enumerate(table.to_dict("records")):
            draw_square(ax, *divmod(at, len(rules)), one, norm, cmap)
        for i, attack in enumerate(attacks):  # the clean twins and the worst case stand apart
            if (attack == CLEAN and i + 1 < len(attacks)) or attack == WORST:
                ax.axhline(i + (attack == CLEAN), color="white", linewidth=4)
        ax.set(xlim=(0, len(rules)), ylim=(len(attacks), 0))
        ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        ax.spines[:].set_visible(False)
        ax.set_xticks([j + 0.5 for j in range(len(rules))], rules, fontsize=SMALL, rotation=90)
        ax.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=SMALL, rotation=0)
        for label, attack in zip(ax.get_yticklabels(), attacks, strict=True):
            label.set_fontweight("bold" if attack == WORST else "normal")
        bar = style.place(made, left + square * len(rules) + 0.1, foot, 0.12, tall)
        style.colour_bar(made, bar, norm, cmap, along)
        words(made, heading, caption)
        if keys:
            style.legend_at(made, keys, foot - 0.19)
    return made


def _caption(page: Page, shown: MetricColumn, table: pd.DataFrame, names: list[str]) -> str:
    told = "Mean over seeds and, below it, ± half width of its 95 % Student interval, in %, after the last round."
    if (table["n"] <= 1).all():
        told = "One seed, in %, after the last round."
    if (table["attack"] == CLEAN).any():
        told += clean_caption(table)
    elif shown.clean is None:
        told += " Damage: clean twin minus attacked, same seed."
    if (table["attack"] == WORST).any():
        told += " Last row: the worst mean above."
    if note := stamped_note(page, shown, table["attack"]):
        told += f" {note[0].upper()}{note[1:]}."
    if any(ADAPTIVE in name for name in names):
        told += f" {ADAPTIVE}: knows the rule it faces."
    partly = (table["n"] > 0) & (table["n"] < table["planned"])
    return f"{told} n: seeds, where some are not done." if partly.any() else told
