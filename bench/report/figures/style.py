"""Style of all figures, whatever the user's matplotlibrc; colour scales, marks of squares, and the bytes of files.

`drawing` sets the options of a grid or a call (width, title, font and others), which `options` tells all drawings.
A figure is a value: functions return it, and only `report.write` writes files. Equal figures give equal bytes: no
dates, no random ids. Single-hue scales and hatches, so that neither colour vision nor a grey printer matters; blue is
good to have much of, orange is harm.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from flipbench.spec.figure_options import FORMATS, FigureOptions

SMALL, NORMAL = 7.0, 8.0  # points; nothing is smaller
DPI = 200  # of the PNG
PACKED = 3  # zlib's level for it: 2 % larger files than at the usual 6, in two thirds of the time
MARK = "flipbench"  # in the metadata of every file, by which stale ones are known as ours
HATCH = "////"
# Okabe & Ito's colours, the yellow left out (too light on white), a grey and a wine red; then markers tell lines apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#808080", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

FONT = "DejaVu Sans"
_STYLE: dict[str, Any] = {
    "font.family": [FONT, "sans-serif"],  # ships with matplotlib: the same widths everywhere
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "hatch.color": "0.45",
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.usetex": False,
    "svg.hashsalt": MARK,
    "svg.fonttype": "none",  # text stays text: it can be searched, and changed in a drawing program
    "pdf.fonttype": 42,  # TrueType, embedded: what IEEE and ACM take
    "savefig.dpi": DPI,
}


_OPTIONS: ContextVar[FigureOptions] = ContextVar("figure options", default=FigureOptions())  # noqa: B039 - frozen


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours on top, whatever the user has set."""
    own = {"font.family": [options().font, FONT, "sans-serif"]} if options().font else {}
    with matplotlib.style.context(["default", _STYLE | own]):
        yield


def options() -> FigureOptions:
    """How figures are drawn now."""
    return _OPTIONS.get()


@contextmanager
def drawing(chosen: FigureOptions) -> Iterator[None]:
    """Draw all figures with these options."""
    before = _OPTIONS.set(chosen)
    try:
        yield
    finally:
        _OPTIONS.reset(before)


def files(made: Figure, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """The figure by suffix, as PDF and SVG with text as text, and PNG; equal figures give equal bytes."""
    return {f".{name}": saved(made, name) for name in formats}


def saved(made: Figure, name: str) -> bytes:
    """The figure in one of the formats; no date, no random id."""
    more: dict[str, Any] = {
        "pdf": {"metadata": {"CreationDate": None, "Creator": MARK, "Producer": MARK}},
        "svg": {"metadata": {"Date": None, "Creator": MARK}},
        "png": {"dpi": DPI, "metadata": {"Software": MARK}, "pil_kwargs": {"compress_level": PACKED}},
    }
    with style():
        out = io.BytesIO()
        made.savefig(out, format=name, **more[name])
    return out.getvalue()


def is_ours(path: Path) -> bool:
    """Whether a figure was drawn here: a PDF says so at its end, the others at the beginning."""
    raw = path.read_bytes()
    return MARK.encode() in raw[:4096] or (raw.startswith(b"%PDF") and MARK.encode() in raw)


def mesh(ax: Axes, values: np.ndarray[Any, Any], norm: Normalize, cmap: Colormap, gap: float) -> QuadMesh:
    """Coloured squares of side 1, row 0 on top, with white gaps (points) between; NaN stays blank; no frame."""
    import seaborn  # here, because its import takes a second, which tables need not pay

    ticks = [(axis, axis.get_major_locator(), axis.get_major_formatter()) for axis in (ax.xaxis, ax.yaxis)]
    seaborn.heatmap(
        values,
        ax=ax,
        norm=norm,
        vmin=norm.vmin,  # otherwise seaborn looks for them in values that may all be missing
        vmax=norm.vmax,
        cmap=cmap,
        cbar=False,
        linewidths=gap,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
    )
    for axis, locator, formatter in ticks:  # seaborn takes away the ticks that stood there
        axis.set_major_locator(locator)
        axis.set_major_formatter(formatter)
    ax.tick_params(length=0)
    drawn = ax.collections[-1]
    assert isinstance(drawn, QuadMesh)
    return drawn


def percent_ticks(axis: Axis) -> None:
    """Shares as per cent."""
    axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6) + 0.0:g}")  # no negative zero


def middles(names: Sequence[Any]) -> list[float]:
    """Where the labels of squares stand."""
    return [place + 0.5 for place in range(len(names))]


def lines_behind(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Thin grey lines at the ticks, behind all that is drawn."""
    ax.grid(axis=axis, color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)


def colours(good: bool, norm: Normalize | None = None) -> Colormap:
    """Light is little; blue for what is good to have, orange for harm, and blue for harm below 0, which is a gain.

    Args:
        good: whether much of it is good to have.
        norm: the scale; on both sides of 0 only harm has two hues, equally strong at equal distances.
    """
    if good or norm is None or not (norm.vmin or 0.0) < 0 < (norm.vmax or 0.0):
        return mpl.colormaps["Blues" if good else "Oranges"]
    at = np.linspace(float(norm.vmin or 0.0), float(norm.vmax or 0.0), 256)
    strong = np.abs(at) / np.abs(at).max()
    both = np.where((at < 0)[:, None], mpl.colormaps["Blues"](strong), mpl.colormaps["Oranges"](strong))
    return ListedColormap(both)


def scale(values: Sequence[float], harm: bool, gains: bool = False) -> Normalize:
    """The range of one metric over everything that is drawn of it, to the next 5 %, at least 10 % wide; harm from 0.

    Args:
        values: all that is drawn.
        harm: whether 0 is where it begins.
        gains: whether harm below 0 has colours of its own (`colours`), else that of 0.
    """
    known = [v for v in values if not math.isnan(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low, high = math.floor(low * 20 + 1e-9) / 20, math.ceil(high * 20 - 1e-9) / 20
    low = (min(0.0, low) if gains else 0.0) if harm else low
    if high - low < 0.1:
        high = min(1.0, low + 0.1)
        low = min(low, high - 0.1)
    return Normalize(round(low, 4), round(high, 4))


def ink(value: float, norm: Normalize, cmap: Colormap) -> str:
    """Black or white, whichever reads better on the square's colour (relative luminance, WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in cmap(norm(value))[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.18 else "black"


def infeasible(x: float, y: float, width: float = 1.0, height: float = 1.0) -> Rectangle:
    """A hatched square: the rule's conditions do not hold."""
    inset = 0.02  # so that neighbours stay squares of their own
    corner, size = (x + inset, y + inset), (width - 2 * inset, height - 2 * inset)
    return Rectangle(corner, *size, facecolor="white", edgecolor="0.45", hatch=HATCH, linewidth=0)


def unknown(x: float, y: float) -> Rectangle:
    """A grey square: no number (yet)."""
    return Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor="0.9", edgecolor="none", linewidth=0)


def keys_of(states: set[str]) -> list[Patch]:
    """Legend entries for the squares that have no colour."""
    hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.45", "hatch": HATCH, "linewidth": 0}
    grey: dict[str, Any] = {"facecolor": "0.9", "edgecolor": "none"}
    entries = [({"infeasible"}, "infeasible", hatched), ({"failed", "missing"}, "? failed or not run", grey)]
    entries.append(({"undefined"}, "n/a not defined on this test set", grey))
    return [Patch(label=label, **look) for of, label, look in entries if states & of]
