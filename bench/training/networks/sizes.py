"""Checks of sizes, and of what kind of data a network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from flipbench.data.input_shape import InputShape, OtherInputError

LARGEST = 1_000_000  # width of a layer
_DEEPEST = 200  # layers


def check_sizes(network: str, **sizes: Sequence[int]) -> None:
    """Raises ValueError for a size below 1 or beyond what any network has."""
    for name, values in sizes.items():
        if wrong := [value for value in values if not 1 <= value <= LARGEST]:
            raise ValueError(f"{network} needs {name} from 1 to {LARGEST:,}, got {wrong[0]}")


def check_layers(network: str, name: str, layers: int) -> None:
    """Raises ValueError for a number of layers that no network has."""
    if not 1 <= layers <= _DEEPEST:
        raise ValueError(f"{network} needs {name} from 1 to {_DEEPEST:,}, got {layers}")


def check_share(network: str, name: str, share: float) -> None:
    """Raises ValueError for a probability of dropout that is none, or would drop all."""
    if not 0 <= share < 1:
        raise ValueError(f"{network} needs {name} from 0 to below 1, got {share}")


def image_shape(network: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width).

    Raises:
        ValueError: the data are no images.
    """
    if (known := InputShape.of(shape)).kind != "image":
        raise OtherInputError(f"{network} takes images, and the data are {known.described}")
    channels, height, width = shape
    return channels, height, width


def token_shape(network: str, shape: Sequence[int]) -> tuple[int, int, int | None]:
    """Length, size of the vocabulary, and the id that fills the end of a text.

    Raises:
        ValueError: the data are no token ids.
    """
    known = InputShape.of(shape)
    if known.kind != "tokens" or known.vocabulary is None:
        raise OtherInputError(f"{network} takes token ids, and the data are {known.described}")
    return known[0], known.vocabulary, known.padding


def check_heads(network: str, width: int, heads: int) -> None:
    """Raises ValueError where the heads of attention do not share the width equally."""
    if width % heads:
        raise ValueError(f"{network} needs a width that its heads share equally, got {width} and {heads} heads")


def he_normal(network: nn.Module) -> None:
    """Weights of convolutions as He et al. 2015 draw them: normal, variance 2 / (outputs x kernel); biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size))))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
