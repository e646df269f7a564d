"""Shares of the clients of a federation whose numbers of examples are claims that the server cannot check."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor


def counted(examples: Sequence[float], most: float | None) -> Tensor:
    """What counts of the numbers of examples that a round's replies claim, ``(replies,)`` float64.

    Args:
        examples: finite, above 0.
        most: claims count up to so many times their median (of two middle ones the lower); null: each counts as 1.
    """
    claims = torch.tensor(examples, dtype=torch.float64)
    return torch.ones_like(claims) if most is None else claims.clamp(max=float(claims.median()) * most)


def shares_of(examples: Sequence[float], most: float | None) -> Tensor:
    """Each reply's share of the round's examples, ``(replies,)`` float64, from the counts that they claim.

    Args:
        examples: finite, above 0.
        most: as in `counted`.
    """
    claims = counted(examples, most)
    claims = claims / claims.max()  # the largest numbers would overflow in a sum
    return claims / claims.sum()


def number_of_examples(claim: object) -> float | None:
    """A claimed number of examples as a float; None where it is no finite number above 0."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        number = float(claim)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if isfinite(number) and number > 0 else None
