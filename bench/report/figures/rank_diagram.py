"""Critical-difference diagram: mean ranks on a line, bars over rules that cannot be told apart (Demsar 2006)."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.rank_tests import cliques
from flipbench.analysis.ranking import Ranking
from flipbench.report.figures import captions, style
from flipbench.report.figures.layout import COLUMN, Sheet, grid, width_of
from flipbench.report.figures.style import SMALL
from flipbench.spec.distinct_texts import fitted_where
from flipbench.spec.labels import aggregator_label

_STEP, _BAR = 0.17, 0.09  # inches: from one name to the next, from one bar to the next
_LINE = 1.4  # inches, the least length of the axis
_LONGEST = 1.2  # inches, of a rule's name


def draw(page: Page, ranking: Ranking, metric: MetricColumn) -> Figure:
    """One page's ranking, of `analysis.ranking.rank`; the best rule stands on the left."""
    whole = [aggregator_label(rule) for rule in ranking.rules]
    short = fitted_where(whole, lambda text, _: width_of(text, SMALL) <= _LONGEST)
    names = [short[name] for name in whole]
    order = sorted(range(len(names)), key=lambda i: ranking.ranks[i])
    groups = cliques(ranking.ranks, ranking.difference)
    half, most = (len(order) + 1) // 2, float(len(order))
    bars = _BAR * (len(groups) + 1)
    with style.style():
        beside = [max((width_of(names[i], SMALL) for i in some), default=0.0) for some in (order[:half], order[half:])]
        wide = max(_LINE, COLUMN - sum(beside) - 0.38)
        high = bars + _STEP * half + 0.1
        sheet = Sheet(grid(1, 1, high), width=COLUMN, panel=(wide, wide), least=COLUMN)
        ax = sheet.panels[0].ax
        ax.set(xlim=(1, most), ylim=(-high, 0))  # down in inches
        ax.xaxis.tick_top()
        ax.xaxis.set_ticks(range(1, len(order) + 1))
        ax.spines[["left", "right", "bottom"]].set_visible(False)
        ax.tick_params(left=False, labelleft=False, labelsize=SMALL)
        inch = (most - 1) / wide  # of the axis
        line: dict[str, Any] = {"color": "black", "linewidth": 0.7, "clip_on": False}
        for place, i in enumerate(order):
            left = place < half
            y = -(bars + _STEP * ((place if left else len(order) - 1 - place) + 0.5))
            edge = 1 - 0.05 * inch if left else most + 0.05 * inch
            ax.plot([ranking.ranks[i], ranking.ranks[i], edge], [0, y, y], **line)
            text, side = (f"{names[i]} ", "right") if left else (f" {names[i]}", "left")
            ax.text(edge, y, text, fontsize=SMALL, va="center", ha=side)
        for place, group in enumerate(groups):
            ends = ranking.ranks[group[0]] - 0.03 * inch, ranking.ranks[group[-1]] + 0.03 * inch
            y = -_BAR * (place + 0.9)
            ax.plot(ends, [y, y], color=style.COLOURS[0], linewidth=2.5, solid_capstyle="butt", clip_on=False)
        _ruler(ax, ranking.difference, most)
        title = f"Mean ranks under attack: {metric.label[0].lower()}{metric.label[1:]}"
        caption = _caption(ranking) + captions.of_cells(page, page.attacks)
        return sheet.finish(title, captions.subtitle(page), caption)


def _ruler(ax: Axes, difference: float, most: float) -> None:
    """The critical difference as a length of the axis, above it; cut where it is longer than the axis."""
    length = min(difference, most - 1)
    ax.plot([1, 1 + length], [0.35, 0.35], color="black", linewidth=1.0, marker="|", markersize=5, clip_on=False)
    text = f"CD = {difference:.2f}" + (" (longer than the axis)" if length < difference else "")
    ax.text(1 + length / 2, 0.4, text, ha="center", va="bottom", fontsize=SMALL)


def _caption(ranking: Ranking) -> str:
    over = f"{ranking.columns}" + (f" of {ranking.asked}" if ranking.columns < ranking.asked else "")
    text = (
        f"Rank 1 is best; ranks within each seed and attack, averaged over {over} attacked columns and "
        f"{ranking.seeds} seeds. Bars join rules whose mean ranks differ by less than the critical difference "
        f"(Nemenyi, 5 %, N = {ranking.seeds} seeds, k = {len(ranking.rules)} rules)."
    )
    if ranking.columns < ranking.asked:
        names = ", ".join(map(aggregator_label, ranking.unranked)) or "some rule"
        text += f" In the other columns {names} has no number."
    left_out = ", ".join(map(aggregator_label, ranking.left_out))
    return f"{text} Without a number: {left_out}." if left_out else text
