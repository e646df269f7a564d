"""Distinct texts for distinct values: the shortest that tell them apart, also where they must be cut to a width.

Two texts count as equal where a reader of a terminal, a web page or a LaTeX table cannot tell them apart: spaces run
together, letters of other alphabets look like Latin ones, text written from right to left is reordered.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TypeVar

LONGEST = 200
V = TypeVar("V", bound=Hashable)
Way = Callable[[V], str]

# Cyrillic and Greek letters that most fonts draw as a Latin one.
_ALIKE = str.maketrans(
    "асеорхуіјѕԁһӏкмнтвгАВЕКМНОРСТХУІЈЅҮαορυνικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aceopxyijsdhlkmhtbrABEKMHOPCTXYIJSYaopuvikABEZHIKMNOPTYX",
)
_SAME = {"“": "''", "”": "''", '"': "''", "‘": "'", "’": "'", "`": "'"}  # LaTeX and fonts draw them alike
_SAME |= {"–": "--", "—": "---", "−": "-", "‐": "-", "‑": "-", "…": "...", "\N{REPLACEMENT CHARACTER}": "?"}
_SAMES = str.maketrans(_SAME)
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def printable(text: str, longest: int = LONGEST) -> str:
    """Text on one line: what cannot be seen (line ends, control and direction marks) becomes a visible mark."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escaped(text: str) -> str:
    r"""Text in which every character can be seen: those beyond ASCII and those that are no mark as ``\xe9``."""
    return text.encode("unicode_escape").decode("ascii").replace("\\\\", "\\")


@lru_cache(maxsize=65536)
def look(text: str) -> str:
    """What a reader sees of a text: equal for texts that look alike."""
    if text.isascii():
        plain = text.replace('"', "''").replace("`", "'")
        return plain if "  " not in plain and plain == plain.strip() else " ".join(plain.split())
    plain = unicodedata.normalize("NFKC", text.translate(_SAMES)).translate(_SAMES).translate(_ALIKE)
    plain = " ".join(plain.split())
    if any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in plain):
        return "".join(sorted(plain))  # in which order its parts are drawn depends on the program
    return plain


def distinct(values: Iterable[V], *ways: Way[V], numbered: Callable[[V, int], str] | None = None) -> dict[V, str]:
    """Value -> text; no two look alike, and each is the first of the ways in which it can be told from all others.

    Args:
        values: all that are shown together.
        ways: of naming a value, the shortest first.
        numbered: names a value that no way tells apart by its number, from 1; None: ``name (2)`` of the last way.
    """
    every = list(dict.fromkeys(values))
    level = dict.fromkeys(every, 0)
    texts = {value: ways[0](value) for value in every}
    while True:
        groups: dict[str, list[V]] = {}
        for value, text in texts.items():
            groups.setdefault(look(text), []).append(value)
        raised = [v for same in groups.values() if len(same) > 1 for v in same if level[v] + 1 < len(ways)]
        for value in raised:
            level[value] += 1
            texts[value] = ways[level[value]](value)
        if not raised:
            break
    return _numbered(texts, groups, numbered or (lambda value, number: f"{texts[value]} ({number})"))


def _numbered(texts: dict[V, str], groups: Mapping[str, list[V]], name: Callable[[V, int], str]) -> dict[V, str]:
    """Texts of which those that still look alike have numbers, which no other text looks like."""
    named = dict(texts)
    taken = {seen for seen, same in groups.items() if len(same) == 1}
    for same in groups.values():
        number = 0
        for value in same if len(same) > 1 else ():
            while look(named[value]) in taken or number == 0:
                number += 1
                named[value] = name(value, number)
            taken.add(look(named[value]))
    return named


def fitted(texts: Iterable[str], room: int | Mapping[str, int]) -> dict[str, str]:
    """Text -> the same text within so many characters; no two that differ look alike afterwards.

    Cut at the end where that tells them apart, else in the middle, else at the front, else numbered.

    Args:
        texts: all that are shown together.
        room: characters, of all or of each.
    """
    rooms = (lambda text: room) if isinstance(room, int) else room.__getitem__
    return fitted_where(texts, lambda text, whole: len(text) <= max(1, rooms(whole)))


def fitted_where(texts: Iterable[str], fits: Callable[[str, str], bool]) -> dict[str, str]:
    """`fitted` for any measure: ``fits(short, whole)`` says whether there is room for a shorter form of a text."""

    def cut(text: str, front: float, mark: str = "…", numbered: bool = False) -> str:
        if not numbered and fits(text, text):
            return text
        for kept in range(len(text) - 1, 0, -1):
            head = round(kept * front)
            short = text[:head].rstrip() + mark + text[len(text) - (kept - head) :].lstrip()
            if fits(short, text):
                return short
        return mark

    ways: Sequence[Way[str]] = [partial(cut, front=share) for share in (1.0, 0.5, 0.25, 0.75, 0.0)]
    return distinct(texts, *ways, numbered=lambda text, number: cut(text + " " * 9, 1.0, f"…{number}", numbered=True))


def ending(parts: int) -> Way[str]:
    """The last parts of a path."""
    return lambda text: "/".join(re.split(r"[/\\]+", text.rstrip("/\\"))[-parts:])
