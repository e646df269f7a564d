"""Accuracy per evaluated round, attacked against clean twin: means with 95 % bands, a panel a malicious fraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench import canvas
from bench.arrangement import Page, level_values
from bench.canvas import NORMAL, SMALL, WIDTH, width_of, wrapped
from bench.heatmaps import circumstances, words
from bench.labels import aggregator_label, attack_label, fact_label, value_label
from bench.metrics import accuracy
from bench.summary import summarise

FACETS = "malicious_fraction"  # across; what else varies goes down
_HIGH, _GAP = 1.35, 0.14  # inches: of a panel, between two
_DASHES = (0, (3, 2))
_MOST_DOWN = 6  # rows of panels; more do not fit on a page


def series(page: Page, attack: str) -> pd.DataFrame:
    """Accuracy at every evaluated round of an attack's cells and of their clean twins.

    Returns:
        One row an aggregator, panel, side (attacked or clean) and round: ``aggregator, across, down, side, round`` and
        mean, sd, n, low, high over seeds. ``across`` is the malicious fraction, ``down`` the other varying facts.
    """
    done = page.cells[page.cells["status"] == "done"]
    attacked = done[done["attack"] == attack]
    by_key = dict(zip(done["key"], zip(done["rounds_evaluated"], done["confusion"], strict=True), strict=True))
    rest = [f for f in (*page.settings, *page.levels) if f != FACETS]
    lines: list[tuple[Any, ...]] = []
    places = zip(level_values(attacked, [FACETS]), level_values(attacked, rest), strict=True)
    for row, (across, down) in zip(attacked.to_dict("records"), places, strict=True):
        for side, key in (("attacked", row["key"]), ("clean", row["twin"])):
            if key in by_key:
                rounds, counts = by_key[key]
                told = zip(rounds.tolist(), accuracy(counts).tolist(), strict=True)
                lines += [(row["aggregator"], across[0], down, side, row["seed"], r, a) for r, a in told]
    by = ["aggregator", "across", "down", "side"]
    return summarise(pd.DataFrame(lines, columns=[*by, "seed", "round", "accuracy"]), [*by, "round"], "accuracy")


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
    with canvas.style():
        heading = [
            wrapped(f"Accuracy per round: {attack_label(attack, page.classes)}", WIDTH - 0.2, NORMAL + 1),
            wrapped(circumstances(page), WIDTH - 0.2),
        ]
        caption = wrapped(
            "Mean over seeds of the test accuracy at evaluated rounds, with the 95 % interval as a band. "
            f"Solid: attacked; dashed: the clean twin (same seed, no flip). Across: {fact_label(FACETS)}.{cut}",
            WIDTH - 0.2,
            SMALL,
        )
        keys = _keys(page)
        beside = [_beside(rest, values) for values in down]
        left = 0.55 + 0.13 * max(label.count("\n") for label in beside)
        top = 0.3 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        key_columns = max(1, min(5, len(keys)))
        tallest = max(str(key.get_label()).count("\n") for key in keys)
        foot = 0.1 + 0.13 * (caption.count("\n") + 1) + (0.16 + 0.13 * tallest) * -(-len(keys) // key_columns)
        below = 0.42
        height = top + len(down) * (_HIGH + _GAP) - _GAP + below + foot
        made = canvas.figure(WIDTH, height)
        each = (WIDTH - left - 0.1 * len(across)) / len(across)
        low, high = _limits(lines)
        for i, j in np.ndindex(len(down), len(across)):
            ax = canvas.place(made, left + j * (each + 0.1), height - top - i * (_HIGH + _GAP) - _HIGH, each, _HIGH)
            _panel(ax, page.rows, lines[(lines["across"] == across[j]) & (lines["down"] == down[i])])
            if i == 0:
                title = f"{fact_label(FACETS)} {value_label(FACETS, across[j])}"
                ax.set_title(
                    title if width_of(title, SMALL) < each else title.split()[-2] + " %", fontsize=SMALL, pad=3
                )
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


def _look(place: int) -> dict[str, Any]:
    n = len(canvas.COLOURS)
    return {"color": canvas.COLOURS[place % n], "marker": canvas.MARKERS[(place + place // n) % n], "markersize": 2.5}


def _panel(ax: Axes, rows: Sequence[str], mine: pd.DataFrame) -> None:
    for place, row in enumerate(rows):
        for side, dashes in (("clean", _DASHES), ("attacked", "solid")):
            one = mine[(mine["aggregator"] == row) & (mine["side"] == side)].sort_values("round")
            if one.empty:
                continue
            look = _look(place) if side == "attacked" else {"color": _look(place)["color"]}
            every = max(1, len(one) // 6)
            ax.plot(
                one["round"],
                one["mean"],
                linestyle=dashes,
                linewidth=1.0,
                markevery=every,
                label=f"{row}, {side}",
                **look,
            )
            if side == "attacked":
                ax.fill_between(
                    one["round"],
                    one["low"].clip(0, 1),
                    one["high"].clip(0, 1),
                    color=look["color"],
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


def _keys(page: Page) -> list[Line2D]:
    rules = [
        Line2D([], [], linewidth=1.0, label=wrapped(aggregator_label(row), 1.5, SMALL), **_look(place))
        for place, row in enumerate(page.rows)
    ]
    return [*rules, Line2D([], [], linewidth=1.0, color="0.4", linestyle=_DASHES, label="clean twin")]
