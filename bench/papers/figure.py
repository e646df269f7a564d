"""Figure of a paper's numbers beside ours: tolerances as bands, published values as bars, ours as points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from flipbench.papers.model import Head, Number
from flipbench.papers.results import Result, TableResult
from flipbench.papers.text import headline
from flipbench.papers.text import title as title_of
from flipbench.papers.verdicts import MISSED, NOT_RUN, REPRODUCED, ROUNDING, Verdict
from flipbench.report.figures import style
from flipbench.report.figures.layout import Row, Sheet, width_of, wrapped
from flipbench.report.figures.style import COLOURS, SMALL

_ROW, _GAP = 0.19, 0.14  # inches: of a row, between panels
_PANELS = 5  # side by side
_NAMES = 1.6  # inches, the widest name of a row
_BAND, _OTHER = "0.87", "0.45"
_COLOUR = {REPRODUCED: COLOURS[0], ROUNDING: COLOURS[4], MISSED: COLOURS[1]}


def draw(result: Result) -> Figure:
    """All tables of a paper, one strip of panels each (a panel a column).

    Args:
        result: of `papers.results`; tables without any number are named in the caption.
    """
    with style.style():
        drawn = [t for t in result.tables if _ends(t.numbers)]
        strips = [(t, columns) for t in drawn for columns in _pieces(_columns(t))]
        sheet = Sheet([Row(len(c), _tall(t), len(c), _heading(t, c)) for t, c in strips], gap=_GAP)
        panels = iter(sheet.panels)
        columns = [(t, c, next(panels)) for t, strip in strips for c in strip]
        for table, column, (ax, leftmost, _) in columns:
            rows = list(table.table.rows)
            numbers = [(n, v) for n, v in table.numbers if n.column == column.name]
            alike = len({str(n.metric) for n, _ in table.numbers}) == 1
            ax.set(xlim=_range(table.numbers if alike else numbers), ylim=(len(rows) - 0.5, -0.5), xticks=[])
            ax.set_yticks(range(len(rows)), _names(rows) if leftmost else [""] * len(rows))
            ax.tick_params(axis="y", length=0)
            ax.spines[["top", "right", "left"]].set_visible(False)
            for y in range(len(rows)):
                ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)
            places = {row.name: y for y, row in enumerate(rows)}
            for number, verdict in numbers:
                _draw_number(ax, places[number.row], number, verdict)
        widths = sheet.fit()
        for (_, column, (ax, *_)), wide in zip(columns, widths, strict=True):
            ax.set_title(wrapped(column.label, wide, SMALL), fontsize=SMALL, pad=3)
            ax.set_xticks(*_ticks(ax.get_xlim(), wide))
        waiting = [title_of(t.table) for t in result.tables if not _ends(t.numbers)]
        caption = _CAPTION + (f" Not drawn, as nothing of it is run yet: {'; '.join(waiting)}." if waiting else "")
        return sheet.finish(result.paper.title, headline(result), caption, _legend(), columns=6)


_CAPTION = (
    "Black bar: published. Grey band: where ours counts as reproduced. Point: our mean over seeds with its 95 % "
    "Student interval; open: not all seeds done. A cross at the edge: could not be run."
)


def _columns(result: TableResult) -> list[Head]:
    with_number = {n.column for n, _ in result.numbers}
    return [h for h in result.table.columns if h.name in with_number]


def _pieces(columns: Sequence[Head]) -> list[list[Head]]:
    """Columns in strips of equal length."""
    strips = max(1, -(-len(columns) // _PANELS))
    size = -(-len(columns) // strips)
    return [list(columns[i : i + size]) for i in range(0, len(columns), size)]


def _heading(result: TableResult, columns: Sequence[Head]) -> str:
    """What stands above a strip."""
    text = title_of(result.table) + (" (%)" if result.table.unit == "percent" else "")
    return text if columns[0] == _columns(result)[0] else f"{text}, continued"


def _names(rows: Sequence[Head]) -> list[str]:
    return [wrapped(r.label, _NAMES, SMALL) for r in rows]


def _tall(result: TableResult) -> float:
    """Inches of all rows, which are as high as their longest name."""
    lines = max(name.count("\n") + 1 for name in _names(result.table.rows))
    return max(_ROW, 0.12 * lines + 0.02) * len(result.table.rows)


def _ticks(span: tuple[float, float], wide: float) -> tuple[list[float], list[str]]:
    """Ticks of a panel of this width, without those that would touch a number of the next panel."""
    ticks: list[tuple[float, str]] = []
    for most in (4, 5, 7):  # finer, until three are shown or the next would touch
        finer = _shown(span, wide, most)
        if finer is None or len(ticks) > 2:
            break
        ticks = finer
    return [t for t, _ in ticks], [label for _, label in ticks]


def _shown(span: tuple[float, float], wide: float, most: int) -> list[tuple[float, str]] | None:
    """Ticks of at most so many steps with their numbers; None: the numbers would touch."""
    low, high = span
    known = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = [float(t) for t in known if low <= t <= high]
    digits = next((d for d in range(9) if all(abs(round(t, d) - t) < 1e-9 for t in ticks)), 9)
    labels = [f"{round(t, digits) + 0.0:.{digits}f}" for t in ticks]  # no negative zero
    widest, step = max((width_of(label, SMALL) for label in labels), default=0.0), float(known[1] - known[0])
    if most > 4 and widest + 0.08 > step / (high - low) * wide:
        return None
    places = [(t - low) / (high - low) * wide for t in ticks]
    return [
        (tick, label)
        for tick, label, at in zip(ticks, labels, places, strict=True)
        if width_of(label, SMALL) / 2 < min(at, wide - at) + _GAP / 2 - 0.02
    ]


def _range(numbers: Sequence[tuple[Number, Verdict]]) -> tuple[float, float]:
    """Everything that is drawn, and a little room."""
    known = _ends(numbers)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _ends(numbers: Sequence[tuple[Number, Verdict]]) -> list[float]:
    """Every place of an axis that something is drawn at."""
    ends: list[float] = []
    for number, verdict in numbers:
        ends += [v for v in (number.value, verdict.mean, verdict.low, verdict.high) if v is not None]
        ends += list(verdict.allowed or ())
    return [v for v in ends if math.isfinite(v)]


def _draw_number(ax: Axes, y: int, number: Number, verdict: Verdict) -> None:
    edges = ax.get_xlim()
    if verdict.allowed is not None:
        low, high = max(verdict.allowed[0], edges[0]), min(verdict.allowed[1], edges[1])
        ax.fill_between([low, high], y - 0.36, y + 0.36, color=_BAND, linewidth=0, zorder=1)
    if number.value is not None:
        ax.plot([number.value] * 2, [y - 0.36, y + 0.36], color="black", linewidth=1.4, zorder=2)
    if verdict.word == NOT_RUN:
        ax.plot([edges[0]], [y], marker="x", color=_OTHER, markersize=4, clip_on=False, zorder=4)
    if not verdict.n or math.isnan(verdict.mean):
        return
    colour = _COLOUR.get(verdict.word, _OTHER)
    if not math.isnan(verdict.low):
        ax.plot([verdict.low, verdict.high], [y, y], color=colour, linewidth=1.0, zorder=3)
    filled = colour if verdict.n == verdict.planned else "white"
    ax.plot([verdict.mean], [y], "o", color=colour, markerfacecolor=filled, markersize=3.8, zorder=4)


def _legend() -> list[Any]:
    points = [(REPRODUCED, REPRODUCED), (ROUNDING, ROUNDING), (MISSED, MISSED)]
    keys: list[Any] = [Patch(facecolor=_BAND, linewidth=0, label="tolerance")]
    keys.append(Line2D([], [], color="black", linewidth=1.4, label="published"))
    for word, label in points:
        keys.append(Line2D([], [], color=_COLOUR[word], marker="o", markersize=3.8, linewidth=1.0, label=label))
    keys.append(Line2D([], [], color=_OTHER, marker="o", markersize=3.8, linewidth=1.0, label="not judged"))
    return keys
