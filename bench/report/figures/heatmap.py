"""Heatmaps: aggregators down, attacks' facts across, the clean twins leftmost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from flipbench.analysis.attack_selection import attack_name, stamped_note
from flipbench.analysis.columns import Column, columns_of
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import several_f
from flipbench.analysis.worst_case import WORST
from flipbench.report.figures import style
from flipbench.report.figures.style import NORMAL, SMALL, WIDTH, width_of, wrapped
from flipbench.report.tables.model import half_width, header_of, number
from flipbench.spec.labels import ADAPTIVE, aggregator_label, dataset_label, value_label

_ROW, _LINE = 0.40, 0.17  # inches: of a square's height, of a line of labels
_SQUARE, _WIDEST = 0.44, 0.85  # inches: "100.0" with room on both sides; more is only white
_NAME = 0.8  # inches, of an attack's name in a square
_BAR = 0.75  # inches right of the squares, with one line of text along the bar


def heatmap(page: Page, table: pd.DataFrame, shown: MetricColumn, attack: str, norm: Normalize) -> Figure:
    """One attack, one measure: the mean over seeds in each square, half its interval below.

    Args:
        page: whose squares.
        table: of `analysis.pivot.squares`, of this attack; or of `analysis.worst_case.worst`, whose squares also
            name the attack.
        shown: the measure.
        attack: its reference, or `analysis.worst_case.WORST`.
        norm: the colour scale, shared by all heatmaps of the measure.
    """
    columns, names = columns_of(table), [aggregator_label(r) for r in page.rows]
    levels, header = header_of(page, columns, with_attack=False)
    cmap = style.colours(shown.higher_is_better, norm)
    with style.style():
        names = [wrapped(n, 1.7) for n in names]
        left = 0.25 + max(width_of(line) for n in [*names, *levels] for line in n.split("\n"))
        room = min(_NAME, max(_SQUARE, (WIDTH - left - _BAR) / len(columns)) - 0.08)
        named = _named(page, table, room) if attack == WORST else {}
        lines = 2 + max((text.count("\n") + 1 for text in named.values()), default=0)
        rows = [max(_ROW, 0.14 * (n.count("\n") + 1), 0.115 * lines + 0.06) for n in names]
        tall = len(rows) * max(rows)
        along = wrapped(f"{shown.label} (%)", tall + 0.3)  # the bar
        right = _BAR + 0.14 * along.count("\n")
        least = max([_SQUARE, *(width_of(line, SMALL) + 0.08 for t in named.values() for line in t.split("\n"))])
        square = max(least, min(_WIDEST, (WIDTH - left - right) / len(columns)))
        width = max(4.5, left + square * len(columns) + right)
        heading = style.headings(_title(shown, page, attack), circumstances(page), width)
        marked = any(ADAPTIVE in text for text in [*named.values(), attack_name(page, attack)])
        caption = wrapped(_caption(page, shown, table, marked), width - 0.2, SMALL)
        states = set(table["state"])
        keys = style.keys_of(states)
        top = 0.12 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        below = _LINE * len(levels) + 0.08
        foot = 0.1 + 0.13 * (caption.count("\n") + 1) + (0.18 if keys else 0)
        height = top + tall + below + foot
        made = style.figure(width, height)
        ax = style.place(made, left, foot + below, square * len(columns), tall)
        _squares(ax, page.rows, columns, table, norm, cmap, named)
        ax.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=NORMAL)
        _levels(ax, columns, levels, header, tall)
        bar = style.place(made, left + square * len(columns) + 0.1, foot + below, 0.12, tall)
        style.colour_bar(made, bar, norm, cmap, along)
        words(made, heading, caption)
        if keys:
            style.legend_at(made, keys, foot - 0.17)
    return made


def circumstances(page: Page) -> str:
    """Data set, model, federation, rounds and seeds: what a figure must say of its numbers."""
    facts = {**page.constant, **page.about}
    told = [dataset_label(str(facts["dataset"]))] if "dataset" in facts else []
    told += [value_label(f, facts[f]) for f in ("partition", "model") if f in facts]
    told += [f"{facts[f]} {f}" for f in ("clients", "rounds") if f in facts]
    told += (
        [f"{value_label('malicious_fraction', facts['malicious_fraction'])} malicious"]
        if "malicious_fraction" in facts
        else []
    )
    told += [f"flip rate {value_label('flip_rate', facts['flip_rate'])}"] if "flip_rate" in facts else []
    return ", ".join([*told, f"{page.seeds} seed{'s' * (page.seeds > 1)}"])


def _named(page: Page, table: pd.DataFrame, inches: float) -> dict[Any, str]:
    """The worst attack of each square, on lines of so many inches."""
    found = [(s["aggregator"], s["column"], s["worst"]) for s in table.to_dict("records") if s["worst"]]
    return {(r, c): wrapped(attack_name(page, a), inches, SMALL) for r, c, a in found}


def _title(shown: MetricColumn, page: Page, attack: str) -> str:
    if attack == WORST:
        return f"{shown.label}: worst case over the {len(page.attacks)} attacks"
    return f"{shown.label}: {attack_name(page, attack)}"


def _caption(page: Page, shown: MetricColumn, table: pd.DataFrame, adaptive: bool) -> str:
    told = "Mean over seeds and, below it, ± half width of its 95 % Student interval, in %, after the last round."
    if (table["n"] <= 1).all():
        told = "One seed, in %, after the last round."
    if any(c.clean for c in columns_of(table)):
        told += clean_caption(table)
    elif shown.clean is None:
        told += " Damage: clean twin minus attacked, same seed."
    if "worst" in table:
        told += " Below: the attack of the grid with the least mean, whose interval it is."
    if note := stamped_note(page, shown, [c.attack for c in columns_of(table)]):
        told += f" {note[0].upper()}{note[1:]}."
    told += f" {ADAPTIVE}: knows the rule it faces." if adaptive else ""
    partly = (table["n"] > 0) & (table["n"] < table["planned"])
    return f"{told} n: seeds, where some are not done." if partly.any() else told


def clean_caption(table: pd.DataFrame) -> str:
    """What the clean squares of a table are."""
    if several := several_f(table):
        return (
            f" clean: without the attack, mean over the declared f of the clean twins ({', '.join(map(str, several))})."
        )
    return " clean: without the attack, the rule told the same f."


def words(made: Figure, heading: Sequence[str], caption: str) -> None:
    """Title and circumstances on top, the caption at the bottom, from the left edge."""
    width, height = made.get_size_inches()
    at = height - 0.06
    for size, weight, text in zip((NORMAL + 1, NORMAL), ("bold", "normal"), heading, strict=True):
        made.text(0.1 / width, at / height, text, fontsize=size, fontweight=weight, va="top")
        at -= 0.17 * (text.count("\n") + 1)
    made.text(0.1 / width, 0.05 / height, caption, fontsize=SMALL, va="bottom")


def _squares(
    ax: Axes,
    rows: Sequence[str],
    columns: Sequence[Column],
    table: pd.DataFrame,
    norm: Normalize,
    cmap: Colormap,
    named: Mapping[Any, str],
) -> None:
    """The mesh, a text in every square, hatches and marks; row 0 on top."""
    values = table["mean"].to_numpy(dtype=float).reshape(len(rows), len(columns))
    style.mesh(ax, values, norm, cmap, gap=0.8)
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for place, square in enumerate(table.to_dict("records")):
        i, j = divmod(place, len(columns))
        draw_square(ax, i, j, square, norm, cmap, named.get((square["aggregator"], square["column"])))
    for j in range(1, len(columns)):  # the clean twins stand apart, then the groups of the outer level
        before, here = columns[j - 1], columns[j]
        if before.clean or here.clean or before.level[:1] != here.level[:1]:
            ax.axvline(j, color="white", linewidth=4 if before.clean or here.clean else 2)


def draw_square(
    ax: Axes, i: int, j: int, square: Mapping[Any, Any], norm: Normalize, cmap: Colormap, more: str | None = None
) -> None:
    """The text or the mark of the square in row i (from the top) and column j: mean, half its interval, ``more``."""
    state = square["state"]
    if state == "infeasible":
        ax.add_patch(style.infeasible(j, i))
    elif state == "done":
        lines = [number(square["mean"])]
        lines += [f"±{half_width(square)}"] if square["n"] > 1 else []
        lines += [f"n={square['n']}"] if square["n"] < square["planned"] else []
        lines += [more] if more else []
        look: dict[str, Any] = {"color": style.ink(square["mean"], norm, cmap), "linespacing": 1.05}
        ax.text(j + 0.5, i + 0.5, "\n".join(lines), ha="center", va="center", fontsize=SMALL, **look)
    elif state != "absent":
        ax.add_patch(style.unknown(j, i))
        ax.text(j + 0.5, i + 0.5, "n/a" if state == "undefined" else "?", ha="center", va="center", fontsize=NORMAL)


def _levels(
    ax: Axes, columns: Sequence[Column], levels: Sequence[str], header: Sequence[Sequence[str]], tall: float
) -> None:
    """Grouped labels below the squares, the innermost level nearest, each level's name left of its line."""
    line = _LINE / tall  # of the axes' height
    paths = list(zip(*header, strict=True))
    for depth, name in enumerate(reversed(levels)):
        y = -0.05 / tall - line * (depth + 0.5)
        at, inner = 0, len(levels) - depth
        for path, same in groupby(path[:inner] for path in paths):
            count = len(list(same))
            ax.text(
                at + count / 2,
                y,
                path[-1],
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="center",
                fontsize=SMALL,
            )
            if count > 1 and path[-1]:
                ax.plot(
                    [at + 0.12, at + count - 0.12],
                    [y + line / 2] * 2,
                    transform=ax.get_xaxis_transform(),
                    color="0.5",
                    linewidth=0.6,
                    clip_on=False,
                )
            at += count
        ax.annotate(
            name,
            (0, y),
            (-3.5, 0),
            ("axes fraction", "axes fraction"),
            "offset points",
            ha="right",
            va="center",
            fontsize=SMALL,
            style="italic",
            annotation_clip=False,
        )
