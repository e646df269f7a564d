"""Figures of the report for a caller: which page, attack and panel they show, in which axes, with what look."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, attack_name, pages, showable
from flipbench.analysis.pivot import Pivot
from flipbench.errors import UserError
from flipbench.plugins.definitions import kind_of
from flipbench.report import write
from flipbench.report.figures import accuracy_curves, style
from flipbench.report.figures import heatmap as heatmaps
from flipbench.spec import figure_options
from flipbench.spec.cell import CLEAN
from flipbench.spec.figure_options import FORMATS, FigureOptions
from flipbench.spec.labels import field_label, value_label
from flipbench.spec.suggestions import near

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OF_AXES = ("title", "font")  # options that axes of the caller's can have
_SQUARE, _ROW = 0.55, 0.42  # inches, of a square of a heatmap in axes that are made here
_NAMES, _BELOW = 1.6, 0.9  # inches left of the squares and below them


@dataclass(frozen=True)
class Place:
    """Where a figure is drawn.

    Attributes:
        ax: axes of the caller's; None: new ones.
        path: the file that is written; None: none.
        options: how it is drawn.
        whole: whether it is a figure as of the report, with colour bar, subtitle and caption.
    """

    ax: Axes | None
    path: Path | None
    options: FigureOptions
    whole: bool

    @classmethod
    def of(cls, ax: Axes | None, path: str | Path | None, look: Mapping[str, Any]) -> Place:
        """What a caller asks for.

        Raises:
            UserError: no axes; no such option; options that axes of one's own cannot have; a file of another kind.
        """
        from matplotlib.axes import Axes

        if ax is not None and not isinstance(ax, Axes):
            raise UserError(f"ax is one matplotlib Axes, as of plt.subplots(), or None; got {kind_of(ax)}")
        if "formats" in look:
            raise UserError(
                "formats is of a report's figures: name this one in the format you want, like path='one.pdf'"
            )
        options = figure_options.read(look)
        of_figure = [*(["path"] if path is not None else []), *(name for name in look if name not in _OF_AXES)]
        if ax is not None and of_figure:
            raise UserError(f"{of_figure[0]} is of a figure, and ax has one already: leave out ax or {of_figure[0]}")
        file = None if path is None else _file(path)
        return cls(ax, file, options, ax is None and bool(path is not None or look))

    def draw(self, make: Callable[[], Figure]) -> Axes:
        """The first axes of a figure as of the report, which is written where a file is asked for."""
        with style.drawing(self.options):
            made = make()
            if self.path is not None:
                advice = "choose another path, or free the place"
                write.put(self.path, style.saved(made, self.path.suffix[1:].lower()), advice)
        return made.axes[0]

    def axes(self, width: float, height: float) -> Axes:
        """The caller's axes, else new ones of this size in inches."""
        return self.ax if self.ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]

    def finish(self, ax: Axes, title: str) -> Axes:
        """Title and font of axes that were drawn into."""
        if self.options.title:
            ax.set_title(title, fontsize="medium")
        if self.options.font is not None:
            families = [self.options.font, style.FONT, "sans-serif"]
            ax.tick_params(labelfontfamily=families)
            for text in ax.findobj(Text):
                text.set_fontfamily(families)
        return ax


def heatmap(frame: pd.DataFrame, tidy: pd.DataFrame, metric: str, attack: str | None, place: Place) -> Axes:
    """One attack's heatmap; see `api.results.Results.heatmap`."""
    with frames.labels_of(frame), style.drawing(place.options):
        page, column = _page(frame), metric_column(metric)
        known = showable(page, column)
        chosen = _attack(page, known, attack) if known or attack else None
        table = Pivot(page, tidy).squares(column, [chosen] if chosen else [])
        if table.empty:
            raise UserError(f"{column.label} is not defined for any attack of this grid")
        if place.whole:
            norm = style.scale(table["mean"].tolist(), harm=not column.higher_is_better, gains=True)
            return place.draw(partial(heatmaps.draw, page, table, column, chosen or CLEAN, norm))
        wide = _NAMES + _SQUARE * table["column"].nunique()
        ax = place.axes(wide, _BELOW + _ROW * len(page.rows))
        heatmaps.draw_into(ax, page, table, column)
        return place.finish(ax, _title(column.heading, page, chosen))


def curves(frame: pd.DataFrame, attack: str | None, place: Place) -> Axes:
    """One attack's accuracy by round; see `api.results.Results.curves`."""
    with frames.labels_of(frame), style.drawing(place.options):
        page = _page(frame)
        chosen = _attack(page, page.attacks, attack)
        lines = accuracy_curves.series(page, chosen)
        if lines.empty:
            raise UserError(f"no cell with the attack {chosen} is done")
        across, down = lines.iloc[0]["across"], lines.iloc[0]["down"]
        lines = lines[(lines["across"] == across) & (lines["down"] == down)]
        if place.whole:
            return place.draw(partial(accuracy_curves.draw, page, chosen, lines))
        ax = place.axes(6.0, 3.6)
        accuracy_curves.draw_into(ax, page.rows, lines, accuracy_curves.band(lines)[:2])
        ax.set(xlabel="round", ylabel="accuracy")
        drawn = set(lines["aggregator"])
        keys = [k for rule, k in zip(page.rows, accuracy_curves.keys_of(page.rows), strict=True) if rule in drawn]
        ax.legend(handles=[*keys, accuracy_curves.dashed("clean twin")], fontsize="x-small", frameon=False)
        return place.finish(ax, _title("Test accuracy", page, chosen, malicious_fraction=across))


def _page(frame: pd.DataFrame) -> Page:
    found = pages(frame)
    if not found:
        raise UserError("none of the cells has been run yet")
    return found[0]


def _attack(page: Page, known: Any, attack: str | None) -> str:
    if attack is None:
        if not known:
            raise UserError("the grid has no attack")
        return str(known[0])
    names = {attack_name(page, a): a for a in known} | {a: a for a in known}
    if attack not in names:
        listed = ", ".join(known)
        raise UserError(f"there is no attack {attack!r}{near(attack, names)} to show here; there are {listed}")
    return str(names[attack])


def _title(label: str, page: Page, attack: str | None, **more: Any) -> str:
    """The shown part of the grid: the attack, and of several data sets or partitions which one."""
    about = {**page.about, **more}
    parts = [label, *([attack_name(page, attack)] if attack and attack != CLEAN else [])]
    parts += [f"{field_label(name)} {value_label(name, value)}" for name, value in about.items()]
    return ", ".join(parts)


def _file(path: str | Path) -> Path:
    """The file of a figure, as an absolute path."""
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"path is the name of a file, like 'figure.pdf'; got {kind_of(path)}")
    file = Path(path).expanduser()
    if file.suffix[1:].lower() not in FORMATS:
        raise UserError(
            f"path needs a file that ends in {', '.join(f'.{name}' for name in FORMATS)}; got {str(path)!r}"
        )
    return file.absolute()
