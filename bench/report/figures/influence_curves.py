"""How much of the malicious clients is in the global model, round by round; dashed: their share of the clients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.columns import level_values
from flipbench.analysis.metrics import malicious_influence
from flipbench.analysis.pages import Page
from flipbench.report.figures import style
from flipbench.report.figures.accuracy_curves import keys_of, look, spread
from flipbench.report.figures.heatmap import circumstances, words
from flipbench.report.figures.style import SMALL, width_of, wrapped
from flipbench.spec.labels import value_label

_WIDE = 3.3  # inches: one column of a two-column page
_HIGH, _GAP, _ACROSS = 1.3, 0.12, 2  # inches: of a panel, between two; panels side by side


def series(page: Page, attack: str) -> pd.DataFrame:
    """Summed weight of the malicious clients at every evaluated round.

    Returns:
        One row an aggregator, malicious fraction (``across``) and round: mean, sd, n, low, high over seeds, ``least``
        and ``most``; what else varies is averaged within each seed.
    """
    done = page.cells[(page.cells["status"] == "done") & (page.cells["attack"] == attack)]
    lines: list[tuple[Any, ...]] = []
    named = done[["influence", "participants", "malicious", "rounds_evaluated", "aggregator", "seed"]].to_dict(
        "records"
    )
    for row, across in zip(named, level_values(done, ["malicious_fraction"]), strict=True):
        shares = malicious_influence(row["influence"], row["participants"], row["malicious"])
        told = zip(row["rounds_evaluated"].tolist(), shares.tolist(), strict=True)
        lines += [(row["aggregator"], across[0], row["seed"], r, share) for r, share in told if r > 0]
    by = ["aggregator", "across", "round"]
    each = pd.DataFrame(lines, columns=["aggregator", "across", "seed", "round", "influence"])
    return spread(each, by, "influence")


def draw(page: Page, attack: str, lines: pd.DataFrame) -> Figure:
    """A panel a malicious fraction, a line a rule.

    Args:
        page: whose rows.
        attack: its reference.
        lines: of `series`, not empty.
    """
    across = sorted(set(lines["across"]))
    with style.style():
        title = f"Influence of the malicious clients: {attack_name(page, attack)}"
        heading = style.headings(title, circumstances(page), _WIDE)
        caption = wrapped(
            "Summed least-squares weight of the malicious clients in the server's update, at evaluated rounds; mean "
            "over seeds. 0: kept out; dashed: their share of the clients (what averaging without weights gives them). "
            "Weights can be negative or above 1 where a rule steps outside its clients' span.",
            _WIDE - 0.2,
            SMALL,
        )
        keys = [*keys_of(page.rows), Line2D([], [], linewidth=1.0, color="0.4", linestyle=(0, (3, 2)), label="share")]
        widest = max(width_of(line, SMALL) for k in keys for line in str(k.get_label()).split("\n")) + 0.42
        columns = max(1, min(4, len(keys), int((_WIDE - 0.2) / widest)))
        top = 0.3 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        foot = 0.14 + 0.13 * (caption.count("\n") + 1) + style.legend_height(keys, columns)
        rows, below = -(-len(across) // _ACROSS), 0.25  # between two rows: the title of the lower one
        height = top + rows * (_HIGH + below) - below + 0.42 + foot
        made = style.figure(_WIDE, height)
        left = 0.55
        side = min(_ACROSS, len(across))
        each = (_WIDE - left - 0.1 - _GAP * (side - 1)) / side
        ends = _limits(lines, across)
        for place, fraction in enumerate(across):
            i, j = divmod(place, side)
            ax = style.place(made, left + j * (each + _GAP), height - top - _HIGH - i * (_HIGH + below), each, _HIGH)
            mine = lines[lines["across"] == fraction]
            for at, rule in enumerate(page.rows):
                one = mine[mine["aggregator"] == rule].sort_values("round")
                if len(one):
                    every = max(1, len(one) // 6)
                    ax.plot(one["round"], one["mean"], linewidth=1.0, markevery=every, label=rule, **look(at))
            ax.axhline(float(fraction), color="0.4", linewidth=1.0, linestyle=(0, (3, 2)))
            ax.set_title(f"{value_label('malicious_fraction', fraction)} malicious",
                         fontsize=SMALL, pad=3)  # fmt: skip
            ax.set_ylim(*ends)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            ax.grid(color="0.9", linewidth=0.5)
            ax.set_axisbelow(True)
            ax.tick_params(left=j == 0, labelleft=j == 0)
            lowest = place + side >= len(across)
            ax.tick_params(labelbottom=lowest)
            ax.set_xlabel("round" if lowest else "", fontsize=SMALL, labelpad=1)
            ax.set_ylabel("summed weight" if j == 0 else "", fontsize=SMALL)
        words(made, heading, caption)
        y = (0.07 + 0.13 * (caption.count("\n") + 1)) / height
        made.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, y), ncols=columns, frameon=False,
                    borderaxespad=0, borderpad=0.1)  # fmt: skip
    return made


def _limits(lines: pd.DataFrame, across: list[float]) -> tuple[float, float]:
    known = lines["mean"].dropna().to_numpy()
    known = np.concatenate([known, [0.0, *across]])
    low, high = float(known.min()), float(known.max())
    air = max(0.02, 0.05 * (high - low))
    return low - air, high + air
