"""Convolution of stacked rows where all rows go at once, as on CUDA: three batched products with the patches.

cuDNN runs a convolution of as many groups as there are clients, each of few channels, far below the rate of a matrix
product. Here patches ``(rows, taps, batch x pixels)`` are written once; output, weight gradient and input gradient are
one product each, and a last tap of ones carries the bias and its gradient. Every sum has a fixed order: the same bits
on every run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.training.layers.protocol import Backward, Parameters, Sink, no_backward, per_row


def convolve(
    module: nn.Conv2d, x: Tensor, names: Sequence[str], p: Parameters, training: bool
) -> tuple[Tensor, Backward]:
    """y = W * x + b for every row.

    Args:
        module: the options.
        x: ``(rows, batch, in, height, width)``.
        names: of the weight and, with one, of the bias.
        p: the parameters, of each row or of each cell.
        training: whether there is a backward pass.

    Returns:
        ``(rows, batch, out, height, width)``, in memory with its channels before the batch, and the backward pass.
    """
    rows, batch, out, window = x.shape[0], x.shape[1], module.out_channels, sides(module, x)
    patches = _patches(module, x, ones=len(names) > 1)
    weight = p[names[0]].flatten(2)  # (rows or cells, out, taps)
    columns = weight if len(names) == 1 else torch.cat([weight, p[names[1]].unsqueeze(2)], 2)
    y = torch.bmm(per_row(columns, rows), patches).view(rows, out, batch, *window).transpose(1, 2)
    if not training:
        return y, no_backward
    own = columns if len(names) > 1 else columns.clone()  # a sink changes the weights in place

    def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
        flat = dy.transpose(1, 2).reshape(rows, out, -1)
        gradient = torch.bmm(flat, patches.transpose(1, 2))  # (rows, out, taps and the bias)
        dx = _input_gradient(module, x, flat, per_row(own, rows)) if need_dx else None
        taps = weight.shape[2]
        sink.plain(names[0], gradient[:, :, :taps].unflatten(2, module.weight.shape[1:]))
        if len(names) > 1:
            sink.plain(names[1], gradient[:, :, taps])
        return dx

    return y, back


def sides(module: nn.Conv2d, x: Tensor) -> tuple[int, int]:
    """Height and width of the output."""
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = pair(module.padding), module.stride, module.dilation, module.kernel_size
    height, width = x.shape[-2:]
    return (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1


def pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    """Padding in numbers; `lockstep.stack` keeps the named ones out."""
    assert not isinstance(padding, str)
    return padding[0], padding[1]


def _patches(module: nn.Conv2d, x: Tensor, ones: bool) -> Tensor:
    """``(rows, taps, batch x height x width)`` of images ``(rows, batch, in, height, width)``; taps in the order of
    the weights, and a last one of ones where asked for."""
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = pair(module.padding), module.stride, module.dilation, module.kernel_size
    (rows, batch, depth), window = x.shape[:3], sides(module, x)
    image = F.pad(x, (pw, pw, ph, ph)) if pw or ph else x
    a, b, c, d, e = image.stride()
    size = (rows, depth, kh, kw, batch, *window)
    seen = image.as_strided(size, (a, c, d * dh, e * dw, b, d * sh, e * sw), image.storage_offset())
    taps = depth * kh * kw
    out = x.new_empty(rows, taps + ones, batch * window[0] * window[1])
    out[:, :taps].view(size).copy_(seen)
    if ones:
        out[:, taps] = 1
    return out


def _input_gradient(module: nn.Conv2d, x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    """``(rows, batch, in, height, width)``: what each tap saw, added back to where it came from.

    Args:
        module: the options.
        x: the input.
        dy: ``(rows, out, batch x pixels)``.
        weight: ``(rows, out, taps or more)``.
    """
    rows, batch, depth = x.shape[:3]
    taps = depth * module.kernel_size[0] * module.kernel_size[1]
    of_images = dy.view(rows, dy.shape[1], batch, -1).transpose(1, 2)  # (rows, batch, out, pixels)
    columns = (weight[:, None, :, :taps].mT @ of_images).flatten(0, 1)  # (rows x batch, taps, pixels), as fold asks
    options = module.kernel_size, module.dilation, pair(module.padding), module.stride
    return F.fold(columns, x.shape[-2:], *options).view(x.shape)
