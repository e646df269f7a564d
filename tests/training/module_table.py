"""Networks of every kind, tiny: what trains in PyTorch, as a table that the tests of executors go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from flipbench.data.input_shape import InputShape
from flipbench.training import models
from flipbench.training.networks.several_inputs import SeveralInputs

GREY, COLOUR = InputShape((1, 6, 6)), InputShape((3, 8, 8))
ROW, SERIES = InputShape((9,), "features"), InputShape((5, 4), "features")
TEXT = InputShape((6,), "tokens", 11, 0)
L = 4


@dataclass(frozen=True)
class Kind:
    """A network.

    Attributes:
        make: of shape and classes.
        shape: of its inputs.
        executors: that can run it beside the loop.
        random: whether it draws in training.
    """

    make: Callable[[Any, int], nn.Module]
    shape: InputShape
    executors: frozenset[str]
    random: bool = False


class Of(nn.Module):
    """Layers by name, and a forward pass as a function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Squared(torch.autograd.Function):
    """x^2, with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * slopes[0]


class Tied(nn.Module):
    """Embedding whose weights are those of the last layer, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(11, 5), nn.Linear(5, 11, bias=False)
        self.last.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.embedding(x).mean(1)))[:, :L]


class TwoInputs(nn.Module):
    """An image and a row of numbers, in one tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.numbers, self.last = nn.Conv2d(1, 2, 2), nn.Linear(5, 3), nn.Linear(5, L)

    def forward(self, parts: tuple[Tensor, Tensor]) -> Tensor:
        image, numbers = parts
        logits: Tensor = self.last(torch.cat([self.image(image).flatten(1), torch.relu(self.numbers(numbers))], 1))
        return logits


def _last(layer: nn.Module) -> nn.Module:
    return Of(lambda m, x: m.last(m.layer(x)[0][:, -1]), layer=layer, last=nn.Linear(6, L))


def _flat(*layers: Callable[[], nn.Module], width: int = 8) -> Callable[[Any, int], nn.Module]:
    return lambda s, c: nn.Sequential(nn.Flatten(), nn.Linear(36, width), *(f() for f in layers), nn.Linear(width, c))


def _images(*layers: nn.Module, units: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.Flatten(), nn.Linear(units, L))


def _named(name: str, **options: Any) -> Callable[[Any, int], nn.Module]:
    return lambda s, c: models.MODELS[name](s, c, **options)


def _running(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    if m.training:
        m.mean.lerp_(y.detach().mean(0), 0.1)
    return m.last(torch.relu(y - m.mean))


def _with_mean(s: Any, c: int) -> nn.Module:
    made = Of(_running, first=nn.Linear(9, 6), last=nn.Linear(6, c))
    made.register_buffer("mean", torch.zeros(6))
    return made


_BOTH, _VMAP, _NONE = frozenset({"stacked", "vmap"}), frozenset({"vmap"}), frozenset[str]()

KINDS: dict[str, Kind] = {
    "chain": Kind(_flat(nn.ReLU), GREY, _BOTH),
    "chain with batch norm": Kind(_named("cnn", channels=[3], kernel=3, hidden=[5], norm="batch"), GREY, _BOTH),
    "chain with dropout": Kind(_flat(nn.ReLU, lambda: nn.Dropout(0.4)), GREY, _BOTH, random=True),
    "resnet with batch norm": Kind(_named("resnet", width=2), COLOUR, _BOTH),
    "resnet with group norm": Kind(_named("resnet", width=2, norm="group"), COLOUR, _BOTH),
    "vit": Kind(_named("vit", dim=8, depth=1, heads=2), COLOUR, _BOTH),
    "vit with dropout": Kind(_named("vit", dim=8, depth=1, heads=2, dropout=0.3), COLOUR, _BOTH, random=True),
    "lstm": Kind(_named("lstm", hidden=6), TEXT, _NONE),
    "lstm with dropout": Kind(_named("lstm", hidden=6, dropout=0.3), TEXT, _NONE, random=True),
    "transformer": Kind(_named("transformer", width=8, heads=2, depth=1), TEXT, _BOTH),
    "gru": Kind(lambda s, c: _last(nn.GRU(4, 6, batch_first=True)), SERIES, _NONE),
    "lstm in both directions": Kind(
        lambda s, c: _last(nn.LSTM(4, 3, batch_first=True, bidirectional=True)), SERIES, _NONE
    ),
    "PyTorch's encoder layer": Kind(
        lambda s, c: Of(
            lambda m, x: m.last(m.layer(x).mean(1)),
            layer=nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
            last=nn.Linear(4, c),
        ),
        SERIES,
        _VMAP,
    ),
    "PyTorch's attention with dropout": Kind(
        lambda s, c: Of(
            lambda m, x: m.last(m.layer(x, x, x)[0].mean(1)),
            layer=nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True),
            last=nn.Linear(4, c),
        ),
        SERIES,
        _NONE,
        random=True,
    ),
    "batch norm of numbers": Kind(
        lambda s, c: nn.Sequential(nn.Linear(9, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, c)), ROW, _BOTH
    ),
    "batch norm of series": Kind(
        lambda s, c: nn.Sequential(nn.Conv1d(5, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, c)), SERIES, _BOTH
    ),
    "layer norm": Kind(_flat(lambda: nn.LayerNorm(8), nn.GELU), GREY, _BOTH),
    "layer norm without weights": Kind(_flat(lambda: nn.LayerNorm(8, elementwise_affine=False)), GREY, _BOTH),
    "group norm": Kind(lambda s, c: _images(nn.GroupNorm(2, 4), nn.ReLU(), units=144), COLOUR, _BOTH),
    "instance norm": Kind(lambda s, c: _images(nn.InstanceNorm2d(4, affine=True), units=144), COLOUR, _VMAP),
    "average pooling": Kind(lambda s, c: _images(nn.AvgPool2d(2), units=36), COLOUR, _BOTH),
    "adaptive pooling": Kind(lambda s, c: _images(nn.ReLU(), nn.AdaptiveAvgPool2d(2), units=16), COLOUR, _BOTH),
    "depthwise convolution": Kind(lambda s, c: _images(nn.Conv2d(4, 8, 3, groups=4), units=128), COLOUR, _BOTH),
    "reflected edges": Kind(
        lambda s, c: _images(nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), units=72), COLOUR, _BOTH
    ),
    "embedding with tied weights": Kind(lambda s, c: Tied(), TEXT, _BOTH),
    "an embedding bag": Kind(
        lambda s, c: Of(lambda m, x: m.last(m.bag(x)), bag=nn.EmbeddingBag(11, 5), last=nn.Linear(5, c)), TEXT, _VMAP
    ),
    "a shortcut": Kind(
        lambda s, c: Of(lambda m, x: m.last(x + torch.relu(m.first(x))), first=nn.Linear(9, 9), last=nn.Linear(9, c)),
        ROW,
        _BOTH,
    ),
    "several inputs in one tuple": Kind(
        lambda s, c: SeveralInputs(TwoInputs(), [(1, 2, 2), (5,)], as_tuple=True), ROW, _BOTH
    ),
    "a function with its own backward pass": Kind(
        lambda s, c: Of(lambda m, x: m.last(Squared.apply(m.first(x))), first=nn.Linear(9, 6), last=nn.Linear(6, c)),
        ROW,
        frozenset({"stacked"}),
    ),
    "functional dropout": Kind(
        lambda s, c: Of(
            lambda m, x: m.last(F.dropout(m.first(x), 0.5, m.training)), first=nn.Linear(9, 6), last=nn.Linear(6, c)
        ),
        ROW,
        _NONE,
        random=True,
    ),
    "noise in training": Kind(
        lambda s, c: Of(lambda m, x: m.last(x + 0.3 * torch.randn(x.shape) if m.training else x), last=nn.Linear(9, c)),
        ROW,
        _NONE,
        random=True,
    ),
    "one dropout layer used twice": Kind(
        lambda s, c: Of(
            lambda m, x: m.last(m.drop(torch.relu(m.first(m.drop(x))))),
            first=nn.Linear(9, 9),
            drop=nn.Dropout(0.4),
            last=nn.Linear(9, c),
        ),
        ROW,
        _BOTH,
        random=True,
    ),
    "spectral norm": Kind(_flat(lambda: parametrizations.spectral_norm(nn.Linear(8, 8))), GREY, _NONE),
    "a running mean of its own": Kind(_with_mean, ROW, _VMAP),
    "a branch on values": Kind(
        lambda s, c: Of(lambda m, x: m.last(x if x.sum() > 8 else -x), last=nn.Linear(9, c)), ROW, _NONE
    ),
}
