"""Heatmaps: aggregators down, attacks' facts across, the clean twins leftmost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from bench import canvas
from bench.arrangement import Column, Measure, Page, columns_of
from bench.blocks import header_of, number
from bench.canvas import NORMAL, SMALL, WIDTH, width_of, wrapped
from bench.labels import aggregator_label, attack_label, dataset_label, value_label

_ROW, _LINE = 0.40, 0.17  # inches: of a square's height, of a line of labels
_SQUARE, _WIDEST = 0.44, 0.85  # inches: "100.0" with room on both sides; more is only white
_BAR = 0.75  # inches right of the squares, with one line of text along the bar


def heatmap(page: Page, table: pd.DataFrame, shown: Measure, norm: Normalize, attack: str) -> Figure:
    """One attack, one measure: the mean over seeds in each square, its standard deviation below.

    Args:
        page: whose squares.
        table: of `bench.arrangement.squares`, of this attack.
        shown: the measure.
        norm: the colour scale, shared by all heatmaps of the measure.
        attack: its reference.
    """
    columns, names = columns_of(table), [aggregator_label(r) for r in page.rows]
    levels, header = header_of(page, columns, with_attack=False)
    cmap = canvas.colours(shown.higher_is_better)
    with canvas.style():
        names = [wrapped(n, 1.7) for n in names]
        left = 0.25 + max(width_of(line) for n in [*names, *levels] for line in n.split("\n"))
        rows = [max(_ROW, 0.14 * (n.count("\n") + 1)) for n in names]
        tall = len(rows) * max(rows)
        along = wrapped(f"{shown.label} (%)", tall + 0.3)  # the bar
        right = _BAR + 0.14 * along.count("\n")
        square = min(_WIDEST, max(_SQUARE, (WIDTH - left - right) / len(columns)))
        width = max(4.5, left + square * len(columns) + right)
        heading = [
            wrapped(_title(shown, page, attack), width - 0.2, NORMAL + 1),
            wrapped(circumstances(page), width - 0.2),
        ]
        caption = wrapped(_caption(shown, table), width - 0.2, SMALL)
        states = set(table["state"])
        keys = canvas.keys_of(states)
        top = 0.12 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        below = _LINE * len(levels) + 0.08
        foot = 0.1 + 0.13 * (caption.count("\n") + 1) + (0.18 if keys else 0)
        height = top + tall + below + foot
        made = canvas.figure(width, height)
        ax = canvas.place(made, left, foot + below, square * len(columns), tall)
        _squares(ax, page.rows, columns, table, norm, cmap)
        ax.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=NORMAL)
        _levels(ax, columns, levels, header, tall)
        bar = canvas.place(made, left + square * len(columns) + 0.1, foot + below, 0.12, tall)
        canvas.colour_bar(made, bar, norm, cmap, along)
        words(made, heading, caption)
        if keys:
            made.legend(
                handles=keys,
                loc="lower left",
                bbox_to_anchor=(0.1 / width, (foot - 0.17) / height),
                ncols=len(keys),
                frameon=False,
                borderaxespad=0,
                borderpad=0,
                handlelength=1.6,
            )
    return made


def circumstances(page: Page) -> str:
    """Data set, model, federation, rounds and seeds: what a picture must say of its numbers."""
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


def _title(shown: Measure, page: Page, attack: str) -> str:
    return f"{shown.label}: {attack_label(attack, page.classes)}"


def _caption(shown: Measure, table: pd.DataFrame) -> str:
    told = "Mean over seeds and, below it, ± standard deviation, in %, after the last round."
    if (table["n"] <= 1).all():
        told = "One seed, in %, after the last round."
    if any(c.clean for c in columns_of(table)):
        told += " clean: without the flip, the rule told the same f."
    elif shown.clean is None:
        told += " Damage: clean twin minus attacked, same seed."
    partly = (table["n"] > 0) & (table["n"] < table["planned"])
    return f"{told} n: seeds, where some are not done." if partly.any() else told


def words(made: Figure, heading: Sequence[str], caption: str) -> None:
    """Title and circumstances on top, the caption at the bottom, from the left edge."""
    width, height = made.get_size_inches()
    at = height - 0.06
    for size, weight, text in zip((NORMAL + 1, NORMAL), ("bold", "normal"), heading, strict=True):
        made.text(0.1 / width, at / height, text, fontsize=size, fontweight=weight, va="top")
        at -= 0.17 * (text.count("\n") + 1)
    made.text(0.1 / width, 0.05 / height, caption, fontsize=SMALL, va="bottom")


def _squares(
    ax: Axes, rows: Sequence[str], columns: Sequence[Column], table: pd.DataFrame, norm: Normalize, cmap: Colormap
) -> None:
    """The mesh, a text in every square, hatches and marks; row 0 on top."""
    values = table["mean"].to_numpy(dtype=float).reshape(len(rows), len(columns))
    canvas.mesh(ax, values, norm, cmap, gap=0.8)
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for place, square in enumerate(table.to_dict("records")):
        i, j = divmod(place, len(columns))
        state = square["state"]
        if state == "infeasible":
            ax.add_patch(canvas.infeasible(j, i))
        elif state == "done":
            lines = [number(square["mean"])]
            lines += [f"±{number(square['sd'])}"] if square["n"] > 1 else []
            lines += [f"n={square['n']}"] if square["n"] < square["planned"] else []
            colour = canvas.ink(square["mean"], norm, cmap)
            ax.text(
                j + 0.5,
                i + 0.5,
                "\n".join(lines),
                ha="center",
                va="center",
                fontsize=SMALL,
                color=colour,
                linespacing=1.05,
            )
        elif state != "absent":
            ax.add_patch(canvas.unknown(j, i))
            ax.text(j + 0.5, i + 0.5, "n/a" if state == "undefined" else "?", ha="center", va="center", fontsize=NORMAL)
    for j in range(1, len(columns)):  # the clean twins stand apart, then the groups of the outer level
        before, here = columns[j - 1], columns[j]
        if before.clean or here.clean or before.level[:1] != here.level[:1]:
            ax.axvline(j, color="white", linewidth=4 if before.clean or here.clean else 2)


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
