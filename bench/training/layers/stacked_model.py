"""All clients of all cells compute at once: stacked layers with their backward passes.

A batch is ``(rows, batch, *shape)``, one row a client, and a row has its own weights (``(rows, *parameter)``) or, in
the first step of a round and in evaluation, shares those of its cell (``(cells, *parameter)``, rows = cells x k).
Linear layers are one batched product whose weight gradient goes straight into the optimiser's buffer; images have
rooms of their own (`convolution`, `pooling`, `batch_norm`). What layers have in common is said in `protocol`; what
becomes of models that are no flat chain, in `executors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
)


class Stacked(Protocol):
    """A model over stacked rows."""

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]: ...

    @property
    def name(self) -> str:
        """Of the executor, for the provenance."""

    @property
    def whole_cells(self) -> bool:
        """Whether rows of different cells must not be in one call, because how many there are changes their bits."""

    @property
    def random(self) -> bool:
        """Whether it needs keys to draw from (`dropout.KEYS`) in training."""

    @property
    def regression(self) -> Linear | None:
        """Its only layer with parameters, where it is softmax regression."""

    def width(self, device: torch.device) -> int | None:
        """Rows that are best trained at once; None: as many as there are."""


def chain_of(model: nn.Module) -> Chain | None:
    """The stacked form of a flat chain of known layers; None: the model is something else (`executors.choice`)."""
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
        return None
    ordered = [known[type(layer)](f"{name}.", layer) for name, layer in _pool_before_relu(layers)]
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return Chain(tuple(_pooled(ordered)), frozen)


def _unchanged(module: nn.Module) -> bool:
    """Whether a module's class alone says what it does: no hook, no forward of its own."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    of_parameters = (p._backward_hooks for p in module.parameters(recurse=False))
    return not (any(hooks) or any(of_parameters) or "forward" in vars(module))


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

    name = "stacked"
    whole_cells = False

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
