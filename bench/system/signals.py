"""Handlers of Ctrl-C and SIGTERM: the first signal ends the run in order, the second at once.

While a run lasts, a signal raises an interrupt only where the run allows it (training, waiting); elsewhere, as in the
middle of publishing, it is kept until then. Before a run begins, the first signal ends the program at once: an
interrupt in the middle of a library's import may be swallowed, or come out as another exception.
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

from flipbench.system import child_processes, process_folder

INTERRUPTED = 130  # exit code
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


class Interrupted(KeyboardInterrupt):
    """The user's signal, and not a plug-in's own ``raise KeyboardInterrupt``."""


def is_users(error: BaseException) -> bool:
    """Whether an exception comes from the user's signal; where Python itself handles SIGINT, KeyboardInterrupt does."""
    if isinstance(error, Interrupted):
        return True
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Stop:
    """The signals of a run so far."""

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
            raise Interrupted


def from_the_start() -> None:
    """Let either signal end the program with one word, until a run or a drawing takes over; ignored ones stay so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_with_a_word)


def as_python_does() -> None:
    """Handle signals as Python does: for commands with a clean end of their own."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _leave_with_a_word:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _leave_with_a_word(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    leave_at_once()


@contextmanager
def in_order() -> Iterator[None]:
    """Here the first signal is one KeyboardInterrupt, whatever the running code does with it; the second ends all."""
    with stoppable() as stop:
        try:
            with stop.interruptible():
                yield
        except BaseException as error:
            if stop.asked and not isinstance(error, KeyboardInterrupt):
                raise Interrupted from None
            raise
        if stop.asked:  # it was swallowed
            raise Interrupted


def leave_at_once() -> None:
    """End this process and its child processes at once."""
    child_processes.kill_all()
    child_processes.kill_server()
    process_folder.remove()
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
        for number in _SIGNALS:
            before[number] = signal.signal(number, stop.on_signal)
        yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler if handler is not None else signal.SIG_DFL)
