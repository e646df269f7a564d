"""Draws that are a hash of a key and a place, not a sequence: each is there without the ones before it."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # of splitmix64, as int64
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685


def step_keys(seeds: Tensor, steps: int) -> Tensor:
    """Keys of the steps of a round: ``(...)`` int64 seeds to ``(..., steps)``."""
    return mixed(seeds.unsqueeze(-1) + GOLDEN * torch.arange(1, steps + 1, device=seeds.device))


def chances(keys: Tensor, places: Tensor) -> Tensor:
    """Uniform in [0, 1), float64: ``(rows,)`` keys and ``(places,)`` give ``(rows, places)``."""
    drawn = mixed(keys.unsqueeze(1) + GOLDEN * (places + 1))
    return ((drawn >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def mixed(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014), on int64 that wraps around."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _FIRST
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _SECOND
    return z ^ ((z >> 31) & ((1 << 33) - 1))
