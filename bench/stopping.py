"""Ctrl-C and SIGTERM: the first ends the run in order, the second at once.

While a run lasts, a signal is an interrupt only where the run says that it may be one (at work, waiting); elsewhere,
as in the middle of publishing, it is kept until then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from bench import wards

INTERRUPTED = 130  # exit code
_SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


class Stop:
    """What signals have asked for so far."""

    def __init__(self) -> None:
        self.asked, self._open, self._raised = 0, False, False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Here a first signal raises KeyboardInterrupt, as does one that came before."""
        self._open = True
        try:
            self._look()
            yield
        finally:
            self._open = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.asked += 1
        if self.asked > 1:
            leave_at_once()
        if self._open:
            self._look()

    def _look(self) -> None:
        if self.asked and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


def leave_at_once() -> None:
    """End this process and its workers, whatever they do."""
    wards.kill_all()
    if sys.stdout.isatty():
        with suppress(OSError):
            os.write(1, _SHOW_CURSOR.encode())
    os._exit(INTERRUPTED)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM over for a run; outside the main thread Python forbids it, and they stay as they are."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop.on_signal)
        yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler if handler is not None else signal.SIG_DFL)
