"""Places the parts of a figure by their measured sizes: title, subtitle, rows of panels, colour bar, legend, caption.

A drawing makes a `Sheet`, draws into its panels and ends with `Sheet.finish`. Tick labels, titles and legends are
measured as matplotlib will draw them, so that no drawing adds up heights and widths of its own. All sizes are inches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from flipbench.errors import UserError
from flipbench.report.figures import style
from flipbench.report.figures.style import NORMAL, SMALL, percent_ticks

WIDTH = 7.0  # both columns of a two-column page: of the 7.16 of IEEE and 7.0 of ACM the least
COLUMN = 3.3  # one of them: of the 3.5 of IEEE, 3.33 of ACM and 84 mm of Springer the least
_EDGE, _TOP, _BOTTOM = 0.1, 0.06, 0.05  # left and right, above, below all parts
_SPACE, _LINE = 0.1, 0.04  # between two parts, between title and subtitle
_APART = 0.04  # between the labels of neighbouring panels, at least
_BAR, _BESIDE = 0.12, 0.1  # width of a colour bar, its distance from the panels
_NARROWEST = 0.6  # of a panel with an axis of numbers
_PROVISIONAL = 10.0  # height while parts are measured
_LOWEST = 0.75  # of the height of panels by default: with less, texts in squares would touch


class TooSmall(UserError):
    """A chosen width or height has no room for what is drawn.

    Attributes:
        side: width or height.
        needed: inches that the figure needs, rounded up.
    """

    def __init__(self, side: str, needed: float, given: float) -> None:
        self.side, self.needed = side, math.ceil(20 * needed) / 20
        super().__init__(
            f"the figure needs a {side} of {self.needed:g} inches for its panels and labels, got {given:g}; "
            f"choose a larger {side}, or leave fewer rules, attacks or settings"
        )


class Row(NamedTuple):
    """Panels side by side."""

    panels: int
    height: float
    places: int  # that share the width; more than panels where the row is not full
    heading: str = ""  # above them, bold


class Panel(NamedTuple):
    """Axes, and whether they need labels on the left and below."""

    ax: Axes
    leftmost: bool
    lowest: bool


class Bar(NamedTuple):
    """What a colour bar shows."""

    norm: Normalize
    cmap: Colormap
    label: str


def grid(panels: int, across: int, height: float = 1.0) -> list[Row]:
    """Rows of so many panels each, the last one with what is left."""
    return [Row(min(across, panels - start), height, across) for start in range(0, panels, across)]


class Sheet:
    """A figure whose parts are placed when all are known; make and use it under `style.style`.

    Args:
        rows: of panels, which share the width.
        width: of the figure.
        panel: the least and the greatest width of a panel; the figure is as wide as that makes it.
        least: the least width of the figure, for its texts.
        gap: between panels side by side; more where their labels need it.
        bar: a colour bar to the right of all panels.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        width: float = WIDTH,
        panel: tuple[float, float] = (_NARROWEST, math.inf),
        least: float = 0.0,
        gap: float = 0.14,
        bar: Bar | None = None,
    ) -> None:
        chosen = style.options().width
        # A figure of a chosen width is filled; else it is as wide as its panels need.
        if chosen is not None:
            width, least, panel = chosen, chosen, (panel[0], math.inf)
        self.figure = Figure(figsize=(width, _PROVISIONAL))
        FigureCanvasAgg(self.figure)
        self.panel_width = panel
        self._rows, self._width, self._least, self._gap = list(rows), width, least, gap
        self._bar = bar
        self.panels: list[Panel] = []
        self._axes: list[list[Axes]] = []
        for row, below in zip(self._rows, [*(row.panels for row in self._rows[1:]), 0], strict=False):
            room = (width - 1.5) / row.places
            axes = [self.figure.add_axes((0, 0, room / width, row.height / _PROVISIONAL)) for _ in range(row.panels)]
            self._axes.append(axes)
            self.panels += [Panel(ax, at == 0, at >= below) for at, ax in enumerate(axes)]
        self._headings = [self._text(row.heading, width - 0.3, weight="bold") for row in self._rows]
        self._bar_axes = None
        if bar is not None:
            high = sum(row.height for row in self._rows) / _PROVISIONAL
            self._bar_axes = self.figure.add_axes((0, 0, _BAR / width, high))
            made = self.figure.colorbar(ScalarMappable(bar.norm, bar.cmap), cax=self._bar_axes)
            made.outline.set_linewidth(0.6)
            percent_ticks(self._bar_axes.yaxis)

    def set_height(self, height: float) -> None:
        """Give all panels another height."""
        self._rows = [row._replace(height=height) for row in self._rows]

    def fit(self) -> list[float]:
        """The width of each panel that the labels drawn so far leave."""
        widths = self._measured().widths
        return [wide for row, wide in zip(self._rows, widths, strict=True) for _ in range(row.panels)]

    def finish(
        self, title: str = "", subtitle: str = "", caption: str = "", legend: Sequence[Artist] = (), columns: int = 5
    ) -> Figure:
        """Place all parts and return the figure.

        Args:
            title, subtitle: on top, the title bold.
            caption: at the bottom.
            legend: entries, above the caption.
            columns: of the legend at most; fewer where they would not fit.
        """
        chosen = style.options()
        title, subtitle = (title, subtitle) if chosen.title else ("", "")
        caption = caption if chosen.caption else ""
        for _ in range(2):  # ticks may change with the size of their panel
            sizes = self._measured()
            self.figure.set_size_inches(sizes.width, _PROVISIONAL)
            bottom = self._put_panels(sizes, _PROVISIONAL)
        if chosen.width is not None and sizes.width > chosen.width + 0.005:
            raise TooSmall("width", sizes.width, chosen.width)
        room = sizes.width - 2 * _EDGE
        # Fitted to whole pixels, letters come out a little wider than they are, bold ones more so.
        heading = [*self._text(title, 0.95 * room, NORMAL + 1, "bold"), *self._text(subtitle, 0.97 * room)]
        foot = [*self._legend(legend, columns, room), *self._text(caption, room, SMALL)]
        top = _TOP + sum(self._height(part) + _LINE for part in heading) + _LINE
        height = top + (_PROVISIONAL - bottom) + sum(_SPACE + self._height(part) for part in foot) + _BOTTOM
        if chosen.height is not None and self._rows:
            self._scale_rows(chosen.height, height)
            height = chosen.height
        self.figure.set_size_inches(sizes.width, height)
        y = height - _TOP
        for part in heading:
            self._put_text(part, y)
            y -= self._height(part) + _LINE
        y = self._put_panels(sizes, height - top)
        for part in foot:
            self._put_text(part, y - _SPACE)
            y -= _SPACE + self._height(part)
        return self.figure

    def _scale_rows(self, wanted: float, height: float) -> None:
        """Give the rows of panels what a chosen height leaves them."""
        panels = sum(row.height for row in self._rows)
        scaled = panels + wanted - height
        if scaled < _LOWEST * panels:
            raise TooSmall("height", height - (1 - _LOWEST) * panels, wanted)
        self._rows = [row._replace(height=row.height * scaled / panels) for row in self._rows]

    # ---- measuring --------------------------------------------------------------------------------------------------

    def _measured(self) -> _Sizes:
        """What the labels drawn so far need, and what they leave to the panels."""
        rows = [[self._over(ax) for ax in axes] for axes in self._axes]
        left = max((row[0].left for row in rows), default=0.0)
        right = max((row[-1].right for row in rows), default=0.0)
        gap = max([self._gap, *(a.right + b.left + _APART for row in rows for a, b in pairwise(row))])
        rooms = [(max(o.above for o in row), max(o.below for o in row)) for row in rows]
        beside = 0.0
        if self._bar is not None and self._bar_axes is not None:
            self._bar_axes.set_ylabel(wrapped(self._bar.label, sum(row.height for row in self._rows) + 0.3))
            bar, beside = self._over(self._bar_axes), max(_BESIDE, right + _APART)
            right = beside + _BAR + bar.right
            rooms[0] = max(rooms[0][0], bar.above), rooms[0][1]
            rooms[-1] = rooms[-1][0], max(rooms[-1][1], bar.below)
        free = self._width - 2 * _EDGE - left - right
        least, most = self.panel_width
        widths = [min(most, max(least, (free + gap) / row.places - gap)) for row in self._rows]
        across = [row.places * (wide + gap) - gap for row, wide in zip(self._rows, widths, strict=True)]
        whole = max(across, default=free)  # a figure may have no panels
        width = max(self._least, 2 * _EDGE + left + whole + right)
        return _Sizes(width, widths, left, gap, rooms, _EDGE + left + whole + beside)

    def _over(self, ax: Axes) -> _Overhang:
        """How far ticks, labels and texts reach beyond their axes."""
        frame = ax.get_window_extent()
        box = ax.get_tightbbox() or frame
        beyond = (frame.x0 - box.x0, frame.y0 - box.y0, box.x1 - frame.x1, box.y1 - frame.y1)
        return _Overhang(*(max(0.0, float(pixels)) / self.figure.dpi for pixels in beyond))

    def _height(self, part: Text | Legend) -> float:
        return float(part.get_window_extent().height) / self.figure.dpi

    # ---- placing ----------------------------------------------------------------------------------------------------

    def _put_panels(self, sizes: _Sizes, top: float) -> float:
        """Give panels and bar their sizes and places; the height at which their labels end."""
        y, ends = top, []
        rows = zip(self._axes, self._rows, self._headings, sizes.widths, sizes.rooms, strict=True)
        for axes, row, headings, wide, (above, below) in rows:
            for text in headings:
                self._put_text(text, y)
                y -= self._height(text) + _LINE
            y -= above
            ends += [y, y - row.height]
            for place, ax in enumerate(axes):
                self._put(ax, _EDGE + sizes.left + place * (wide + sizes.gap), y - row.height, wide, row.height)
            y -= row.height + below + _SPACE
        if self._bar_axes is not None:
            self._put(self._bar_axes, sizes.bar, ends[-1], _BAR, ends[0] - ends[-1])
        return y + _SPACE

    def _put(self, ax: Axes, x: float, y: float, wide: float, high: float) -> None:
        w, h = self.figure.get_size_inches()
        ax.set_position((x / w, y / h, wide / w, high / h))

    def _put_text(self, part: Text | Legend, y: float) -> None:
        """Its upper left corner at this height."""
        w, h = self.figure.get_size_inches()
        put = part.set_bbox_to_anchor if isinstance(part, Legend) else part.set_position
        put((_EDGE / w, y / h))

    def _text(self, text: str, inches: float, size: float = NORMAL, weight: str = "normal") -> list[Text | Legend]:
        """The text in the figure, in lines of so many inches; none for an empty one."""
        lines = wrapped(text, inches, size, weight)
        return [self.figure.text(0, 0, lines, fontsize=size, fontweight=weight, va="top")] if lines else []

    def _legend(self, entries: Sequence[Artist], columns: int, room: float) -> list[Text | Legend]:
        """A legend of as many columns as fit; none without entries."""
        plain: dict[str, Any] = {"loc": "upper left", "frameon": False, "borderaxespad": 0, "borderpad": 0}
        for across in range(min(columns, len(entries)), 0, -1):
            made = self.figure.legend(handles=list(entries), ncols=across, **plain)
            if across == 1 or made.get_window_extent().width / self.figure.dpi <= room:
                return [made]
            made.remove()
        return []


class _Sizes(NamedTuple):
    """Sizes of the parts of a figure."""

    width: float  # of the figure
    widths: list[float]  # of a panel in each row
    left: float  # of the first panels: room for their labels
    gap: float  # between two panels
    rooms: list[tuple[float, float]]  # above and below the panels of each row
    bar: float  # from the left edge to the colour bar


class _Overhang(NamedTuple):
    left: float
    below: float
    right: float
    above: float


def width_of(text: str, size: float = NORMAL, weight: str = "normal") -> float:
    """Inches that a line of text takes."""
    return _width_of(text, size, weight, style.options().font or style.FONT)


@lru_cache(maxsize=4096)
def _width_of(text: str, size: float, weight: str, family: str) -> float:
    if not text.strip():
        return 0.0
    font = FontProperties(family=[family, style.FONT], size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def widest(texts: Iterable[str], size: float = SMALL) -> float:
    """Inches that the longest line of some texts takes."""
    return max((width_of(line, size) for text in texts for line in text.split("\n")), default=0.0)


def wrapped(text: str, inches: float, size: float = NORMAL, weight: str = "normal") -> str:
    """Text in lines of at most so many inches, broken at spaces, else between the parts of a name, else anywhere."""
    lines, line = [], ""

    def fit(some: str) -> bool:
        return width_of(some, size, weight) <= inches

    for word in text.split(" "):
        longer = f"{line} {word}".strip()
        if line and not fit(longer):
            lines.append(line)
            longer = word
        while not fit(longer) and len(longer) > 4:
            fits = next(n for n in range(len(longer) - 1, 0, -1) if n <= 4 or fit(longer[:n]))
            fits = _joint(longer[:fits]) or fits
            lines.append(longer[:fits])
            longer = longer[fits:]
        line = longer
    return "\n".join([*lines, line])


def _joint(text: str) -> int:
    """How much of a name stays on its line: all to its last bracket, comma or bar, else mark; 0 where it has none."""
    ends = ([text.rfind(mark) + 1 for mark in marks] for marks in ("(,|", "_=:/-→"))
    return next((most for most in map(max, ends) if most > 1), 0)
