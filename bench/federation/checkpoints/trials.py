"""The answers of an adaptive attack's trials on disk: a worker that is killed costs the trials since, not the search.

    results/<grid>/checkpoints/<key>-trials.state    as `federation.checkpoints.files` writes states

A search draws from a named seed, so that it asks for the same trials in the same order every time. What is read back
is used as long as that holds; from the first trial that differs on, trials are run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from flipbench.federation.checkpoints.files import Checkpoints, UntrustedError, trials_of


class TrialLog:
    """The trials of one cell so far.

    Args:
        places: where states are kept.
        key: of the cell.
    """

    def __init__(self, places: Checkpoints, key: str) -> None:
        self._key, self._places = trials_of(key), places
        try:
            state = places.read(self._key)
        except UntrustedError:
            state = None
        self._known: list[tuple[str, Tensor]] = [] if state is None else state["answers"]
        self._next, self._since, self._off = 0, time.monotonic(), False

    def answers(self, flips: Sequence[Any], rounds: int, run: Callable[[], list[Tensor]]) -> list[Tensor]:
        """What these trials gave, run if that is not known.

        Args:
            flips: label flips; None: nothing is flipped.
            rounds: of each.
            run: runs them.
        """
        names = [f"{rounds} rounds of {_name(flip)}" for flip in flips]
        end = self._next + len(names)
        if [name for name, _ in self._known[self._next : end]] == names:
            self._next, first = end, self._next
            return [answer for _, answer in self._known[first:end]]
        answers = run()
        self._known[self._next :] = zip(names, answers, strict=True)
        self._next = end
        self._save()
        return answers

    def _save(self) -> None:
        if self._off or time.monotonic() - self._since < self._places.every:
            return
        try:
            self._places.write(self._key, {"answers": self._known})
        except OSError:
            self._off = True  # a search does without
        self._since = time.monotonic()


def _name(flip: Any) -> str:
    """The same for the same flip in every process."""
    if isinstance(flip, partial):
        return f"{_name(flip.func)}{flip.args!r}{sorted(flip.keywords.items())!r}"
    return "nothing" if flip is None else f"{flip.__module__}.{getattr(flip, '__qualname__', repr(flip))}"
