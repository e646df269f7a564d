"""Pixel scale: ``(train, test) uint8 -> float32``. Papers differ, and the learning rate means nothing without it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def unit(train: Tensor, test: Tensor, levels: int, /) -> tuple[Tensor, Tensor]:
    """Pixels divided by the largest level: 0 to 1."""
    return train.float() / levels, test.float() / levels


def standard(
    train: Tensor, test: Tensor, levels: int, /, *, mean: float | None = None, std: float | None = None
) -> tuple[Tensor, Tensor]:
    """Unit scale, less the mean, over the deviation, of all pixels of the training images (or the two given).

    The test images take no part in the two numbers.

    Raises:
        ValueError: the deviation is not positive.
    """
    a, b = unit(train, test, levels)
    mean = float(a.double().mean()) if mean is None else mean
    std = float(a.double().std()) if std is None else std
    if not std > 0:
        raise ValueError(f"standard needs a positive deviation, got {std}")
    return (a - mean) / std, (b - mean) / std


def scaled(train: Tensor, test: Tensor, levels: int, /, *, divisor: float) -> tuple[Tensor, Tensor]:
    """Pixels divided by a number (FoolsGold's MNIST: 100).

    Raises:
        ValueError: the divisor is not positive.
    """
    if not divisor > 0:
        raise ValueError(f"scaled needs a positive divisor, got {divisor}")
    return train.float() / divisor, test.float() / divisor


FEATURES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {f.__name__: f for f in (unit, standard, scaled)}
