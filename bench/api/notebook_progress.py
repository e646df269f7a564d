"""Progress of a run in a notebook: one bar that is drawn anew in its place; elsewhere as on the command line."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from html import escape
from typing import Any

from flipbench.execution import progress
from flipbench.execution.progress import clock, counted, label
from flipbench.spec.cell import Cell

_EVERY = 0.25  # seconds between two drawings


def choose(workers: int, quiet: bool = False) -> progress.Progress:
    """The progress that fits where the program runs."""
    return Bar() if not quiet and in_notebook() else progress.choose(workers, quiet)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@dataclass
class Bar:
    """A bar with counts below it, kept up to date in the output of the notebook's cell."""

    total: int = 0
    before: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    last: str = ""
    began: float = 0.0
    drawn: float = 0.0
    handle: Any = None

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        from IPython import display

        self.total, self.before, self.began = total, done, time.monotonic()
        self.handle = display.display(self, display_id=True)  # type: ignore[no-untyped-call]

    def cell_finished(self, cell: Cell, status: str, seconds: float) -> None:
        """Count the cell."""
        self.counts[status] += 1
        self.last = label(cell)
        if time.monotonic() - self.drawn > _EVERY:
            self._draw()

    def workers_changed(self, workers: int) -> None:
        """Nothing: the bar does not say how many there are."""

    def stop(self) -> None:
        """Leave the last state."""
        self.last = ""
        self._draw()

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        if self.handle is not None:
            self.handle.update(self)

    def __repr__(self) -> str:
        ran, elapsed = self.counts.total(), time.monotonic() - self.began
        parts = [f"{self.before + ran:,} of {counted(self.total, 'cell')}"]
        parts += [f"{self.before:,} done before"] if self.before else []
        parts += [f"{number:,} {status}" for status, number in sorted(self.counts.items()) if status != "done"]
        if ran and self.last:
            parts.append(f"{clock(elapsed / ran * (self.total - self.before - ran))} to go")
        elif ran:
            parts.append(clock(elapsed))
        return ", ".join(parts) + (f"; last: {self.last}" if self.last else "")

    def _repr_html_(self) -> str:
        ended = self.before + self.counts.total()
        return f'<progress value="{ended}" max="{max(1, self.total)}"></progress> <span>{escape(repr(self))}</span>'
