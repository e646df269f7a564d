"""All clients of all cells compute at once: stacked layers with their backward passes.

A batch is ``(rows, batch, *shape)``, one row a client, and a row has its own weights (``(rows, *parameter)``) or, in
the first step of a round and in evaluation, shares those of its cell (``(cells, *parameter)``, rows = cells x k).
Linear layers are one batched product whose weight gradient goes straight into the optimiser's buffer; for every other
layer a small local autograd graph serves. A model of unknown layers goes through `torch.func` as a whole.

Each layer is ``forward(x, parameters) -> (y, backward)`` and ``backward(dy, sink, need_dx) -> dx``. What becomes of a
gradient is the sink's business (`bench.local`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Parameters = Mapping[str, Tensor]  # name -> (rows or cells, *shape)
Backward = Callable[[Tensor, "Sink", bool], Tensor | None]


class Sink(Protocol):
    """Takes gradients of the mean loss, one row a client."""

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """Gradient of ``name`` is ``dy^T x``, from ``(rows, batch, out)`` and ``(rows, batch, in)``."""

    def plain(self, name: str, gradient: Tensor) -> None:
        """Gradient of ``name``, ``(rows, *shape)``."""

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """A batch statistic that moves a running one: s <- (1 - momentum) s + momentum value."""


class Stacked(Protocol):
    """A model over stacked rows."""

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]: ...

    def width(self, device: torch.device) -> int | None:
        """Rows that are best trained at once; None: as many as there are."""


def stack(model: nn.Module) -> Stacked:
    """The stacked form of a model: layer by layer where all layers are known, else as a whole."""
    layers = list(model.named_children()) if type(model) is nn.Sequential else []
    known = {
        nn.Linear: Linear,
        nn.ReLU: Relu,
        nn.Flatten: Flat,
        nn.Conv2d: Conv,
        nn.MaxPool2d: Pool,
        nn.BatchNorm2d: Norm,
    }
    if not layers or not all(type(layer) in known and _plain(layer) for _, layer in layers):
        return Whole(model)
    ordered = _pool_before_relu(layers)
    return Chain(tuple(known[type(layer)](f"{name}.", layer) for name, layer in ordered))


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


@dataclass(frozen=True)
class Chain:
    """Layers one after the other."""

    layers: tuple[Linear | Relu | Flat | Conv | Pool | Norm, ...]

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        steps: list[Backward] = []
        for layer in self.layers:
            x, backward = layer(x, p, training, counts)
            steps.append(backward)

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            upstream: Tensor | None = dy
            for i in range(len(steps) - 1, -1, -1):
                assert upstream is not None
                # The layers before the first one with parameters have nothing to learn from a gradient.
                upstream = steps[i](upstream, sink, need_dx or i > self.first)
                if i == self.first and not need_dx:
                    return None
            return upstream

        return x, back

    def width(self, device: torch.device) -> int | None:
        """One client's pictures fit the processor's cache, those of twenty do not."""
        return 1 if device.type == "cpu" and any(isinstance(layer, Conv) for layer in self.layers) else None

    @property
    def first(self) -> int:
        """Index of the first layer with parameters."""
        return next((i for i, layer in enumerate(self.layers) if isinstance(layer, Linear | Conv | Norm)), 0)


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b."""

    prefix: str
    module: nn.Linear

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        weight = p[self.prefix + "weight"]  # (rows or cells, out, in)
        rows, batch, _ = x.shape
        shared = weight.shape[0]
        merged = x.reshape(shared, rows // shared * batch, x.shape[-1])  # (rows or cells, batch, in)
        if self.module.bias is None:
            y = torch.bmm(merged, weight.transpose(1, 2))
        else:
            y = torch.baddbmm(p[self.prefix + "bias"].unsqueeze(1), merged, weight.transpose(1, 2))
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
class Pool:
    """Max pooling."""

    prefix: str
    module: nn.MaxPool2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        m = self.module

        def pool(a: Tensor) -> Tensor:
            y = F.max_pool2d(a.flatten(0, 1), m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)
            return y.view(*x.shape[:2], *y.shape[1:])  # (rows, batch, channels, height, width)

        return _local(pool, x, {}, training)


@dataclass(frozen=True)
class Conv:
    """Convolution: grouped on CUDA, a row at a time on the CPU, where oneDNN beats its own grouped form.

    On the CPU pictures stay channels-last, and the weight gradient is one product with the patches that each
    output pixel sees: from 1.2 (20 channels) to 3 times (1 channel) faster than oneDNN's backward pass there.
    """

    prefix: str
    module: nn.Conv2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        names = [self.prefix + n for n, _ in self.module.named_parameters()]
        if x.is_cuda:
            own = {n: _per_row(p[n], x.shape[0]) if training else p[n] for n in names}
            return _local(self._grouped, x, own, training)
        weight, bias = p[names[0]], p[names[1]] if len(names) > 1 else None
        k = x.shape[0] // weight.shape[0]  # rows that share one weight
        y = self._empty(x)
        seen = [
            self._forward(rows_in.flatten(0, 1), weight[i], None if bias is None else bias[i], rows_out.flatten(0, 1))
            for i, (rows_in, rows_out) in enumerate(zip(x.split(k), y.split(k), strict=True))
        ]

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            dx = _channels_last(*x.shape, like=x) if need_dx else None
            if dx is not None:
                for i in range(x.shape[0]):
                    dx[i] = self._input_gradient(dy[i], x[i], weight[i // k])
            patches = seen if k == 1 else [None] * x.shape[0]
            gradients = [self._weight_gradient(d, a, p) for d, a, p in zip(dy, x, patches, strict=True)]
            sink.plain(names[0], torch.stack(gradients))
            if bias is not None:
                sink.plain(names[1], dy.sum((1, 3, 4)))
            return dx

        return y, back

    def _empty(self, x: Tensor) -> Tensor:
        """Room for the outputs of ``(rows, batch, in, height, width)``."""
        m = self.module
        sides = [
            (side + 2 * pad - d * (kernel - 1) - 1) // stride + 1
            for side, pad, d, kernel, stride in zip(
                x.shape[3:], _pair(m.padding), m.dilation, m.kernel_size, m.stride, strict=True
            )
        ]
        return _channels_last(x.shape[0], x.shape[1], m.out_channels, *sides, like=x)

    def _forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor | None:
        """Fill ``out``; returns the patches where the product was made from them (few input channels)."""
        m = self.module
        last = x.contiguous(memory_format=torch.channels_last)
        if x.shape[1] > 4:
            out.copy_(F.conv2d(last, weight, bias, m.stride, m.padding, m.dilation))
            return None
        flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])  # (kernel x kernel x in, out)
        rows = out.permute(0, 2, 3, 1).view(-1, weight.shape[0])
        patches = self._patches(last)
        torch.mm(patches, flat, out=rows)
        if bias is not None:
            rows.add_(bias)
        return patches

    def _patches(self, x: Tensor) -> Tensor:
        """``(batch x height x width, kernel x kernel x in)``: what each output pixel sees, channels innermost."""
        m = self.module
        (ph, pw), (sh, sw), (dh, dw), (kh, kw) = _pair(m.padding), m.stride, m.dilation, m.kernel_size
        image = (
            (F.pad(x, (pw, pw, ph, ph)) if pw or ph else x).permute(0, 2, 3, 1).contiguous()
        )  # (batch, height, width, in)
        batch, rows, columns, depth = image.shape
        height, width = (rows - dh * (kh - 1) - 1) // sh + 1, (columns - dw * (kw - 1) - 1) // sw + 1
        a, b, c, _ = image.stride()
        if dw == 1:  # the columns and channels of a kernel's row lie side by side: copy them as one run
            size: tuple[int, ...] = (batch, height, width, kh, kw * depth)
            stride: tuple[int, ...] = (a, b * sh, c * sw, b * dh, 1)
        else:
            size, stride = (batch, height, width, kh, kw, depth), (a, b * sh, c * sw, b * dh, c * dw, 1)
        seen = image.as_strided(size, stride)
        return seen.reshape(batch * height * width, kh * kw * depth)

    def _weight_gradient(self, dy: Tensor, x: Tensor, patches: Tensor | None) -> Tensor:
        if patches is None:
            patches = self._patches(x.contiguous(memory_format=torch.channels_last))
        out, depth, kh, kw = self.module.weight.shape
        flat = dy.permute(0, 2, 3, 1).reshape(-1, out)
        return (flat.t() @ patches).view(out, kh, kw, depth).permute(0, 3, 1, 2)

    def _input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        m = self.module
        dx: Tensor = torch.ops.aten.convolution_backward(
            dy.contiguous(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
            weight.contiguous(memory_format=torch.channels_last),
            None,
            m.stride,
            _pair(m.padding),
            m.dilation,
            False,
            [0, 0],
            1,
            [True, False, False],
        )[0]
        return dx

    def _grouped(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        m = self.module
        groups, k = weight.shape[0], x.shape[0] // weight.shape[0]
        # Rows that share weights follow each other in the batch: (k x batch, groups x in, height, width).
        merged = x.view(groups, k * x.shape[1], *x.shape[2:]).transpose(0, 1).flatten(1, 2)
        biases = None if bias is None else bias.flatten()
        y = F.conv2d(merged, weight.flatten(0, 1), biases, m.stride, m.padding, m.dilation, groups)
        y = y.view(k * x.shape[1], groups, -1, *y.shape[2:]).transpose(0, 1)  # (groups, k x batch, out, h, w)
        return y.reshape(x.shape[0], x.shape[1], *y.shape[2:])


def _channels_last(rows: int, batch: int, depth: int, height: int, width: int, *, like: Tensor) -> Tensor:
    """Uninitialised ``(rows, batch, depth, height, width)`` with the channels innermost in memory."""
    return like.new_empty(rows, batch, height, width, depth).permute(0, 1, 4, 2, 3)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    """Padding in numbers; `_plain` keeps the named ones out."""
    assert not isinstance(padding, str)
    return padding[0], padding[1]


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over a row's own batch; running statistics move as weights do, in training only."""

    prefix: str
    module: nn.BatchNorm2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        own = {n: _per_row(p[self.prefix + n], x.shape[0]) for n in ("weight", "bias", "running_mean", "running_var")}
        if not training:
            mean, var = own["running_mean"][:, None, :, None, None], own["running_var"][:, None, :, None, None]
            scale = own["weight"][:, None, :, None, None] * torch.rsqrt(var + self.module.eps)
            return (x - mean) * scale + own["bias"][:, None, :, None, None], _no_backward
        share = _shares(x, counts)  # (rows, batch, 1, 1, 1), sums to 1 over the examples and pixels of a row
        with torch.no_grad():
            mean = (x * share).sum((1, 3, 4))  # (rows, channels)
            var = ((x - mean[:, None, :, None, None]).square() * share).sum((1, 3, 4))
            number = 1.0 / share.amax((1, 2, 3, 4))
            unbiased = var * (number / (number - 1).clamp(min=1))[:, None]

        def normalise(a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            centre = (a * share).sum((1, 3, 4), keepdim=True)
            spread = ((a - centre).square() * share).sum((1, 3, 4), keepdim=True)
            return (a - centre) * torch.rsqrt(spread + self.module.eps) * weight[:, None, :, None, None] + bias[
                :, None, :, None, None
            ]

        learned = {self.prefix + n: own[n] for n in ("weight", "bias")}
        y, inner = _local(normalise, x, learned, training)
        momentum = self.module.momentum
        assert momentum is not None

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            sink.statistic(self.prefix + "running_mean", mean, momentum)
            sink.statistic(self.prefix + "running_var", unbiased, momentum)
            return inner(dy, sink, need_dx)

        return y, back


@dataclass(frozen=True)
class Whole:
    """Any module at all, over its rows by `torch.func.vmap`."""

    module: nn.Module

    def __post_init__(self) -> None:
        if any(
            isinstance(m, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd)
            for m in self.module.modules()
        ):
            raise ValueError(
                "batch norm and dropout are supported only as nn.BatchNorm2d within one flat nn.Sequential of "
                "Linear, Conv2d, ReLU, MaxPool2d, Flatten and BatchNorm2d layers"
            )

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        learned = {n: _per_row(p[n], x.shape[0]) for n, _ in self.module.named_parameters()}
        fixed = {n: _per_row(t, x.shape[0]) for n, t in p.items() if n not in learned}  # float buffers
        names = [*learned, *fixed]

        def one(a: Tensor, *tensors: Tensor) -> Tensor:
            y: Tensor = torch.func.functional_call(self.module, dict(zip(names, tensors, strict=True)), (a,))
            return y

        rows = torch.func.vmap(one)
        return _local(lambda a, *tensors: rows(a, *tensors, *fixed.values()), x, learned, training)

    def width(self, device: torch.device) -> int | None:
        """All rows."""
        return None


def _per_row(parameter: Tensor, rows: int) -> Tensor:
    """``(cells, *shape)`` repeated for the rows of each cell; ``(rows, *shape)`` is left alone."""
    k = rows // parameter.shape[0]
    return parameter if k == 1 else parameter.repeat_interleave(k, dim=0)


def _shares(x: Tensor, counts: Tensor | None) -> Tensor:
    """Share of each example and pixel in the statistics of its row; padding has none."""
    rows, batch = x.shape[:2]
    pixels = x.shape[3] * x.shape[4]
    if counts is None:
        return x.new_full((rows, batch, 1, 1, 1), 1.0 / (batch * pixels))
    real = torch.arange(batch, device=x.device) < counts[:, None]
    return (real / (counts.clamp(min=1)[:, None] * pixels)).to(x.dtype)[:, :, None, None, None]


def _no_backward(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
    raise RuntimeError("evaluation has no backward pass")


def _local(f: Callable[..., Tensor], x: Tensor, p: dict[str, Tensor], training: bool) -> tuple[Tensor, Backward]:
    """One layer through a graph of its own."""
    if not training:
        with torch.no_grad():
            return f(x, *p.values()), _no_backward
    leaf = x.detach().requires_grad_()
    # Copies: a sink changes weights in place, which would invalidate views of them saved in this graph.
    leaves = [t.detach().clone().requires_grad_() for t in p.values()]
    with torch.enable_grad():
        y = f(leaf, *leaves)

    def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
        wanted = ([leaf] if need_dx else []) + leaves
        if not wanted:
            return None
        gradients = list(torch.autograd.grad(y, wanted, dy, allow_unused=True, materialize_grads=True))
        dx = gradients.pop(0) if need_dx else None
        for name, gradient in zip(p, gradients, strict=True):
            sink.plain(name, gradient)
        return dx

    return y.detach(), back
