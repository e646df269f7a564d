"""What was computed of a frame is not computed again while that frame is in use.

A report asks for the same pages and squares again and again (text, LaTeX, CSV, page, pictures). Frames cannot be
hashed, so they are told apart by who they are; nobody changes one after it was made.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import pandas as pd

T = TypeVar("T")


class Remembered:
    """Answers for the latest frames alone: as soon as another is asked about, those before are forgotten."""

    def __init__(self) -> None:
        self._frame: Callable[[], pd.DataFrame | None] = lambda: None
        self._known: dict[Hashable, tuple[Any, Any]] = {}

    def of(self, frame: pd.DataFrame, parts: Sequence[Any], facts: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, or gave before.

        Args:
            frame: the frame that it all comes from.
            parts: other objects that it depends on, told apart by who they are; kept while the answer is.
            facts: what else it depends on.
            make: makes it.
        """
        if self._frame() is not frame:
            self._frame, self._known = weakref.ref(frame), {}
        name = (tuple(map(id, parts)), facts)
        if name not in self._known:
            self._known[name] = (make(), parts)  # a part that is kept shares its id with nobody
        answer: T = self._known[name][0]
        return answer
