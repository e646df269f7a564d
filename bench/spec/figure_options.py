"""How figures are drawn for a paper: width, height, title, caption, font and file formats.

A grid's ``figures:``, ``flipbench report --figure`` and the Python API take the same options; `option` checks each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

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


class OneFigure(TypedDict, total=False):
    """Options of one figure as keywords, as `FigureOptions` describes them."""

    width: float | None
    height: float | None
    title: bool
    caption: bool
    font: str | None


class AllFigures(OneFigure, total=False):
    """Options of all figures of a report as keywords."""

    formats: str | Sequence[str]


NAMES = tuple(f.name for f in fields(FigureOptions))


def read(given: Mapping[str, Any]) -> FigureOptions:
    """The options of a mapping.

    Raises:
        UserError: no such option, or a value that it cannot have.
    """
    return FigureOptions(**checked(given))


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a mapping, each value as `FigureOptions` holds it.

    Raises:
        UserError: no such option, or a value that it cannot have.
    """
    return {name: option(name, value) for name, value in given.items()}


def of_texts(texts: Sequence[str]) -> dict[str, Any]:
    """The options of texts like ``width=3.3``, ``title=false`` or ``formats=pdf,svg``; the last of a name counts.

    Raises:
        UserError: no such option, or a value that it cannot have.
    """
    found = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UserError(f"an option of figures is NAME=VALUE, like width=3.3 or title=false; got {text!r}")
        found[name] = option(name, _plain(name, value))
    return found


def _plain(name: str, text: str) -> Any:
    """The value that a text stands for; the text itself where it is none of the kind, which `option` then refuses."""
    if name == "formats":
        return [part.strip() for part in text.split(",")]
    if name in ("title", "caption"):
        return {"true": True, "false": False}.get(text.lower(), text)
    if text.lower() == "none":
        return None
    try:
        return float(text) if name in ("width", "height") else text
    except ValueError:
        return text


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
