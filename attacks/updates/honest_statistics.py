"""What the honest clients of a round look like, for attacks that hide among them. Sums are taken in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def finite(honest: Tensor) -> Tensor:
    """The rows that are finite, ``(some, dim)``; the server leaves out the others. One row of zeros where none is."""
    good = torch.isfinite(honest).all(-1)
    if bool(good.all()):
        return honest
    return honest[good] if bool(good.any()) else torch.zeros_like(honest[:1])


def mean(honest: Tensor) -> Tensor:
    """The unweighted mean of ``(honest, dim)``: ``(dim,)`` float64."""
    return honest.mean(0, dtype=torch.float64)


def deviation(honest: Tensor, centre: Tensor) -> Tensor:
    """The population standard deviation of each coordinate, ``(dim,)`` float64; 0 for a single client."""
    return (honest - centre).square_().mean(0).sqrt_()


def all_alike(row: Tensor, updates: Tensor) -> Tensor:
    """Every malicious client sends the same: ``(dim,)`` to the shape and dtype of the updates, a copy."""
    return row.to(updates.dtype).expand_as(updates).clone()


def positive(attack: str, **options: float) -> None:
    """Refuse options that are not finite numbers above 0.

    Raises:
        ValueError: names the attack, the option and what came.
    """
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{attack} needs {name} to be a finite number above 0, got {value}")
