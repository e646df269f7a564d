"""Curves of accuracy per evaluated round, attacked and clean twin: means with bands, one panel a malicious fraction.

The band is the 95 % interval from five seeds on; with fewer, Student's factor makes it so wide (12.7 times the standard
error for two seeds) that it would hide the lines, so it is the range of the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flipbench.analysis.columns import level_values
from flipbench.analysis.comparisons import summarise
from flipbench.analysis.metrics import accuracy
from flipbench.analysis.pages import Page, attack_name
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import Sheet, grid, width_of, wrapped
from flipbench.report.figures.style import SMALL
from flipbench.spec.labels import aggregator_label, field_label, labelled, value_label

FACETS = "malicious_fraction"  # across; what else varies goes down
_HIGH = 1.35  # inches, of a panel
FEW = 5  # seeds; with fewer, bands are their range
DASHES = (0, (3, 2))
_MOST_ROWS = 6  # rows of panels; more do not fit on a page


def series(page: Page, attack: str) -> pd.DataFrame:
    """Accuracy at every evaluated round of an attack's cells and of their clean twins.

    Returns:
        One row an aggregator, panel, side (attacked or clean) and round: ``aggregator, across, down, side, round`` and
        mean, sd, n, low, high over seeds, ``least`` and ``most`` of them.
        ``across`` is the malicious fraction, ``down`` the other varying fields.
    """
    done = page.cells[page.cells["status"] == "done"]
    attacked = done[done["attack"] == attack]
    by_key = dict(zip(done["key"], zip(done["rounds_evaluated"], done["confusion"], strict=True), strict=True))
    rest = [f for f in (*page.settings, *page.levels) if f != FACETS]
    lines: list[tuple[Any, ...]] = []
    columns = (attacked[name] for name in ("aggregator", "seed", "key", "twin"))
    places = level_values(attacked, [FACETS]), level_values(attacked, rest)
    for (across,), down, rule, seed, *keys in zip(*places, *columns, strict=True):
        for side, key in zip(("attacked", "clean"), keys, strict=True):
            if key in by_key:
                rounds, counts = by_key[key]
                values = zip(rounds.tolist(), accuracy(counts).tolist(), strict=True)
                lines += [(rule, across, down, side, seed, r, share) for r, share in values]
    by = ["aggregator", "across", "down", "side"]
    each = pd.DataFrame(lines, columns=[*by, "seed", "round", "accuracy"])
    return spread(each, [*by, "round"], "accuracy")


def spread(each: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """`analysis.comparisons.summarise` with ``least`` and ``most`` of a seed in each group beside its statistics."""
    over = summarise(each, by, metric)
    seeds = each.groupby([*by, "seed"], sort=False, dropna=False)[metric].mean()
    ends = seeds.groupby(level=list(range(len(by))), sort=False, dropna=False).agg(["min", "max"])
    return over.assign(least=ends["min"].to_numpy(), most=ends["max"].to_numpy())


def band(lines: pd.DataFrame) -> tuple[str, str, str]:
    """The columns between which a band runs, and what it is called."""
    if len(lines) and int(lines["n"].max()) >= FEW:
        return "low", "high", "95 % interval"
    return "least", "most", "range of the seeds (fewer than five)"


def _over(lines: pd.DataFrame) -> str:
    """What a line is of, and what its band is."""
    return f"mean over seeds; band: {band(lines)[2]}" if (lines["n"] > 1).any() else "one seed"


def draw(page: Page, attack: str, lines: pd.DataFrame) -> Figure:
    """Malicious fractions across, what else varies down; ``lines``: of `series`, not empty."""
    across, every = sorted(set(lines["across"])), list(dict.fromkeys(lines["down"]))
    down = every[:_MOST_ROWS]
    fields = [f for f in (*page.settings, *page.levels) if f != FACETS]
    first, last = int(lines["round"].min()), int(lines["round"].max())
    air = max(0.5, 0.04 * (last - first))
    with style.style():
        sheet = Sheet(grid(len(down) * len(across), len(across), _HIGH), gap=0.1)
        for (ax, leftmost, lowest), (row, column) in zip(sheet.panels, product(down, across), strict=True):
            draw_into(ax, page.rows, lines[(lines["across"] == column) & (lines["down"] == row)], band(lines)[:2])
            rounds_axis(ax, lowest)
            ax.set_xlim(first - air, last + air)
            ax.set_ylim(*limits(lines["mean"], 0.0, 1.0))
            style.percent_ticks(ax.yaxis)
            ax.tick_params(left=leftmost, labelleft=leftmost)
            ax.set_ylabel(_beside(fields, row) if leftmost else "", fontsize=SMALL)
        wide = sheet.fit()[0]
        for (ax, *_), fraction in zip(sheet.panels, across, strict=False):
            share = value_label(FACETS, fraction)
            title = f"{field_label(FACETS)} {share}"
            ax.set_title(title if width_of(title, SMALL) < wide else share, fontsize=SMALL, pad=3)
        cut = f" The first {len(down)} of {len(every)} rows of panels." if len(down) < len(every) else ""
        caption = (
            f"Test accuracy at evaluated rounds, {_over(lines)}. "
            f"Solid: attacked; dashed: the clean twin (same seed, no attack). Across: {field_label(FACETS)}.{cut}"
            f"{captions.of_cells(page, [attack])}"
        )
        title = f"Accuracy per round: {attack_name(page, attack)}"
        return sheet.finish(title, captions.subtitle(page), caption, [*keys_of(page.rows), dashed("clean twin")])


def draw_into(ax: Axes, rules: Sequence[str], lines: pd.DataFrame, ends: tuple[str, str] = ("low", "high")) -> None:
    """One panel's lines and bands in axes of the caller's, dashed for clean twins; no labels, legend or limits.

    Args:
        ax: the axes, rounds across, shares (0.5 for 50 %) up.
        rules: the aggregators in the order of their colours.
        lines: of `series`, of a single panel; empty: a note that the grid lacks it.
        ends: the columns of ``lines`` between which the bands run (`band`).
    """
    if lines.empty:
        ax.text(0.5, 0.5, "not in the grid", transform=ax.transAxes, ha="center", fontsize=SMALL, color="0.4")
    for place, rule in enumerate(rules):
        for side, dashes in (("clean", DASHES), ("attacked", "solid")):
            line = lines[(lines["aggregator"] == rule) & (lines["side"] == side)].sort_values("round")
            if line.empty:
                continue
            plot_means(ax, line, f"{rule}, {side}", look(place, marker=side == "attacked"), dashes)
            if side == "attacked" and (line["n"] > 1).any():
                ax.fill_between(
                    line["round"],
                    line[ends[0]].clip(0, 1),
                    line[ends[1]].clip(0, 1),
                    color=look(place)["color"],
                    alpha=0.18 if len(rules) <= 5 else 0.08,  # many bands would hide the lines
                    linewidth=0,
                )
    style.lines_behind(ax)


def plot_means(ax: Axes, line: pd.DataFrame, label: str, own: Mapping[str, Any], dashes: Any = "solid") -> None:
    """The means of one rule over the rounds, a marker at about six of them."""
    every = max(1, len(line) // 6)
    ax.plot(line["round"], line["mean"], linestyle=dashes, linewidth=1.0, markevery=every, label=label, **own)


def rounds_axis(ax: Axes, lowest: bool) -> None:
    """Whole rounds as ticks, named where nothing stands below."""
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.tick_params(bottom=lowest, labelbottom=lowest)
    ax.set_xlabel("round" if lowest else "", fontsize=SMALL, labelpad=1)


def _beside(fields: Sequence[str], values: Sequence[Any]) -> str:
    """What tells a row of panels from the next, above the unit of its axis."""
    text = ", ".join(labelled(fields, values))
    return "\n".join([*([wrapped(text, _HIGH + 0.1, SMALL)] if text else []), "accuracy (%)"])


def look(place: int, marker: bool = True) -> dict[str, Any]:
    """Colour and marker of the rule in this place of the legend."""
    n = len(style.COLOURS)
    shape = {"marker": style.MARKERS[(place + place // n) % n], "markersize": 2.5} if marker else {}
    return {"color": style.COLOURS[place % n], **shape}


def limits(means: Iterable[float], least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
    """One range for all panels, of the means with a little air: a wild interval must not flatten every line."""
    known = [mean for mean in means if not math.isnan(mean)]
    low, high = min(known), max(known)
    air = max(0.02, 0.05 * (high - low))
    return max(least, low - air), min(most, high + air)


def keys_of(rules: Sequence[str]) -> list[Line2D]:
    """Legend entries of rules."""
    labels = [wrapped(aggregator_label(rule), 1.5, SMALL) for rule in rules]
    return [Line2D([], [], linewidth=1.0, label=label, **look(place)) for place, label in enumerate(labels)]


def dashed(label: str) -> Line2D:
    """Legend entry of what is drawn dashed and grey."""
    return Line2D([], [], linewidth=1.0, color="0.4", linestyle=DASHES, label=label)
