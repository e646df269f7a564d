"""How figures are drawn for a paper: width, height, title, caption, font and file formats.

A grid's ``figures:``, ``flipbench report`` and the Python API take the same options, and `option` checks each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from flipbench.errors import UserError
from flipbench.spec.suggestions import near

FORMATS = ("pdf", "svg", "png")
LEAST, MOST = 1.5, 40.0  # inches, of a width or height


@dataclass(frozen=True)
class FigureOptions:
    """Options of all figures of a grid.

    Attributes:
        width: inches; None: a column (3.3) where a figure fits into it, else as wide as it needs, up to 7.0.
        height: inches; None: as high as its rows need.
        title: whether the title and the line below it are drawn.
        caption: whether the caption is drawn.
        font: name of an installed font; None: DejaVu Sans, which comes with matplotlib.
        formats: suffixes of the files that are written.
    """

    width: float | None = None
    height: float | None = None
    title: bool = True
    caption: bool = True
    font: str | None = None
    formats: tuple[str, ...] = FORMATS


NAMES = tuple(f.name for f in fields(FigureOptions))


def read(given: Mapping[str, Any]) -> FigureOptions:
    """The options of a mapping.

    Raises:
        UserError: no such option, or a value that it cannot have.
    """
    return FigureOptions(**{name: option(name, value) for name, value in given.items()})


def option(name: str, value: Any) -> Any:
    """The value of one option as `FigureOptions` holds it.

    Raises:
        UserError: no such option, or a value that it cannot have.
    """
    if name not in _CHECKS:
        raise UserError(f"unknown option {name!r}{near(str(name), NAMES)}; figures have {', '.join(NAMES)}")
    return _CHECKS[name](name, value)


def _inches(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not LEAST <= number <= MOST:
        raise UserError(
            f"{name} is a number of inches from {LEAST:g} to {MOST:g}, like 3.3 for a column; got {value!r}"
        )
    return number


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{name} is true or false, got {value!r}")
    return value


def _font(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise UserError(f"{name} is the name of an installed font, like DejaVu Serif; got {value!r}")
    if value is None:
        return None
    from matplotlib import font_manager  # half a second, which only those pay who choose a font

    known = sorted({font.name for font in font_manager.fontManager.ttflist})
    if value not in known:
        raise UserError(
            f"the font {value!r} is not installed here{near(value, known)}; choose one of the {len(known)} that "
            "matplotlib finds, like DejaVu Sans, DejaVu Serif or STIXGeneral"
        )
    return str(value)


def _formats(name: str, value: Any) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not several or not all(v in FORMATS for v in several):
        raise UserError(f"{name} is a list of some of {', '.join(FORMATS)}; got {value!r}")
    return tuple(dict.fromkeys(several))


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "width": _inches,
    "height": _inches,
    "title": _yes_or_no,
    "caption": _yes_or_no,
    "font": _font,
    "formats": _formats,
}
