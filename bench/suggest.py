"""Near misses for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, known: Iterable[str]) -> str:
    """`` - did you mean 'krum'?`` where something is near enough, else nothing."""
    close = get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f" - did you mean {close[0]!r}?" if close else ""
