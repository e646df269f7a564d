"""Curves of the malicious clients' weight in the global model, round by round; dashed: their share of the clients."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from flipbench.analysis.columns import level_values
from flipbench.analysis.metrics import malicious_influence
from flipbench.analysis.pages import Page, attack_name
from flipbench.report.figures import captions, style
from flipbench.report.figures.accuracy_curves import (
    DASHES,
    dashed,
    keys_of,
    limits,
    look,
    plot_means,
    rounds_axis,
    spread,
)
from flipbench.report.figures.layout import COLUMN, Sheet, grid
from flipbench.report.figures.style import SMALL
from flipbench.spec.labels import value_label

_HIGH, _ACROSS = 1.3, 2  # inches, of a panel; panels side by side


def series(page: Page, attack: str) -> pd.DataFrame:
    """Summed weight of the malicious clients at every evaluated round.

    Returns:
        One row an aggregator, malicious fraction (``across``) and round: mean, sd, n, low, high over seeds, ``least``
        and ``most``; what else varies is averaged within each seed.
    """
    done = page.cells[(page.cells["status"] == "done") & (page.cells["attack"] == attack)]
    lines: list[tuple[Any, ...]] = []
    names = ("aggregator", "seed", "rounds_evaluated", "influence", "participants", "malicious")
    columns = (level_values(done, ["malicious_fraction"]), *(done[name] for name in names))
    for (across,), rule, seed, rounds, *counts in zip(*columns, strict=True):
        values = zip(rounds.tolist(), malicious_influence(*counts).tolist(), strict=True)
        lines += [(rule, across, seed, r, share) for r, share in values if r > 0]
    by = ["aggregator", "across", "round"]
    each = pd.DataFrame(lines, columns=["aggregator", "across", "seed", "round", "influence"])
    return spread(each, by, "influence")


def draw(page: Page, attack: str, lines: pd.DataFrame) -> Figure:
    """A panel a malicious fraction, a line a rule; ``lines``: of `series`, not empty."""
    fractions = sorted(set(lines["across"]))
    with style.style():
        across = min(_ACROSS, len(fractions))
        sheet = Sheet(grid(len(fractions), across, _HIGH), width=COLUMN, gap=0.12)
        for (ax, leftmost, lowest), fraction in zip(sheet.panels, fractions, strict=True):
            for place, rule in enumerate(page.rows):
                line = lines[(lines["across"] == fraction) & (lines["aggregator"] == rule)].sort_values("round")
                if len(line):
                    plot_means(ax, line, rule, look(place))
            ax.axhline(float(fraction), color="0.4", linewidth=1.0, linestyle=DASHES)
            ax.set_title(f"{value_label('malicious_fraction', fraction)} malicious", fontsize=SMALL, pad=3)
            ax.set_ylim(*limits([*lines["mean"], 0.0, *fractions]))
            rounds_axis(ax, lowest)
            style.lines_behind(ax)
            ax.tick_params(left=leftmost, labelleft=leftmost)
            ax.set_ylabel("summed weight" if leftmost else "", fontsize=SMALL)
        title = f"Influence of the malicious clients: {attack_name(page, attack)}"
        keys = [*keys_of(page.rows), dashed("share")]
        caption = _CAPTION.format("mean over seeds" if (lines["n"] > 1).any() else "one seed") + captions.of_cells(
            page, [attack]
        )
        return sheet.finish(title, captions.subtitle(page), caption, keys, columns=4)


_CAPTION = (
    "Summed least-squares weight of the malicious clients in the server's update, at evaluated rounds; {}. "
    "0: kept out; dashed: their share of the clients (what averaging without weights gives them). "
    "Weights can be negative or above 1 where a rule steps outside its clients' span."
)
