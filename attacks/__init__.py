"""Attacks by the names that a grid uses; `contract` says where an attack can act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attacks.contract import Proposal, Scene
from attacks.label_flip import all_to_one, mirrored, permuted, resampled, shifted, swapped, targeted, uniform

ATTACKS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (mirrored, shifted, targeted, swapped, all_to_one, uniform, resampled, permuted)
}

__all__ = [
    "ATTACKS",
    "Proposal",
    "Scene",
    "all_to_one",
    "mirrored",
    "permuted",
    "resampled",
    "shifted",
    "swapped",
    "targeted",
    "uniform",
]
