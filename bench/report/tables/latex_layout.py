r"""How wide text is in LaTeX, where it may break, and how the columns and rows of a table are cut to fit a page.

Widths are those of Computer Modern at 7 points (``\scriptsize`` of a 10-point document), which is wider than the fonts
of journals; the limits hold for the articles, proceedings and notes of the usual classes (article, IEEEtran, acmart,
llncs), in one and in two columns, and leave room for documents of 11 points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

COLUMN, TEXT = 205.0, 335.0  # points: of a column of two, of the text of the narrowest one-column class
SEPARATION = 6.0  # points between two columns: \tabcolsep on both sides
TALLEST = 440.0  # points of a table with caption and notes
ROW, LINE = 10.0, 8.0  # points: of a row's first line, of each further one
_POINTS = {  # cmr7
    **dict.fromkeys("!',.:;il", 2.3),
    **dict.fromkeys("fj[]", 2.6),
    **dict.fromkeys("-I()rt", 3.1),
    **dict.fromkeys(" sc", 3.5),
    **dict.fromkeys('ez?*"/', 3.8),
    **dict.fromkeys("0123456789ago{}J$", 4.0),
    **dict.fromkeys("kqvxySbdhnpu", 4.4),
    **dict.fromkeys("ZLEF", 5.2),
    **dict.fromkeys("PBCTwRAHNUVXY", 5.9),
    **dict.fromkeys("DKOQ&+=<>~|^\\_±–×", 6.2),
    **dict.fromkeys("#%mG", 6.6),
}
_WIDEST = 8.2  # any other character
BOLD = 1.15
EM = 7.97  # points of an em; in em, boxes grow with the font of the document
_PIECES = re.compile(r"[^ ,;:_=|(/@-]*[,;:_=|(/@-]* ?")


def width(text: str, bold: bool = False) -> float:
    """Points that a line of text takes."""
    return sum(_POINTS.get(c, _WIDEST) for c in text) * (BOLD if bold else 1.0)


def number_width(digits: int, points: int, halves: bool, bold: bool = False) -> float:
    """Points that a number takes, with a plus-minus sign between thin spaces where it has a half width."""
    return (4.0 * digits + 2.3 * points) * (BOLD if bold else 1.0) + (8.6 if halves else 0.0)


def unbreakable(text: str) -> list[str]:
    """The parts of a text between which a line may end: at spaces, and behind commas, bars and the like of a name."""
    return [part for part in _PIECES.findall(text) if part]


def least_width(texts: Sequence[str], most: float) -> float:
    """The width that the longest unbreakable part needs, at most ``most``: then it is broken anywhere."""
    return min(most, max((width(part.rstrip()) for text in texts for part in unbreakable(text)), default=0.0))


def lines(text: str, room: float) -> int:
    """Lines that a text takes in a box so wide."""
    count, used = 1, 0.0
    for part in unbreakable(text):
        own = width(part.rstrip())
        if used and used + own > room:
            count, used = count + 1, 0.0
        used += width(part)
        count += int(max(0.0, own - 1e-9) // room) if own > room else 0
    return count


def column_parts(widths: Sequence[float], groups: Sequence[object], names: float) -> list[list[int]]:
    """Columns in as few parts as fit into the text beside the names of the rows, cut between groups where possible.

    Args:
        widths: points of each column, separation included.
        groups: what columns belong together; equal neighbours do.
        names: points of the first column.
    """
    room = TEXT - names
    found: list[list[int]] = [[]]
    at = 0
    while at < len(widths):
        end = at + 1
        while end < len(widths) and groups[end] == groups[at]:
            end += 1
        group = list(range(at, end))
        if found[-1] and sum(widths[j] for j in (*found[-1], *group)) > room:
            found.append([])
        for j in group:
            if found[-1] and sum(widths[k] for k in found[-1]) + widths[j] > room:
                found.append([])
            found[-1].append(j)
        at = end
    return [part for part in found if part]


def row_parts(heights: Sequence[float], head: float, room: float) -> list[range]:
    """Rows in as few parts of about equal height as fit, each below a head of its own; at least a row in each."""
    whole, most = sum(heights), max(room - head, 1.0)
    each = whole / max(1, -(-whole // most)) + max(heights, default=0.0)
    bounds, used = [0], 0.0
    for i, high in enumerate(heights):
        if i > bounds[-1] and used + high > min(most, each):
            bounds.append(i)
            used = 0.0
        used += high
    return [range(a, b) for a, b in zip(bounds, [*bounds[1:], len(heights)], strict=True)]
