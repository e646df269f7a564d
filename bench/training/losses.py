"""The loss of local training: cross-entropy, each example with a weight of its class.

A loss is a frozen dataclass with ``weights(labels, federation) -> (L,)``: the weights of the classes for one client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class cross_entropy:  # noqa: N801 - named in grids like a function
    """Every example counts the same."""

    def weights(self, own: Tensor, together: Tensor) -> Tensor | None:
        """None: no weights."""
        return None


@dataclass(frozen=True)
class class_balanced:  # noqa: N801 - named in grids like a function
    """A class of n_c examples weighs in proportion to n_c^-power; the mean weight of an example is 1.

    With power 1 every class has the same say, as with scikit-learn's "balanced" weights n / (L n_c) (King & Zeng 2001).
    The sum over a batch is divided by the number of its examples, not by their weights, so that a batch without rare
    examples makes a small step rather than a full one.

    Attributes:
        counts: ``client``: n_c among the labels that the client trains on, flipped ones included, all that it knows
            without sending anything; ``federation``: among the true labels of all N clients.
        power: 0 to 1; 0 weighs nothing.
    """

    counts: Literal["client", "federation"] = "client"
    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.power <= 1:
            raise ValueError(f"class_balanced needs a power from 0 to 1, got {self.power}")

    def weights(self, own: Tensor, together: Tensor) -> Tensor | None:
        """Weights of the classes for one client.

        Args:
            own: ``(L,)`` int64, how many examples of each class it trains on.
            together: ``(L,)`` int64, how many true ones all clients hold.

        Returns:
            ``(L,)`` float32; a class without examples has weight 0.
        """
        counted = (own if self.counts == "client" else together).double()
        raw = torch.where(counted > 0, counted.clamp(min=1) ** -self.power, 0.0)
        total = (raw * counted).sum()
        return (raw * counted.sum() / total.clamp(min=1e-300)).float()


LOSSES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {one.__name__: one for one in (cross_entropy, class_balanced)}
)
