"""Displays of a run's progress: a live table on a terminal, one plain line a cell elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flipbench.spec.cell import Cell
from flipbench.spec.reference import CODE


class Progress(Protocol):
    """What the runner calls as a run goes on, in the driver's own thread or any other."""

    def start(self, total: int, done: int) -> None:
        """A run of so many cells begins; so many of them were done before."""

    def cell_finished(self, cell: Cell, status: str, seconds: float) -> None:
        """A cell ended as ``done``, ``infeasible`` or ``failed`` after so many seconds of work."""

    def workers_changed(self, workers: int) -> None:
        """The number of workers changed to this."""

    def stop(self) -> None:
        """The run ends, for whatever reason."""


def choose(workers: int, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """The progress that fits the stream (default: stdout)."""
    stream = stream or sys.stdout
    if quiet:
        return Quiet()
    return Board(workers, Console(file=stream)) if stream.isatty() else Lines(stream)


def label(cell: Cell) -> str:
    """A cell in one line: what differs between the cells of most grids."""
    attacked = f"rate={cell.flip_rate:g} malicious={cell.malicious}" if cell.attacked else f"f={cell.byzantine}"
    names = f"{cell.aggregator}  {cell.attack if cell.attacked else 'clean'}"
    return f"{CODE.sub('', names)}  {attacked} seed={cell.seed}"


class Quiet:
    """Shows nothing."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def cell_finished(self, cell: Cell, status: str, seconds: float) -> None:
        """Nothing."""

    def workers_changed(self, workers: int) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


@dataclass
class Lines:
    """One line a cell, for logs and pipes."""

    stream: TextIO
    total: int = 0
    finished: int = 0

    def start(self, total: int, done: int) -> None:
        """Say how much is to do."""
        self.total, self.finished = total, done
        print(f"{counted(total, 'cell')}, {done:,} done before", file=self.stream, flush=True)

    def cell_finished(self, cell: Cell, status: str, seconds: float) -> None:
        """``[ 12/336] done       krum  mirrored  rate=1 malicious=4 seed=0  0.42 s``."""
        self.finished += 1
        place = f"[{self.finished:{len(str(self.total))}d}/{self.total}]"
        print(f"{place} {status:<10} {label(cell)}  {seconds:.2f} s", file=self.stream, flush=True)

    def workers_changed(self, workers: int) -> None:
        """Nothing: a line a cell."""

    def stop(self) -> None:
        """Nothing to close."""


@dataclass
class Board:
    """A live table for a terminal."""

    workers: int
    console: Console
    total: int = 0
    before: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    last: str = ""
    began: float = 0.0
    live: Live | None = None

    def start(self, total: int, done: int) -> None:
        """Open the table."""
        self.total, self.before, self.began = total, done, time.monotonic()
        self.counts.clear()  # of a stage before
        self.live = Live(get_renderable=self._drawn, console=self.console, refresh_per_second=4)
        self.live.start()

    def cell_finished(self, cell: Cell, status: str, seconds: float) -> None:
        """Count it; a failure is printed above the table, where it stays."""
        self.counts[status] += 1
        self.last = label(cell)
        if status == "failed" and self.live is not None:
            self.live.console.print(Text(f"failed: {self.last}", style="red"))

    def workers_changed(self, workers: int) -> None:
        """Count them."""
        self.workers = workers

    def stop(self) -> None:
        """Leave the last state of the table on the screen."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def eta(self, elapsed: float) -> float | None:
        """Seconds to go at the rate of this run; None before its first cell."""
        ran = self.counts.total()
        return elapsed / ran * (self.total - self.before - ran) if ran else None

    def _drawn(self) -> Table:
        elapsed = time.monotonic() - self.began
        ran = self.counts.total()
        eta = self.eta(elapsed)
        table = Table.grid(padding=(0, 2))
        table.add_row("cells", ProgressBar(max(1, self.total), self.before + ran, width=40))
        table.add_row("", f"{self.before + ran:,} of {self.total:,} ({self.before:,} done before)")
        table.add_row("time", f"{clock(elapsed)} so far, {'-' if eta is None else clock(eta)} to go")
        table.add_row("rate", f"{ran / elapsed if elapsed > 0 else 0:.2f} cells/s on {counted(self.workers, 'worker')}")
        table.add_row("infeasible", f"{self.counts['infeasible']:,}")
        table.add_row("failed", Text(f"{self.counts['failed']:,}", style="red" if self.counts["failed"] else ""))
        table.add_row("last", Text(self.last, overflow="ellipsis", no_wrap=True))
        return table


def clock(seconds: float) -> str:
    """``4 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, s = divmod(whole, 60)
    return f"{minutes} min {s} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, noun: str) -> str:
    """``1 cell``, ``1,200 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
