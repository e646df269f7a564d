"""Shares of the clients of a federation whose numbers of examples are claims that the server cannot check."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def shares_of(examples: Sequence[float], most: float | None) -> Tensor:
    """Each reply's share of the round's examples, ``(replies,)`` float64, from the counts that they claim.

    Args:
        examples: finite, above 0.
        most: claims count up to so many times their median (of two middle ones the lower); null: shares are equal.
    """
    if most is None:
        return torch.full((len(examples),), 1.0 / len(examples), dtype=torch.float64)
    claims = torch.tensor(examples, dtype=torch.float64)
    claims = claims / claims.median()  # the largest numbers would overflow in a sum
    counted = claims.clamp(max=most)
    return counted / counted.sum()
