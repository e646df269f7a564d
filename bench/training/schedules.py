"""Learning-rate schedules: a factor on the learning rate for each round.

``schedule(t, rounds, **options) -> factor`` with t counted from 0. The clock is the round, so an attacked cell and
its clean twin always train with the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

_STEEPEST = 10.0  # factor on the learning rate


def constant(t: int, rounds: int, /) -> float:
    """Always 1."""
    return 1.0


def step(t: int, rounds: int, /, *, every: int, factor: float = 0.1, floor: float = 0.0) -> float:
    """factor ** (t // every), but not below ``floor`` (a share of the learning rate)."""
    if every < 1:
        raise ValueError(f"step needs every >= 1, got {every}")
    if not 0 <= factor <= _STEEPEST:
        raise ValueError(f"step needs factor from 0 to {_STEEPEST:g}, got {factor}")
    _check_floor("step", floor)
    return max(floor, factor ** (t // every))


def decay(t: int, rounds: int, /, *, rate: float) -> float:
    """1 / (1 + rate t): Keras' ``decay`` of SGD, counted in rounds."""
    if not 0 <= rate < math.inf:
        raise ValueError(f"decay needs a finite rate >= 0, got {rate}")
    return 1.0 / (1.0 + rate * t)


def cosine(t: int, rounds: int, /, *, floor: float = 0.0) -> float:
    """Half a cosine from 1 in the first round to ``floor`` after the last."""
    _check_floor("cosine", floor)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * t / rounds))


def _check_floor(schedule: str, floor: float) -> None:
    if not 0 <= floor <= _STEEPEST:
        raise ValueError(f"{schedule} needs floor from 0 to {_STEEPEST:g}, got {floor}")


SCHEDULES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {f.__name__: f for f in (constant, step, decay, cosine)}
)
