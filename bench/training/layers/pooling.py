"""Max pooling of stacked rows: 2x2 compiled on the CPU, anything else by PyTorch's kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flipbench.training.layers import protocol
from flipbench.training.layers.protocol import Backward, Parameters, Sink, no_backward


@dataclass(frozen=True)
class Pool:
    """Maxima of windows; of equal values the first takes the gradient, as in PyTorch."""

    prefix: str
    module: nn.MaxPool2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if protocol.has_kernels(x) and self.two_by_two and min(x.shape[3:]) > 1:
            return _two_by_two(x)
        m = self.module
        options = _both(m.kernel_size), _both(m.stride), _both(m.padding), _both(m.dilation), m.ceil_mode
        across = x.transpose(1, 2)  # a window lies within one channel, so the order that needs no copy serves
        swapped = across.is_contiguous()
        planes = (across if swapped else x).flatten(0, 1)
        y, which = torch.ops.aten.max_pool2d_with_indices(planes, *options)

        def unfolded(flat: Tensor) -> Tensor:
            """``(rows, batch, channels, h, w)``."""
            if swapped:
                return flat.view(x.shape[0], x.shape[2], x.shape[1], *flat.shape[2:]).transpose(1, 2)
            return flat.view(*x.shape[:2], *flat.shape[1:])

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            if not need_dx:
                return None
            given = (dy.transpose(1, 2) if swapped else dy).flatten(0, 1).contiguous()
            return unfolded(torch.ops.aten.max_pool2d_with_indices_backward(given, planes, *options, which))

        return unfolded(y), back if training else no_backward

    @property
    def two_by_two(self) -> bool:
        """Whether windows are 2x2, side by side."""
        m = self.module
        window, steps = _both(m.kernel_size), _both(m.stride)
        return (
            window == steps == (2, 2) and _both(m.padding) == (0, 0) and _both(m.dilation) == (1, 1) and not m.ceil_mode
        )


def _both(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _two_by_two(x: Tensor) -> tuple[Tensor, Backward]:
    """``(rows, batch, channels, h, w)``; the answer has its channels innermost in memory, whatever ``x`` has."""
    from flipbench.training.layers import image_kernels as kernels  # the compiler is loaded on first use

    rows, batch, channels, height, width = x.shape
    out = x.new_empty(rows, batch, height // 2, width // 2, channels)
    which = torch.empty_like(out, dtype=torch.int32)
    first = x.transpose(1, 2)  # (rows, channels, batch, h, w): as a convolution of few channels leaves it
    if first.is_contiguous():
        kernels.pool_first(first.numpy(), out.numpy(), which.numpy())
    else:
        last = x.permute(0, 1, 3, 4, 2).flatten(0, 1).contiguous()
        kernels.pool_last(last.numpy(), out.flatten(0, 1).numpy(), which.flatten(0, 1).numpy())

    def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
        if not need_dx:
            return None
        given = dy.permute(0, 1, 3, 4, 2).contiguous()
        if first.is_contiguous():
            dx = torch.empty_like(first)
            kernels.unpool_first(given.numpy(), which.numpy(), dx.numpy())
            return dx.transpose(1, 2)
        dx = x.new_empty(rows, batch, height, width, channels)
        kernels.unpool_last(given.flatten(0, 1).numpy(), which.flatten(0, 1).numpy(), dx.flatten(0, 1).numpy())
        return dx.permute(0, 1, 4, 2, 3)

    return out.permute(0, 1, 4, 2, 3), back
