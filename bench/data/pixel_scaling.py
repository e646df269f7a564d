"""Pixel scale: ``(train, test) uint8 -> float32``. Papers differ, and the learning rate means nothing without it.

Float features may be scaled too; their ``levels`` is 1, so that ``unit`` leaves them as they are. Token ids are not
scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """(pixel / divisor - mean) / std, in float32 at every step.

    Raises:
        ValueError: divisor or deviation is not positive.
    """

    divisor: float
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 of any shape to float32 of the same."""
        x = pixels.float() / self.divisor
        return x if (self.mean, self.std) == (0.0, 1.0) else (x - self.mean) / self.std

    @cached_property
    def numbers(self) -> tuple[np.float32, np.float32, np.float32, float, float, bool]:
        """What compiled code needs: divisor, mean, std; the inverse of the first and the last; whether a product with
        these in float64, rounded to float32, is the quotient for all 256 pixels, bit by bit."""
        inverse, of_std = 1.0 / float(np.float32(self.divisor)), 1.0 / float(np.float32(self.std))
        pixels = np.arange(256, dtype=np.uint8)
        mean, by_products = np.float32(self.mean), (pixels * inverse).astype(np.float32)
        if (self.mean, self.std) != (0.0, 1.0):
            by_products = ((by_products - mean) * np.float64(of_std)).astype(np.float32)
        exact = bool(np.array_equal(by_products, self(torch.from_numpy(pixels)).numpy()))
        return np.float32(self.divisor), mean, np.float32(self.std), inverse, of_std, exact


def unit(train: Tensor, test: Tensor, levels: int, /) -> tuple[Tensor, Tensor]:
    """Pixels divided by the largest level: 0 to 1."""
    return _both(_unit(train, levels), train, test)


def standard(
    train: Tensor, test: Tensor, levels: int, /, *, mean: float | None = None, std: float | None = None
) -> tuple[Tensor, Tensor]:
    """Unit scale, less the mean, over the deviation, of all pixels of the training images (or the two given).

    Each feature has its own mean and deviation; a feature that is the same in all training examples becomes 0 there,
    its deviation counting as 1. The test examples take no part in the two numbers.

    Raises:
        ValueError: the deviation is not positive.
    """
    if train.dtype != torch.uint8:
        return _standard_features(train, test, mean, std)
    return _both(_standard(train, levels, mean=mean, std=std), train, test)


def scaled(train: Tensor, test: Tensor, levels: int, /, *, divisor: float) -> tuple[Tensor, Tensor]:
    """Pixels divided by a number (FoolsGold's MNIST: 100).

    Raises:
        ValueError: the divisor is not positive.
    """
    return _both(_scaled(train, levels, divisor=divisor), train, test)


FEATURES: Mapping[str, Callable[..., tuple[Tensor, Tensor]]] = MappingProxyType(
    {f.__name__: f for f in (unit, standard, scaled)}
)


def _standard_features(train: Tensor, test: Tensor, mean: float | None, std: float | None) -> tuple[Tensor, Tensor]:
    """`standard` of float features, in float64 before the answer."""
    if std is not None and not std > 0:
        raise ValueError(f"standard needs a positive deviation, got {std}")
    known = train.double()
    constant = (known == known[0]).all(0)
    less = torch.where(constant, known[0], known.mean(0)) if mean is None else mean
    over = torch.where(constant, 1.0, known.std(0, correction=min(1, len(known) - 1))) if std is None else std
    return ((known - less) / over).float(), ((test.double() - less) / over).float()


def _both(scale: Scale, train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    return scale(train), scale(test)


def _unit(train: Tensor, levels: int) -> Scale:
    return Scale(levels)


def _standard(train: Tensor, levels: int, mean: float | None = None, std: float | None = None) -> Scale:
    if mean is None or std is None:
        x = (train.float() / levels).double()
        mean = float(x.mean()) if mean is None else mean
        std = float(x.std()) if std is None else std
    if not std > 0:
        raise ValueError(f"standard needs a positive deviation, got {std}")
    return Scale(levels, mean, std)


def _scaled(train: Tensor, levels: int, divisor: float) -> Scale:
    if not divisor > 0:
        raise ValueError(f"scaled needs a positive divisor, got {divisor}")
    return Scale(divisor)


SCALES: dict[str, Callable[..., Scale]] = {"unit": _unit, "standard": _standard, "scaled": _scaled}
