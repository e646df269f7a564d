"""Layers with parameters of each row, within a graph that runs on the examples of all rows side by side.

Each takes and gives ``(rows x batch, ...)``. Linear, embedding and normalising layers are left to autograd; batch norm
and, on CUDA, convolution have their own backward passes (`layers`), which autograd calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.training.executors.held_tensors import Held
from flipbench.training.layers import convolution_batched as batched
from flipbench.training.layers.batch_norm import Norm
from flipbench.training.layers.dropout import KEYS, kept_share
from flipbench.training.layers.protocol import Layer, Parameters, Sink, per_row


@dataclass
class Rows:
    """One forward pass of some rows, and what its backward pass needs.

    Attributes:
        held: names of the module's tensors.
        rows, batch: of the input.
        own: ``(rows, *shape)`` each, parameters and float buffers of the rows.
        leaves: copies of the parameters, at the end of the graph.
        counts: real examples of each row; None: all.
        anchor: a number that every layer with a backward pass of its own depends on, so that it is called.
        gradients: that such layers gave.
        statistics: of batch norm: name -> (value, momentum).
    """

    held: Held
    rows: int
    batch: int
    own: dict[str, Tensor]
    leaves: dict[str, Tensor]
    counts: Tensor | None
    anchor: Tensor
    gradients: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, tuple[Tensor, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, held: Held, x: Tensor, p: Parameters, counts: Tensor | None) -> Rows:
        """A pass over ``(rows, batch, *shape)`` inputs."""
        own = {name: per_row(t, len(x)).detach() for name, t in p.items()}
        # Copies: a sink changes weights in place.
        leaves = {name: held.leaf(name, own[name].clone()) for name in held.learned}
        return cls(
            held, x.shape[0], x.shape[1], own, leaves, counts, x.new_zeros((), dtype=torch.float32).requires_grad_()
        )

    def parameter(self, name: str) -> Tensor | None:
        """``(rows, *shape)``, in the graph where it is trained; None: the layer has no such parameter."""
        name = self.held.tied.get(name, name)
        if name in self.leaves:
            return self.leaves[name]
        owner, _, last = name.rpartition(".")
        frozen = getattr(self.held.module.get_submodule(owner), last)
        return None if frozen is None else frozen.detach().expand(self.rows, *frozen.shape)

    def for_examples(self, name: str) -> Tensor:
        """A parameter of shape ``(1, ...)`` as ``(rows x batch, ...)``."""
        return self.leaves[name].expand(-1, self.batch, *self.leaves[name].shape[2:]).flatten(0, 1)

    def apart(self, x: Tensor) -> Tensor:
        """``(rows x batch, ...)`` as ``(rows, batch, ...)``."""
        apart: Tensor = x.unflatten(0, (self.rows, self.batch))
        return apart

    def backward(self, logits: Tensor, dy: Tensor, sink: Sink) -> None:
        """Gradients and statistics to the sink, each once.

        Args:
            logits: ``(rows, batch, L)``, with the graph.
            dy: gradient in them.
            sink: takes the gradients.
        """
        wanted = [*self.leaves.values(), self.anchor]
        found = torch.autograd.grad(logits, wanted, dy, allow_unused=True)
        for name, gradient in zip(self.leaves, found, strict=False):
            both = [g for g in (gradient, self.gradients.get(name)) if g is not None]
            if both:
                sink.plain(name, both[0] if len(both) == 1 else both[0] + both[1])
        for name, (value, momentum) in self.statistics.items():
            sink.statistic(name, value, momentum)

    # What layers with a backward pass of their own call: `layers.protocol.Sink`.

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        self.plain(name, dy.transpose(1, 2) @ x)

    def plain(self, name: str, gradient: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        name = self.held.tied.get(name, name)
        if name in self.leaves:
            self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """As `layers.protocol.Sink`; a layer that stands in the graph twice moves them twice."""
        if name in self.statistics:
            raise RuntimeError(f"{name} moves twice in one step")
        self.statistics[name] = value, momentum


class _Layered(torch.autograd.Function):
    """A layer of `training.layers` in a graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layer: Layer, run: Rows, own: Parameters) -> Tensor:
        """``(rows x batch, ...)`` to the same."""
        y, ctx.back = layer(run.apart(x), own, True, run.counts)
        ctx.run = run
        return y.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        """Gradients to the run, and the one of the input."""
        dx = ctx.back(ctx.run.apart(slopes[0]), ctx.run, ctx.needs_input_grad[0])
        return None if dx is None else dx.flatten(0, 1), slopes[0].new_zeros(()), None, None, None


@dataclass
class _Forward(ABC):
    """The forward pass of a layer; ``calls`` counts how often it was called in this step."""

    name: str
    layer: Any
    run: Rows
    calls: int = 0

    def of(self, name: str) -> Tensor | None:
        return self.run.parameter(f"{self.name}.{name}")

    def through(self, layer: Layer, x: Tensor, own: Parameters) -> Tensor:
        """A layer with a backward pass of its own."""
        y: Tensor = _Layered.apply(x, self.run.anchor, layer, self.run, own)  # type: ignore[no-untyped-call]
        return y

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """What the layer answers for the examples of all rows."""


class _Linear(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.of("weight"), self.of("bias")
        assert weight is not None
        flat = x.reshape(self.run.rows, -1, x.shape[-1])
        across = weight.transpose(1, 2)
        y = torch.bmm(flat, across) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, across)
        return y.view(*x.shape[:-1], -1)


class _Convolution(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.of("weight"), self.of("bias")
        assert weight is not None
        if x.is_cuda and isinstance(self.layer, nn.Conv2d) and self.layer.groups == 1 and _zero_padded(self.layer):
            layer = _Batched(self.layer, [self.name + ".weight"] + ([] if bias is None else [self.name + ".bias"]))
            own = {f"{self.name}.weight": weight.detach()}
            own |= {} if bias is None else {f"{self.name}.bias": bias.detach()}
            return self.through(layer, x, own)
        parts, convolve = self.run.apart(x), self.layer._conv_forward
        rows = [convolve(parts[r], w, None if bias is None else bias[r]) for r, w in enumerate(weight)]
        return torch.cat(rows)


@dataclass(frozen=True)
class _Batched:
    """Convolution of all rows at once."""

    module: nn.Conv2d
    names: list[str]

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> Any:
        return batched.convolve(self.module, x, self.names, p, training)


class _BatchNorm(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        own: dict[str, Tensor] = {}
        for name in ("weight", "bias"):
            value = self.of(name)
            assert value is not None
            own[f"{self.name}.{name}"] = value.detach()
        for name in ("running_mean", "running_var"):
            own[f"{self.name}.{name}"] = self.run.own[f"{self.name}.{name}"]
        sides = x.shape[2:]
        image = x if len(sides) == 2 else x.reshape(*x.shape[:2], -1, 1)
        out = self.through(Norm(f"{self.name}.", self.layer), image, own)
        return out.view(x.shape) if len(sides) != 2 else out


class _GroupNorm(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        y = F.group_norm(x, self.layer.num_groups, None, None, self.layer.eps)
        weight, bias = self.of("weight"), self.of("bias")
        if weight is None:
            return y
        shape = (self.run.rows, 1, -1, *[1] * (x.ndim - 2))
        y = self.run.apart(y) * weight.view(shape)
        return (y if bias is None else y + bias.view(shape)).flatten(0, 1)


class _LayerNorm(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        normal = self.layer.normalized_shape
        y = F.layer_norm(x, normal, None, None, self.layer.eps)
        weight, bias = self.of("weight"), self.of("bias")
        if weight is None:
            return y
        shape = (self.run.rows, *[1] * (x.ndim - len(normal)), *normal)
        y = self.run.apart(y) * weight.view(shape)
        return (y if bias is None else y + bias.view(shape)).flatten(0, 1)


class _Embedding(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        weight = self.of("weight")
        assert weight is not None
        first = torch.arange(self.run.rows, device=x.device).view(-1, *[1] * x.ndim) * weight.shape[1]
        y = F.embedding((self.run.apart(x) + first).flatten(0, 1), weight.flatten(0, 1))
        if self.layer.padding_idx is None:
            return y
        return torch.where((x == self.layer.padding_idx).unsqueeze(-1), y.detach(), y)  # padding learns nothing


class _Dropout(_Forward):
    def __call__(self, x: Tensor) -> Tensor:
        if not self.layer.p:
            return x
        shape = (self.run.batch, *(x.shape[1:2] if type(self.layer) is not nn.Dropout else x.shape[1:]))
        mask = kept_share(self.run.own[KEYS], f"{self.name}.", self.calls, shape, float(self.layer.p)).to(x.dtype)
        self.calls += 1
        mask = mask.flatten(0, 1)
        mask = mask.view(*mask.shape, *[1] * (x.ndim - mask.ndim))
        return x.mul_(mask) if self.layer.inplace else x * mask


FORWARDS: dict[type[nn.Module], Callable[[str, nn.Module, Rows], _Forward]] = {
    nn.Linear: _Linear,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _Convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _BatchNorm),
    nn.GroupNorm: _GroupNorm,
    nn.LayerNorm: _LayerNorm,
    nn.Embedding: _Embedding,
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), _Dropout),
}


def is_plain(layer: nn.Module) -> bool:
    """Whether the forward pass here says the same as PyTorch's for the options of a layer."""
    if "forward" in vars(layer):
        return False
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return layer.track_running_stats and layer.affine and layer.momentum is not None
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
    return True


def _zero_padded(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
