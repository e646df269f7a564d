"""Ctrl-C and SIGTERM: the first ends the run in order, the second at once.

While a run lasts, a signal is an interrupt only where the run says that it may be one (at work, waiting); elsewhere,
as in the middle of publishing, it is kept until then. Before there is anything to put in order, the first one ends the
program at once: an interrupt in the middle of an import may be swallowed, or come out as anything.
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

from flipbench.system import child_processes

INTERRUPTED = 130  # exit code
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


class Interrupted(KeyboardInterrupt):
    """The user's signal, and not a plug-in's own ``raise KeyboardInterrupt``."""


def is_users(error: BaseException) -> bool:
    """Whether an exception is the user's wish to stop; where Python itself handles SIGINT, its exception is that."""
    if isinstance(error, Interrupted):
        return True
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
            raise Interrupted


def from_the_start() -> None:
    """Let either signal end the program in a word, until a run or a drawing takes over; an ignored one stays so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_in_a_word)


def as_python_does() -> None:
    """Handle signals as without us: for what has an end of its own."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _leave_in_a_word:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _leave_in_a_word(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    leave_at_once()


@contextmanager
def in_order() -> Iterator[None]:
    """Here the first signal is one KeyboardInterrupt, whatever the code at work makes of it, and the second the end."""
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
    """End this process and its workers, whatever they do."""
    child_processes.kill_all()
    child_processes.kill_server()
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
