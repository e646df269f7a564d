"""Published against ours: for each number its tolerance as a band, the published value as a bar, ours as a point."""

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
from flipbench.papers.text import headline, title
from flipbench.papers.verdicts import MISSED, NOT_RUN, REPRODUCED, ROUNDING, Verdict
from flipbench.report.figures import style
from flipbench.report.figures.heatmap import words
from flipbench.report.figures.style import COLOURS, NORMAL, SMALL, WIDTH, width_of, wrapped

_ROW, _GAP, _AXIS = 0.19, 0.14, 0.3  # inches: of a row, between panels, for the ticks below them
_PANELS = 5  # side by side
_NAMES = 1.6  # inches, the widest name of a row
_BAND, _OTHER = "0.87", "0.45"
_COLOUR = {REPRODUCED: COLOURS[0], ROUNDING: COLOURS[4], MISSED: COLOURS[1]}


def draw(result: Result) -> Figure:
    """All tables of a paper, one strip of panels each (a panel a column)."""
    with style.style():
        drawn = [t for t in result.tables if _ends(t.numbers)]
        strips = [(t, columns) for t in drawn for columns in _pieces(_columns(t))]
        named = [name for t, _ in strips for name in _names(t.table.rows)]
        left = 0.2 + max((width_of(line, SMALL) for n in named for line in n.split("\n")), default=0.0)
        heading = style.headings(result.paper.title, headline(result), WIDTH)
        waiting = [title(t.table) for t in result.tables if not _ends(t.numbers)]
        told = f" Not drawn, as nothing of it is run yet: {'; '.join(waiting)}." if waiting else ""
        caption = wrapped(_CAPTION + told, WIDTH - 0.2, SMALL)
        top = 0.2 + 0.17 * sum(h.count("\n") + 1 for h in heading)
        foot = 0.42 + 0.13 * (caption.count("\n") + 1)
        heights = [_height(t, columns, left) for t, columns in strips]
        made = style.figure(WIDTH, top + sum(heights) + foot)
        bottom = foot + sum(heights)
        for (t, columns), height in zip(strips, heights, strict=True):
            bottom -= height
            _strip(made, t, columns, left, bottom + _AXIS, height)
        words(made, heading, caption)
        style.legend_at(made, _legend(), foot - 0.25)
    return made


_CAPTION = (
    "Black bar: published. Grey band: where ours counts as reproduced. Point: our mean over seeds with its 95 % "
    "Student interval; open: not all seeds done. A cross at the edge: could not be run."
)


def _columns(one: TableResult) -> list[Head]:
    held = {n.column for n, _ in one.numbers}
    return [h for h in one.table.columns if h.name in held]


def _pieces(columns: Sequence[Head]) -> list[list[Head]]:
    """Columns in lines of equal length."""
    lines = max(1, -(-len(columns) // _PANELS))
    size = -(-len(columns) // lines)
    return [list(columns[i : i + size]) for i in range(0, len(columns), size)]


def _panel(columns: Sequence[Head], left: float) -> float:
    return (WIDTH - left - 0.12 - _GAP * (len(columns) - 1)) / len(columns)


def _titles(one: TableResult, columns: Sequence[Head], left: float) -> tuple[str, list[str]]:
    heading = title(one.table) + (" (%)" if one.table.unit == "percent" else "")
    heading += "" if columns[0] == _columns(one)[0] else ", continued"
    return wrapped(heading, WIDTH - 0.3, NORMAL, "bold"), [
        wrapped(c.label, _panel(columns, left), SMALL) for c in columns
    ]


def _height(one: TableResult, columns: Sequence[Head], left: float) -> float:
    heading, titles = _titles(one, columns, left)
    above = 0.15 * (heading.count("\n") + 1) + 0.13 * max(t.count("\n") + 1 for t in titles) + 0.12
    return above + _tall(one) + _AXIS + 0.12


def _names(rows: Sequence[Head]) -> list[str]:
    return [wrapped(r.label, _NAMES, SMALL) for r in rows]


def _tall(one: TableResult) -> float:
    """Inches of all rows, which are as high as their longest name."""
    lines = max(name.count("\n") + 1 for name in _names(one.table.rows))
    return max(_ROW, 0.12 * lines + 0.02) * len(one.table.rows)


def _strip(made: Figure, one: TableResult, columns: Sequence[Head], left: float, bottom: float, height: float) -> None:
    rows = list(one.table.rows)
    tall, wide = _tall(one), _panel(columns, left)
    heading, titles = _titles(one, columns, left)
    w, h = made.get_size_inches()
    made.text(0.1 / w, (bottom + height - _AXIS - 0.1) / h, heading, fontsize=NORMAL, fontweight="bold", va="top")
    alike = len({str(n.metric) for n, _ in one.numbers}) == 1
    for i, (column, name) in enumerate(zip(columns, titles, strict=True)):
        held = {n.row: (n, v) for n, v in one.numbers if n.column == column.name}
        ax = style.place(made, left + i * (wide + _GAP), bottom, wide, tall)
        shown = list(one.numbers) if alike else list(held.values())
        _axes(ax, rows, name, _range(shown), wide, first=i == 0)
        for y, row in enumerate(rows):
            if row.name in held:
                _place(ax, y, *held[row.name])


def _ticks(span: tuple[float, float], wide: float) -> tuple[list[float], list[str]]:
    """Ticks of a panel so wide, without those whose number would run into the next panel's."""
    found: list[tuple[float, str]] = []
    for most in (4, 5, 7):  # finer, until three are shown or the next would touch
        finer = _shown(span, wide, most)
        if finer is None or len(found) > 2:
            break
        found = finer
    return [t for t, _ in found], [label for _, label in found]


def _shown(span: tuple[float, float], wide: float, most: int) -> list[tuple[float, str]] | None:
    """Ticks of at most so many steps with their numbers; None: the numbers would touch."""
    low, high = span
    known = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = [float(t) for t in known if low <= t <= high]
    digits = next((d for d in range(9) if all(abs(round(t, d) - t) < 1e-9 for t in ticks)), 9)
    labels = [f"{t:.{digits}f}" for t in ticks]
    widest, step = max((width_of(label, SMALL) for label in labels), default=0.0), float(known[1] - known[0])
    if most > 4 and widest + 0.08 > step / (high - low) * wide:
        return None
    places = [(t - low) / (high - low) * wide for t in ticks]
    return [
        (tick, label)
        for tick, label, at in zip(ticks, labels, places, strict=True)
        if width_of(label, SMALL) / 2 < min(at, wide - at) + _GAP / 2 - 0.02
    ]


def _axes(ax: Axes, rows: Sequence[Head], name: str, span: tuple[float, float], wide: float, first: bool) -> None:
    ax.set(xlim=span, ylim=(len(rows) - 0.5, -0.5))
    ax.set_title(name, fontsize=SMALL, pad=3)
    ax.set_yticks(range(len(rows)), _names(rows) if first else [""] * len(rows))
    ax.tick_params(axis="y", length=0)
    ax.set_xticks(*_ticks(span, wide))
    ax.spines[["top", "right", "left"]].set_visible(False)
    for y in range(len(rows)):
        ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)


def _range(shown: Sequence[tuple[Number, Verdict]]) -> tuple[float, float]:
    """Everything that is drawn, and a little room."""
    known = _ends(shown)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _ends(shown: Sequence[tuple[Number, Verdict]]) -> list[float]:
    """Every place of an axis that something is drawn at."""
    ends: list[float] = []
    for number, verdict in shown:
        ends += [v for v in (number.value, verdict.mean, verdict.low, verdict.high) if v is not None]
        ends += list(verdict.allowed or ())
    return [v for v in ends if math.isfinite(v)]


def _place(ax: Axes, y: int, number: Number, verdict: Verdict) -> None:
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
