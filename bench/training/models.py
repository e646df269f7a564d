"""Models by name: ``model(shape, classes, **options) -> nn.Module``; the small ones here, others in `networks`.

``shape`` is (channels, height, width). A plug-in may return an `nn.Module` from ``(batch, *shape)`` to logits
``(batch, classes)``; what it may be made of, docs/writing_a_model.md says and `training.model_check` checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import nn

from flipbench.data.input_shape import InputShape, OtherInputError
from flipbench.training.initialisation import Initialisation, default, initialise
from flipbench.training.networks.attention import transformer, vit
from flipbench.training.networks.convolutional import lenet, vgg
from flipbench.training.networks.recurrent import lstm
from flipbench.training.networks.residual import resnet
from flipbench.training.networks.sizes import check_sizes

Shape = tuple[int, ...]  # an `InputShape`, or the plain tuple of an image


def softmax(shape: Shape, classes: int, /, *, bias: bool = True, init: float | None = None) -> nn.Module:
    """Softmax regression.

    Args:
        shape: (channels, height, width).
        classes: L.
        bias: whether there is one.
        init: deviation of normal initial weights (0: zeros, bias zero too); None: PyTorch's own initialisation.
    """
    if init is not None and not 0 <= init < math.inf:
        raise ValueError(f"softmax needs a finite init of 0 or more, or null, got {init}")
    layer = nn.Linear(_numbers("softmax", shape), classes, bias=bias)
    if init is not None:
        with torch.no_grad():
            layer.weight.normal_(0.0, init) if init else layer.weight.zero_()
            if bias:
                layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def mlp(shape: Shape, classes: int, /, *, widths: list[int]) -> nn.Module:
    """Fully connected layers of the given widths with ReLU between."""
    if not widths:
        raise ValueError("mlp needs at least one width, like widths=[100]; got []")
    check_sizes("mlp", widths=widths)
    layers: list[nn.Module] = [nn.Flatten()]
    fan_in = _numbers("mlp", shape)
    for width in widths:
        layers += [nn.Linear(fan_in, width), nn.ReLU()]
        fan_in = width
    return nn.Sequential(*layers, nn.Linear(fan_in, classes))


def cnn(
    shape: Shape,
    classes: int,
    /,
    *,
    channels: list[int] | None = None,
    kernel: int = 5,
    hidden: list[int] | None = None,
    norm: Literal["none", "batch"] = "none",
    padding: int = 0,
    channel_dropout: float = 0.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Convolutions, each with (batch norm,) ReLU and 2x2 max pooling, then fully connected layers.

    With dropout it is the network of PyTorch's MNIST example, where the order is convolution, channel dropout, pooling,
    ReLU: the same, because the three commute.

    Args:
        shape: (channels, height, width).
        classes: L.
        channels: of each convolution; None: [20, 50].
        kernel: its side.
        hidden: widths of the fully connected layers before the last; None: [500].
        norm: ``batch`` puts batch normalisation behind each convolution.
        padding: of each convolution.
        channel_dropout: probability with which the last convolution's channels are left out, each as a whole.
        dropout: probability with which the outputs of each hidden fully connected layer are left out.
    """
    for name, share in (("channel_dropout", channel_dropout), ("dropout", dropout)):
        if not 0 <= share < 1:
            raise ValueError(f"cnn needs {name} from 0 to below 1, got {share}")
    channels = [20, 50] if channels is None else channels
    hidden = [500] if hidden is None else hidden
    check_sizes("cnn", channels=channels, hidden=hidden, kernel=[kernel])
    if not 0 <= padding <= kernel:
        raise ValueError(f"cnn needs padding from 0 to its kernel ({kernel}), got {padding}")
    if dropout and not hidden:
        raise ValueError(f"cnn(hidden=[], dropout={dropout:g}) has no hidden layer to drop out: leave one of them out")
    if not channels and (channel_dropout or padding or norm != "none"):
        raise ValueError("cnn(channels=[]) has no convolution, and norm, padding and channel_dropout are of those")
    if (known := InputShape.of(shape)).kind != "image":
        raise OtherInputError(f"cnn takes images, and the data are {known.described}")
    depth, height, width = shape
    layers: list[nn.Module] = []
    for out in channels:
        layers.append(nn.Conv2d(depth, out, kernel, padding=padding))
        layers += [nn.BatchNorm2d(out)] if norm == "batch" else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        depth = out
        height, width = ((side + 2 * padding - kernel + 1) // 2 for side in (height, width))
        if min(height, width) < 1:
            raise ValueError(
                f"cnn has no pixel left after {len(channels)} convolutions of {kernel}x{kernel} on {shape}"
            )
    layers += [nn.Dropout2d(channel_dropout)] if channel_dropout else []
    layers.append(nn.Flatten())
    fan_in = depth * height * width
    for units in hidden:
        layers += [nn.Linear(fan_in, units), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        fan_in = units
    return nn.Sequential(*layers, nn.Linear(fan_in, classes))


_ALL = (softmax, mlp, cnn, lenet, vgg, resnet, vit, lstm, transformer)
MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({f.__name__: f for f in _ALL})


def _numbers(model: str, shape: Shape) -> int:
    """How many numbers an example has.

    Raises:
        ValueError: it has none, being token ids.
    """
    if (known := InputShape.of(shape)).kind == "tokens":
        raise OtherInputError(f"{model} takes images or features, and the data are {known.described}")
    return math.prod(shape)


def build(
    make: Callable[..., nn.Module], shape: Shape, classes: int, seed: int, draw: Initialisation = default
) -> nn.Module:
    """Make a model whose initial weights depend on the seed alone; the global generator is left as it was.

    Args:
        make: ``(shape, classes) -> model``.
        shape: (channels, height, width).
        classes: L.
        seed: of the weights.
        draw: how they are drawn; as the model is made by default.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(shape, classes)
        if draw is not default:
            initialise(model, draw)
        return model
