"""Limits of a cell's time and of a worker's memory, and sizes as text; no key depends on them."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from flipbench.errors import UserError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
LEAST = 512 << 20  # bytes: PyTorch alone fills a good part of it


@dataclass(frozen=True)
class Limits:
    """What a worker process may use.

    Attributes:
        seconds: for each cell; a stack of n cells gets n times as much. None: no limit.
        memory: resident bytes of a worker process. None: no limit.
    """

    seconds: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UserError(f"--cell-timeout needs seconds above 0, got {self.seconds:g}")
        if self.seconds is not None and not hasattr(signal, "setitimer"):
            raise UserError("--cell-timeout needs interval timers, which this system does not have")
        if self.memory is not None and self.memory < LEAST:
            raise UserError(f"--memory-limit needs at least {size_text(LEAST)} for a worker, got {self.memory} bytes")

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.seconds is not None or self.memory is not None


def parse_size(text: str) -> int:
    """Bytes of ``4G``, ``1.5GiB``, ``800MB``; powers of 1024.

    Raises:
        UserError: no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"--memory-limit needs a size like 4G or 800M, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def size_text(size: int) -> str:
    """``1.5 GiB``, ``512 MiB``, ``3.64 TiB``."""
    if size >= 1000 * 2**30:
        return f"{size / 2**40:,.3g} TiB"
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 else f"{size / 2**20:.3g} MiB"


def worker_count(workers: int) -> int:
    """The number of worker processes that a run asks for: 0 is one per core that this process may use."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
