"""Accuracy per evaluated round, attacked against clean twin: means with bands, a panel a malicious fraction.

The band is the 95 % interval from five seeds on; with fewer, Student's factor makes it so wide (12.7 times the standard
error for two seeds) that it would hide the lines, so it is the range of the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import level_values
from flipbench.analysis.metrics import accuracy
from flipbench.analysis.pages import Page
from flipbench.analysis.warnings import summarise
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, words
from flipbench.report.figures.style import SMALL, WIDTH, width_of, wrapped
from flipbench.spec.labels import aggregator_label, fact_label, value_label

FACETS = "malicious_fraction"  # across; what else varies goes down
_HIGH, _GAP = 1.35, 0.14  # inches: of a panel, between two
FEW = 5  # seeds; with fewer, bands are their range
_DASHES = (0, (3, 2))
_MOST_DOWN = 6  # rows of panels; more do not fit on a page


def series(page: Page, attack: str) -> pd.DataFrame:
    """Accuracy at every evaluated round of an attack's cells and of their clean twins.

    Returns:
        One row an aggregator, panel, side (attacked or clean) and round: ``aggregator, across, down, side, round`` and
        mean, sd, n, low, high over seeds, ``least`` and ``most`` of them.
        ``across`` is the malicious fraction, ``down`` the other varying facts.
    """
    done = page.cells[page.cells["status"] == "done"]
    attacked = done[done["attack"] == attack]
    by_key = dict(zip(done["key"], zip(done["rounds_evaluated"], done["confusion"], strict=True), strict=True))
    rest = [f for f in (*page.settings, *page.levels) if f != FACETS]
    lines: list[tuple[Any, ...]] = []
    places = zip(level_values(attacked, [FACETS]), level_values(attacked, rest), strict=True)
    named = attacked[["key", "twin", "aggregator", "seed"]].to_dict("records")
    for row, (across, down) in zip(named, places, strict=True):
        for side, key in (("attacked", row["key"]), ("clean", row["twin"])):
            if key in by_key:
                rounds, counts = by_key[key]
                told = zip(rounds.tolist(), accuracy(counts).tolist(), strict=True)
                lines += [(row["aggregator"], across[0], down, side, row["seed"], r, a) for r, a in told]
    by = ["aggregator", "across", "down", "side"]
    each = pd.DataFrame(lines, columns=[*by, "seed", "round", "accuracy"])
    return spread(each, [*by, "round"], "accuracy")


def spread(each: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """`analysis.warnings.summarise` with ``least`` and ``most`` of a seed in each group beside its statistics."""
    over = summarise(each, by, metric)
    seeds = each.groupby([*by, "seed"], sort=False, dropna=False)[metric].mean()
    ends = seeds.groupby(level=list(range(len(by))), sort=False, dropna=False).agg(["min", "max"])
    return over.assign(least=ends["min"].to_numpy(), most=ends["max"].to_numpy())


def band(lines: pd.DataFrame) -> tuple[str, str, str]:
    """The columns between which a band runs, and what it is called."""
    if len(lines) and int(lines["n"].max()) >= FEW:
        return "low", "high", "95 % Student interval"
    return "least", "most", "range of the seeds (fewer than five)"


def draw(page: Page, attack: str, lines: pd.DataFrame) -> Figure:
    """Panels over one pair of axes; solid: attacked, dashed: clean twin.

    Args:
        page: whose rows.
        attack: its reference.
        lines: of `series`, not empty.
    """
    across, every = sorted(set(lines["across"])), list(dict.fromkeys(lines["down"]))
    down = every[:_MOST_DOWN]
    cut = f" The first {len(down)} of {len(every)} rows of panels." if len(down) < len(every) else ""
    rest = [f for f in (*page.settings, *page.levels) if f != FACETS]
    with style.style():
        heading = style.headings(f"Accuracy per round: {attack_name(page, attack)}", circumstances(page), WIDTH)
        caption = wrapped(
            f"Mean over seeds of the test accuracy at evaluated rounds; band: {band(lines)[2]}. "
            f"Solid: attacked; dashed: the clean twin (same seed, no attack). Across: {fact_label(FACETS)}.{cut}",
            WIDTH - 0.2,
            SMALL,
        )
        keys = [*keys_of(page.rows), Line2D([], [], linewidth=1.0, color="0.4", linestyle=_DASHES, label="clean twin")]
        beside = [_beside(rest, values) for values in down]
        left = 0.55 + 0.13 * max(label.count("\n") for label in beside)
        top = 0.3 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        key_columns = max(1, min(5, len(keys)))
        foot = 0.1 + 0.13 * (caption.count("\n") + 1) + style.legend_height(keys, key_columns)
        below = 0.42
        height = top + len(down) * (_HIGH + _GAP) - _GAP + below + foot
        made = style.figure(WIDTH, height)
        each = (WIDTH - left - 0.1 * len(across)) / len(across)
        low, high = _limits(lines)
        first, last = int(lines["round"].min()), int(lines["round"].max())
        air = max(0.5, 0.04 * (last - first))
        for i, j in np.ndindex(len(down), len(across)):
            ax = style.place(made, left + j * (each + 0.1), height - top - i * (_HIGH + _GAP) - _HIGH, each, _HIGH)
            _panel(ax, page.rows, lines[(lines["across"] == across[j]) & (lines["down"] == down[i])], band(lines)[:2])
            if i == 0:
                title = f"{fact_label(FACETS)} {value_label(FACETS, across[j])}"
                ax.set_title(
                    title if width_of(title, SMALL) < each else title.split()[-2] + " %", fontsize=SMALL, pad=3
                )
            ax.set_xlim(first - air, last + air)
            ax.set_ylim(low, high)
            ax.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}")
            ax.tick_params(left=j == 0, labelleft=j == 0, bottom=i == len(down) - 1, labelbottom=i == len(down) - 1)
            ax.set_ylabel(beside[i] if j == 0 else "", fontsize=SMALL)
            ax.set_xlabel("round" if i == len(down) - 1 else "", fontsize=SMALL, labelpad=1)
        words(made, heading, caption)
        y = (0.07 + 0.13 * (caption.count("\n") + 1)) / height
        made.legend(
            handles=keys,
            loc="lower center",
            bbox_to_anchor=(0.5, y),
            ncols=key_columns,
            frameon=False,
            borderaxespad=0,
            borderpad=0.1,
        )
    return made


def _beside(facts: Sequence[str], values: Sequence[Any]) -> str:
    """What tells a row of panels from the next, above the unit of its axis."""
    told = ", ".join(f"{fact_label(f)} {value_label(f, v)}" for f, v in zip(facts, values, strict=True))
    return "\n".join([*([wrapped(told, _HIGH + _GAP, SMALL)] if told else []), "accuracy (%)"])


def look(place: int) -> dict[str, Any]:
    """Colour and marker of the rule in this place of the legend."""
    n = len(style.COLOURS)
    return {"color": style.COLOURS[place % n], "marker": style.MARKERS[(place + place // n) % n], "markersize": 2.5}


def _panel(ax: Axes, rows: Sequence[str], mine: pd.DataFrame, ends: tuple[str, str]) -> None:
    if mine.empty:
        ax.text(0.5, 0.5, "not in the grid", transform=ax.transAxes, ha="center", fontsize=SMALL, color="0.4")
    for place, row in enumerate(rows):
        for side, dashes in (("clean", _DASHES), ("attacked", "solid")):
            one = mine[(mine["aggregator"] == row) & (mine["side"] == side)].sort_values("round")
            if one.empty:
                continue
            own = look(place) if side == "attacked" else {"color": look(place)["color"]}
            every = max(1, len(one) // 6)
            ax.plot(
                one["round"],
                one["mean"],
                linestyle=dashes,
                linewidth=1.0,
                markevery=every,
                label=f"{row}, {side}",
                **own,
            )
            if side == "attacked" and (one["n"] > 1).any():
                ax.fill_between(
                    one["round"],
                    one[ends[0]].clip(0, 1),
                    one[ends[1]].clip(0, 1),
                    color=own["color"],
                    alpha=0.18 if len(rows) <= 5 else 0.08,  # many bands would hide the lines
                    linewidth=0,
                )
    ax.grid(color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _limits(lines: pd.DataFrame) -> tuple[float, float]:
    """One range for all panels, of the means with a little air: a wild interval must not flatten every line."""
    low, high = float(lines["mean"].min()), float(lines["mean"].max())
    air = max(0.02, 0.05 * (high - low))
    return max(0.0, low - air), min(1.0, high + air)


def keys_of(rules: Sequence[str]) -> list[Line2D]:
    """Legend entries of rules."""
    return [
        Line2D([], [], linewidth=1.0, label=wrapped(aggregator_label(row), 1.5, SMALL), **look(place))
        for place, row in enumerate(rules)
    ]
