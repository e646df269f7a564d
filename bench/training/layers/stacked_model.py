"""All clients of all cells compute at once: stacked layers with their backward passes.

A batch is ``(rows, batch, *shape)``, one row a client, and a row has its own weights (``(rows, *parameter)``) or, in
the first step of a round and in evaluation, shares those of its cell (``(cells, *parameter)``, rows = cells x k).
Linear layers are one batched product whose weight gradient goes straight into the optimiser's buffer; images have
rooms of their own (`convolution`, `pooling`, `batch_norm`). A model of unknown layers goes through `torch.func` as a
whole. What layers have in common is said in `stacked`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.training.layers.batch_norm import Norm
from flipbench.training.layers.convolution_cpu import Conv, PooledConv
from flipbench.training.layers.dropout import KEYS, Drop
from flipbench.training.layers.pooling import Pool
from flipbench.training.layers.protocol import (
    Backward,
    Layer,
    OnlyLearned,
    Parameters,
    Sink,
    per_row,
    through_autograd,
)


class Stacked(Protocol):
    """A model over stacked rows."""

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]: ...

    @property
    def random(self) -> bool:
        """Whether it needs keys to draw from (`dropout.KEYS`) in training."""

    @property
    def regression(self) -> Linear | None:
        """Its only layer with parameters, where it is softmax regression."""

    def width(self, device: torch.device) -> int | None:
        """Rows that are best trained at once; None: as many as there are."""


def stack(model: nn.Module) -> Stacked:
    """The stacked form of a model: layer by layer where all layers are known, else as a whole.

    Raises:
        ValueError: it has batch norm, dropout or running statistics elsewhere than in a flat chain of known layers.
    """
    # Not named_children, which leaves out a layer that stands in the chain a second time.
    layers = [(n, m) for n, m in model._modules.items() if m is not None] if type(model) is nn.Sequential else []
    known: dict[type[nn.Module], Callable[..., Layer]] = {
        nn.Linear: Linear,
        nn.ReLU: Relu,
        nn.Flatten: Flat,
        nn.Conv2d: Conv,
        nn.MaxPool2d: Pool,
        nn.BatchNorm2d: Norm,
        nn.Dropout: Drop,
        nn.Dropout2d: Drop,
    }
    is_chain = bool(layers) and _unchanged(model) and not _shares_weights(layers) and _flat_before_linear(layers)
    if not is_chain or not all(type(layer) in known and _plain(layer) and _unchanged(layer) for _, layer in layers):
        return Whole(model)
    ordered = [known[type(layer)](f"{name}.", layer) for name, layer in _pool_before_relu(layers)]
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return Chain(tuple(_pooled(ordered)), frozen)


def _unchanged(module: nn.Module) -> bool:
    """Whether a module's class alone says what it does: no hook, no forward of its own."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _shares_weights(layers: list[tuple[str, nn.Module]]) -> bool:
    """Whether a parameter belongs to two layers, whose gradients then add up."""
    each = [id(p) for _, layer in layers for p in layer.parameters()]
    return len(set(each)) < len(each)


def _flat_before_linear(layers: list[tuple[str, nn.Module]]) -> bool:
    """Whether linear layers stand behind one that flattens, and layers of images before it."""
    kinds = [type(layer) for _, layer in layers]
    cut = kinds.index(nn.Flatten) if nn.Flatten in kinds else len(kinds)
    of_images = {nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d}
    return nn.Linear not in kinds[:cut] and not of_images & set(kinds[cut:])


def _plain(layer: nn.Module) -> bool:
    """Whether the stacked layer below says the same as PyTorch's for these options."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.MaxPool2d):
        return not layer.return_indices
    if isinstance(layer, nn.BatchNorm2d):
        return layer.track_running_stats and layer.affine and layer.momentum is not None
    return not (isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1))


def _pool_before_relu(layers: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Max pooling and ReLU commute (both are monotone), and the ReLU is four times cheaper behind it."""
    out = list(layers)
    for i in range(len(out) - 1):
        if isinstance(out[i][1], nn.ReLU) and isinstance(out[i + 1][1], nn.MaxPool2d):
            out[i], out[i + 1] = out[i + 1], out[i]
    return out


def _pooled(layers: list[Layer]) -> Iterator[Layer]:
    """A convolution of few channels and the 2x2 pooling behind it as one layer."""
    i = 0
    while i < len(layers):
        here, following = layers[i], layers[i + 1] if i + 1 < len(layers) else None
        if isinstance(here, Conv) and here.few and isinstance(following, Pool) and following.two_by_two:
            yield PooledConv(here, following)
            i += 2
        else:
            yield here
            i += 1


@dataclass(frozen=True)
class Chain:
    """Layers one after the other.

    Attributes:
        layers: in order.
        frozen: parameters that are not trained, the same of all rows.
    """

    layers: tuple[Layer, ...]
    frozen: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if self.frozen:
            rows = next(len(t) for name, t in p.items() if name != KEYS)
            p = {**p, **{name: t.to(x.device).expand(rows, *t.shape) for name, t in self.frozen.items()}}
        steps: list[Backward] = []
        for layer in self.layers:
            x, backward = layer(x, p, training, counts)
            steps.append(backward)

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            upstream: Tensor | None = dy
            sink = OnlyLearned(sink, self.frozen) if self.frozen else sink
            for i in range(len(steps) - 1, -1, -1):
                assert upstream is not None
                # The layers before the first one with parameters have nothing to learn from a gradient.
                upstream = steps[i](upstream, sink, need_dx or i > self.first)
                if i == self.first and not need_dx:
                    return None
            return upstream

        return x, back

    def width(self, device: torch.device) -> int | None:
        """One client's images fit the processor's cache, those of twenty do not."""
        return (
            1 if device.type == "cpu" and any(isinstance(layer, Conv | PooledConv) for layer in self.layers) else None
        )

    @property
    def regression(self) -> Linear | None:
        """The layer behind flattening, of a model that is nothing but softmax regression."""
        *before, last = self.layers
        flat = bool(before) and all(isinstance(layer, Flat) for layer in before)
        return last if flat and isinstance(last, Linear) and not self.frozen else None

    @property
    def random(self) -> bool:
        """Whether a layer is dropout."""
        return any(isinstance(layer, Drop) for layer in self.layers)

    @property
    def first(self) -> int:
        """Index of the first layer with parameters."""
        return next(
            (i for i, layer in enumerate(self.layers) if isinstance(layer, Linear | Conv | PooledConv | Norm)), 0
        )


_TALL, _NARROW = 512, 64  # examples of one client; outputs


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b."""

    prefix: str
    module: nn.Linear

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        weight = p[self.prefix + "weight"]  # (rows or cells, out, in)
        rows, batch, _ = x.shape
        shared = weight.shape[0]
        # Of 40 clients' 1,500 images, one product with ten outputs takes twice as long as 40 of them.
        pieces = rows if batch >= _TALL and weight.shape[1] <= _NARROW else shared
        merged = x.reshape(pieces, rows // pieces * batch, x.shape[-1])  # (pieces, batch, in)
        across = per_row(weight, pieces).transpose(1, 2)
        if self.module.bias is None:
            y = torch.bmm(merged, across)
        else:
            y = torch.baddbmm(per_row(p[self.prefix + "bias"].unsqueeze(1), pieces), merged, across)
        y = y.view(rows, batch, -1)  # (rows, batch, out)

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            dx = torch.bmm(dy.reshape(shared, -1, dy.shape[-1]), weight).view_as(x) if need_dx else None
            # Only now: a sink may change the weights in place.
            sink.outer(self.prefix + "weight", dy, x)
            if self.module.bias is not None:
                sink.plain(self.prefix + "bias", dy.sum(1))
            return dx

        return y, back


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""

    prefix: str
    module: nn.ReLU

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        y = F.relu(x)
        return y, lambda dy, sink, need_dx: torch.ops.aten.threshold_backward(dy, y, 0) if need_dx else None


@dataclass(frozen=True)
class Flat:
    """(rows, batch, ...) -> (rows, batch, features)."""

    prefix: str
    module: nn.Flatten

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        return x.flatten(2), lambda dy, sink, need_dx: dy.reshape(x.shape) if need_dx else None


@dataclass(frozen=True)
class Whole:
    """Any module at all, over its rows by `torch.func.vmap`; what is not in the vector is the module's own."""

    module: nn.Module

    def __post_init__(self) -> None:
        unfit = nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd
        for name, m in self.module.named_modules():
            if isinstance(m, unfit) or (isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats):
                raise ValueError(
                    f"layer {name} is {m}: batch norm and dropout are supported only as nn.BatchNorm2d (with its usual "
                    "options but eps and momentum), nn.Dropout and nn.Dropout2d within one flat nn.Sequential of these "
                    "and Linear, Conv2d, ReLU, MaxPool2d and Flatten layers; elsewhere use nn.GroupNorm or nn.LayerNorm"
                )

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if self.module.training != training:
            self.module.train(training)
        learned = {n: per_row(p[n], x.shape[0]) for n, q in self.module.named_parameters() if q.requires_grad}
        fixed = {n: per_row(t, x.shape[0]) for n, t in p.items() if n not in learned}  # float buffers
        names = [*learned, *fixed]
        x = _copied(x)  # the module may write into its input, and these may be the test images themselves

        def one(a: Tensor, *tensors: Tensor) -> Tensor:
            given = dict(zip(names, tensors, strict=True))
            given |= {name: given[first] for name, first in self.tied.items() if first in given}
            # Not its own tying, which leaves one of our tensors in a module that stands in the model twice.
            y: Tensor = torch.func.functional_call(self.module, given, (a,), tie_weights=False)
            return y

        rows = torch.func.vmap(one)
        return through_autograd(lambda a, *tensors: rows(a, *tensors, *fixed.values()), x, learned, training)

    @cached_property
    def tied(self) -> dict[str, str]:
        """Other names of tensors that several layers share -> the first one, by which they are known."""
        first: dict[int, str] = {}
        found = {}
        for prefix, module in self.module.named_modules():
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None:
                    own = f"{prefix}.{name}" if prefix else name
                    if (known := first.setdefault(id(tensor), own)) != own:
                        found[own] = known
        return found

    @property
    def regression(self) -> None:
        """None: such a model is no softmax regression."""
        return None

    @property
    def random(self) -> bool:
        """Dropout within is refused."""
        return False

    def width(self, device: torch.device) -> int | None:
        """All rows."""
        return None


def _copied(x: Tensor) -> Tensor:
    """A copy with the same strides, which decide the order of sums: images that all rows share stay shared."""
    return x[:1].clone().expand_as(x) if len(x) > 1 and x.stride(0) == 0 else x.clone()
