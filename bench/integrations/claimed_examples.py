"""What clients of a federation claim and the server cannot check: their numbers of examples, and their metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
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


def like_most(metrics: Sequence[Mapping[str, object]]) -> list[bool]:
    """Whose metrics can be averaged: those with the names, the lengths and the finite values that most of them have.

    Args:
        metrics: one a reply: numbers and lists of numbers by name.
    """
    forms = [frozenset(_form(name, value) for name, value in one.items()) for one in metrics]
    usual = Counter(forms).most_common(1)
    return [form == usual[0][0] for form in forms]


def _form(name: str, value: object) -> Hashable:
    numbers = value if isinstance(value, list) else [value]
    return name, len(numbers) if isinstance(value, list) else None, all(map(_is_finite, numbers))


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and isfinite(value)
    except OverflowError:  # a whole number beyond floats
        return False
