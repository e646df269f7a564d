"""How slow this machine is at the moment, and time limits of tests that grow with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_WORK = 2_000_000  # additions
_IDLE = 0.06  # seconds that they take on a free core


def slowness() -> float:
    """How many times longer work takes now than on a free core, of three samples the longest; at least 1."""
    samples = []
    for _ in range(3):
        began = time.perf_counter()
        sum(i * i for i in range(_WORK))
        samples.append(time.perf_counter() - began)
    return max(1.0, *(sample / _IDLE for sample in samples))


def scaled(seconds: float) -> float:
    """A limit for work that takes well below so many seconds on a free core; a whole number, at most 20 times as many.

    Twice the slowness of now: the machine may become busier while the test runs.
    """
    factor = slowness()
    return float(math.ceil(seconds * (1.0 if factor < 1.5 else min(20.0, 2.0 * factor))))


def eventually(condition: Callable[[], bool], seconds: float = 10.0, pause: float = 0.02) -> bool:
    """Whether a condition comes true within `scaled` seconds; asked until it does."""
    end = time.monotonic() + scaled(seconds)
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
