"""The critical-difference diagram: mean ranks on a line, bars over rules that cannot be told apart (Demsar 2006)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.rank_tests import cliques
from flipbench.analysis.ranking import Ranking
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import circumstances, words
from flipbench.report.figures.style import SMALL, width_of, wrapped
from flipbench.spec.labels import aggregator_label

_STEP, _BAR = 0.17, 0.09  # inches: from one name to the next, from one bar to the next
_WIDE, _LINE = 3.3, 1.4  # inches: one column of a two-column page; the least length of the axis
_LONGEST = 1.2  # inches, of a rule's name


def draw(page: Page, found: Ranking, shown: MetricColumn) -> Figure:
    """One page's ranking; the best rule stands on the left.

    Args:
        page: for the circumstances.
        found: of `analysis.ranking.rank`.
        shown: what the ranks are of.
    """
    names = [_cut(aggregator_label(r)) for r in found.rules]
    order = sorted(range(len(names)), key=lambda i: found.ranks[i])
    groups = cliques(found.ranks, found.difference)
    half = (len(order) + 1) // 2
    with style.style():
        left = 0.25 + max(width_of(names[i], SMALL) for i in order[:half])
        right = 0.25 + max([width_of(names[i], SMALL) for i in order[half:]], default=0.0)
        wide = max(_LINE, _WIDE - left - right)
        whole = left + wide + right
        title = f"Mean ranks under attack: {shown.label[0].lower()}{shown.label[1:]}"
        heading = style.headings(title, circumstances(page), whole)
        caption = wrapped(_caption(found), whole - 0.2, SMALL)
        bars = _BAR * (len(groups) + 1)
        names_high = _STEP * half + 0.1
        top = 0.3 + 0.17 * sum(h.count("\n") + 1 for h in heading) + 0.3
        foot = 0.14 + 0.13 * (caption.count("\n") + 1)
        made = style.figure(whole, top + bars + names_high + foot)
        high = bars + names_high
        ax = style.place(made, left, foot, wide, high)
        least, most = 1.0, float(len(order))
        ax.set(xlim=(least, most), ylim=(-high, 0))
        ax.xaxis.tick_top()
        ax.xaxis.set_ticks(range(1, len(order) + 1))
        ax.spines[["left", "right", "bottom"]].set_visible(False)
        ax.tick_params(left=False, labelleft=False, labelsize=SMALL)
        for place, i in enumerate(order):
            on_left = place < half
            y = -(bars + _STEP * ((place if on_left else len(order) - 1 - place) + 0.5))
            edge = least - 0.05 * (most - least) / wide if on_left else most + 0.05 * (most - least) / wide
            line: dict[str, Any] = {"color": "black", "linewidth": 0.7, "clip_on": False}
            ax.plot([found.ranks[i], found.ranks[i], edge], [0, y, y], **line)
            ax.text(edge, y, f"{names[i]} " if on_left else f" {names[i]}", fontsize=SMALL, va="center",
                    ha="right" if on_left else "left")  # fmt: skip
        reach = 0.03 * (most - least) / wide
        for place, group in enumerate(groups):
            ends = found.ranks[group[0]] - reach, found.ranks[group[-1]] + reach
            y = -_BAR * (place + 0.9)
            ax.plot(ends, [y, y], color=style.COLOURS[0], linewidth=2.5, solid_capstyle="butt", clip_on=False)
        _ruler(made, found, left, foot + high + 0.3, wide)
        words(made, heading, caption)
    return made


def _cut(name: str) -> str:
    """A name in one line, its end left out where it is too long."""
    if width_of(name, SMALL) <= _LONGEST:
        return name
    fits = (name[:n] for n in range(len(name) - 1, 1, -1) if width_of(f"{name[:n]}…", SMALL) <= _LONGEST)
    return f"{next(fits, name[:1])}…"


def _ruler(made: Figure, found: Ranking, left: float, bottom: float, wide: float) -> None:
    """The critical difference as a length of the axis; cut where it is longer than the axis."""
    span = max(1.0, len(found.rules) - 1.0)
    ax = style.place(made, left, bottom, wide, 0.16)
    ax.set(xlim=(0, span), ylim=(0, 1))
    ax.axis("off")
    length = min(found.difference, span)
    ax.plot([0, length], [0.3, 0.3], color="black", linewidth=1.0, marker="|", markersize=5, clip_on=False)
    told = f"CD = {found.difference:.2f}" + (" (longer than the axis)" if length < found.difference else "")
    ax.text(length / 2, 0.55, told, ha="center", va="bottom", fontsize=SMALL)


def _caption(found: Ranking) -> str:
    over = f"{found.columns}" + (f" of {found.asked}" if found.columns < found.asked else "")
    told = (
        f"Rank 1 is best; ranks within each seed and attack, averaged over {over} attacked columns and "
        f"{found.seeds} seeds. Bars join rules whose mean ranks differ by less than the critical difference (Nemenyi, "
        f"5 %, N = {found.seeds} seeds, k = {len(found.rules)} rules)."
    )
    if found.columns < found.asked:
        names = ", ".join(map(aggregator_label, found.unranked)) or "some rule"
        told += f" In the other columns {names} has no number."
    left_out = ", ".join(map(aggregator_label, found.left_out))
    return f"{told} Without a number: {left_out}." if left_out else told
