"""Initial weights: ``initialisation(weight, /, *, option)`` draws one weight tensor in place.

What is drawn are the parameters of two or more dimensions, in the order of the model; biases become zero. Normalisation
layers, other parameters of one dimension (the slope of a PReLU) and frozen ones stay as they are. ``default`` leaves a
model as PyTorch makes it. Drawn from torch's global generator, which `training.models.build` seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

Initialisation = Callable[..., None]
_LARGEST = 1e30  # of weights: their squares leave float32 long before


def default(weight: Tensor, /) -> None:
    """As PyTorch makes the layers: uniform within 1 / sqrt(fan in), biases too."""


def zeros(weight: Tensor, /) -> None:
    """All zero."""
    weight.zero_()


def normal(weight: Tensor, /, *, std: float = 1.0) -> None:
    """Normal with mean 0."""
    if not 0 < std <= _LARGEST:
        raise ValueError(f"normal needs std above 0 and at most {_LARGEST:g}, got {std}")
    weight.normal_(0.0, std)


def uniform(weight: Tensor, /, *, low: float = 0.0, high: float = 0.01) -> None:
    """Uniform from low to high (FoolsGold's code: 0 to 0.01)."""
    if not -_LARGEST <= low < high <= _LARGEST:
        raise ValueError(f"uniform needs low < high within {_LARGEST:g} of zero, got low={low}, high={high}")
    weight.uniform_(low, high)


def xavier(weight: Tensor, /, *, magnitude: float = 3.0) -> None:
    """Uniform within sqrt(magnitude / ((fan in + fan out) / 2)), as MXNet's ``Xavier`` (Glorot & Bengio 2010: 3)."""
    if not 0 < magnitude <= _LARGEST:
        raise ValueError(f"xavier needs magnitude above 0 and at most {_LARGEST:g}, got {magnitude}")
    field = math.prod(weight.shape[2:])  # of a convolution's kernel
    bound = math.sqrt(magnitude / ((weight.shape[0] + weight.shape[1]) * field / 2))
    weight.uniform_(-bound, bound)


_NORMS = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@torch.no_grad()
def initialise(model: nn.Module, draw: Initialisation) -> None:
    """Draw a model's weights anew, biases zero.

    Raises:
        ValueError: ``draw`` changed none of them.
    """
    drawn, moved = 0, draw is zeros
    for module in model.modules():
        if isinstance(module, _NORMS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter.ndim > 1:
                before = parameter.clone()
                draw(parameter)
                drawn, moved = drawn + 1, moved or not torch.equal(before, parameter)
            elif parameter.requires_grad and "bias" in name:  # recurrent layers number theirs
                parameter.zero_()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0.0  # has no gradient either
    if drawn and not moved:
        raise ValueError(
            "the initialisation left every weight as it was: it must draw into the weight that it is given"
        )


INITIALISATIONS: Mapping[str, Initialisation] = MappingProxyType(
    {f.__name__: f for f in (default, zeros, normal, uniform, xavier)}
)
