"""Checkpoints of federations at work: a worker that is killed costs the rounds since the last one, not the cell.

What a federation draws at random comes from named seeds, so weights, momenta, memories, counters and logs are all
there is to keep, and the rounds after a resume have the bits that they would have had without it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from flipbench.federation.checkpoints.files import Checkpoints, UntrustedError
from flipbench.federation.checkpoints.state_codec import UnsaveableError


class Resumable(Protocol):
    """A running stack of cells with a state that can be saved and restored."""

    def state_of(self, s: int) -> dict[str, Any]:
        """All that moves in a cell, as plain values."""

    def restore(self, s: int, state: dict[str, Any]) -> None:
        """Bring a cell to where it was when its state was taken."""


class Keeper:
    """Keeps the states of the cells of one stack.

    Args:
        places: where and how often.
        keys: of the cells.

    Attributes:
        note: what the record's provenance says of it; None where nothing happened.
    """

    def __init__(self, places: Checkpoints, keys: Sequence[str]) -> None:
        self.places, self.keys = places, list(keys)
        self.note: str | None = None
        self._since = time.monotonic()
        self._off = False

    def even(self) -> bool:
        """Whether the cells can go on together: all have a usable state of the same round, or none has any."""
        return len({None if (state := self._read(key)) is None else state["round"] for key in self.keys}) == 1

    def resume(self, federation: Resumable) -> int:
        """Bring a new federation to where its cells were; how many rounds are done, 0 without usable states.

        Raises:
            RuntimeError: a state did not fit; it is removed.
        """
        states = [state for key in self.keys if (state := self._read(key)) is not None]
        if len(states) < len(self.keys) or len({state["round"] for state in states}) != 1:
            return 0
        for s, state in enumerate(states):
            try:
                federation.restore(s, state)
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                self.places.forget(self.keys[s])
                raise RuntimeError(f"a checkpoint did not fit ({error}); it is removed, run the cell again") from error
        rounds = int(states[0]["round"])
        self.note = f"resumed after round {rounds}"
        return rounds

    def round_done(self, federation: Resumable, r: int) -> None:
        """Save the states when it is time."""
        if self._off or time.monotonic() - self._since < self.places.every:
            return
        try:
            for s, key in enumerate(self.keys):
                self.places.write(key, {"round": r, **federation.state_of(s)})
        except (UnsaveableError, OSError) as error:
            self._off = True  # a federation does without
            self.note = f"no checkpoints: {error}"
        self._since = time.monotonic()

    def _read(self, key: str) -> dict[str, Any] | None:
        """A state; None where there is none that can be trusted, and `note` says why."""
        try:
            return self.places.read(key)
        except UntrustedError as error:
            self.note = f"checkpoint ignored: {error}"
            return None
