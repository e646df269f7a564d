"""Convolution of stacked rows on the CPU: one product with the patches of a row. (On CUDA: `batched_convolution`.)

A patch is what one output pixel sees. With the patches of a row as a matrix ``(batch x pixels, taps)`` the output is
``patches W^T``, the weight gradient ``dy^T patches`` and the input gradient ``dy W`` added back to where each tap came
from; three products that run at nearly the full rate of the processor, where oneDNN's kernels for 5x5 filters reach
half of it (one thread, AVX2). One more column of ones carries the bias and its gradient at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.training.layers import convolution_batched as batched
from flipbench.training.layers import protocol
from flipbench.training.layers.convolution_batched import pair
from flipbench.training.layers.pooling import Pool
from flipbench.training.layers.protocol import Backward, Parameters, Sink

_FEW = 4  # input channels up to which taps are stored as rows: their runs are too short to copy one pixel at a time
_LANES = 8  # a multiple of it keeps every row of patches aligned: 1.5 times faster products
_CHUNK = 64  # images at a time in evaluation, whose patches stay in the cache
_POOLED = 8  # images at a time where a pooling follows, whose outputs stay in the cache too


@dataclass(frozen=True)
class Conv:
    """y = W * x + b for every row."""

    prefix: str
    module: nn.Conv2d
    room: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)  # patches, used again each step

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        names = [self.prefix + n for n, _ in self.module.named_parameters()]
        if not protocol.has_kernels(x):
            return batched.convolve(self.module, x, names, p, training)
        weight, bias = p[names[0]], p[names[1]] if len(names) > 1 else None
        k = x.shape[0] // weight.shape[0]  # rows that share one weight
        matrices = [self.matrix(w, None if bias is None else bias[i]) for i, w in enumerate(weight)]
        y = self._empty(x)
        seen: list[Tensor] = []
        for i, row in enumerate(x):
            flat = self._flat(y[i])
            step = len(row) if training else _CHUNK
            for low in range(0, len(row), step):
                some = row[low : low + step]
                patches = self.patches(some, ("train" if training else "test") if x.shape[0] == 1 else None)
                pixels = len(patches) // max(1, len(some))
                torch.mm(patches, matrices[i // k].t(), out=flat[low * pixels : (low + len(some)) * pixels])
                if training:
                    seen.append(patches)

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            gradients = [self._flat(d).t() @ a for d, a in zip(dy, seen, strict=True)]  # (out, taps)
            dx = None
            if need_dx:  # last: it takes the room of the patches
                rows = zip(dy, x, seen, strict=True)
                dx = _stacked([self.input_gradient(*row, matrices[i // k]) for i, row in enumerate(rows)])
            self.send(_stacked(gradients), names, sink)
            return dx

        return y, back

    def send(self, gradient: Tensor, names: list[str], sink: Sink) -> None:
        """Gradients ``(rows, out, columns)`` of weights and bias to the sink."""
        sink.plain(names[0], self._unflat(gradient))
        if len(names) > 1:
            sink.plain(names[1], gradient[:, :, self._taps])

    @property
    def few(self) -> bool:
        return self.module.in_channels <= _FEW

    @property
    def _taps(self) -> int:
        """Weights of one output channel."""
        (kh, kw), depth = self.module.kernel_size, self.module.in_channels
        return kh * kw * depth

    @property
    def _columns(self) -> int:
        """Of the matrix of patches: taps, one for the bias, and what fills the last vector."""
        used = self._taps + (self.module.bias is not None)
        return used if self.few else -(-used // _LANES) * _LANES

    def sides(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the output."""
        return batched.sides(self.module, x)

    def _empty(self, x: Tensor) -> Tensor:
        """Room for the outputs of ``(rows, batch, in, height, width)``, in the order in which `_flat` reads them."""
        rows, batch, out = x.shape[0], x.shape[1], self.module.out_channels
        if self.few:
            return x.new_empty(rows, out, batch, *self.sides(x)).transpose(1, 2)
        return x.new_empty(rows, batch, *self.sides(x), out).permute(0, 1, 4, 2, 3)

    def _flat(self, y: Tensor) -> Tensor:
        """``(batch, out, height, width)`` as ``(batch x height x width, out)``; a view of what `_empty` made."""
        if self.few:
            return y.transpose(0, 1).reshape(y.shape[1], -1).t()
        return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])

    def matrix(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Weights ``(out, taps)`` in the order of the patches, with the bias behind them."""
        out = weight.new_zeros(weight.shape[0], self._columns)
        out[:, : self._taps] = (weight if self.few else weight.permute(0, 2, 3, 1)).flatten(1)
        if bias is not None:
            out[:, self._taps] = bias
        return out

    def _unflat(self, gradient: Tensor) -> Tensor:
        """``(rows, out, columns)`` as gradients of the weights."""
        (kh, kw), depth, taps = self.module.kernel_size, self.module.in_channels, gradient[:, :, : self._taps]
        rows, out = gradient.shape[:2]
        if self.few:
            return taps.reshape(rows, out, depth, kh, kw)
        return taps.reshape(rows, out, kh, kw, depth).permute(0, 1, 4, 2, 3)

    def patches(self, x: Tensor, room: str | None) -> Tensor:
        """``(batch x height x width, columns)`` of images ``(batch, in, height, width)``."""
        m = self.module
        (ph, pw), (sh, sw), (dh, dw), (kh, kw) = pair(m.padding), m.stride, m.dilation, m.kernel_size
        batch, depth = x.shape[:2]
        sides = self.sides(x)
        image = F.pad(x, (pw, pw, ph, ph)) if pw or ph else x
        out = self._room(batch * sides[0] * sides[1], x, room)
        taps = out[:, : self._taps]
        if self.few:
            a, b, c, d = image.stride()
            size: tuple[int, ...] = (depth, kh, kw, batch, *sides)
            stride: tuple[int, ...] = (b, c * dh, d * dw, a, c * sh, d * sw)
            taps.t().view(size).copy_(image.as_strided(size, stride))
            return out
        image = image.permute(0, 2, 3, 1).contiguous()
        a, c, d, _ = image.stride()
        if dw == 1:  # the columns and channels of a kernel's row lie side by side: copy them as one run
            size, stride = (batch, *sides, kh, kw * depth), (a, c * sh, d * sw, c * dh, 1)
        else:
            size, stride = (batch, *sides, kh, kw, depth), (a, c * sh, d * sw, c * dh, d * dw, 1)
        taps.unflatten(0, size[:3]).unflatten(3, size[3:]).copy_(image.as_strided(size, stride))
        return out

    def _room(self, pixels: int, like: Tensor, name: str | None) -> Tensor:
        """Room for patches, its column of ones set: the last step's, which is still in the cache, or new."""
        shape = (self._columns, pixels) if self.few else (pixels, self._columns)
        kept = self.room.get(name) if name else None
        if kept is None or kept.shape != shape or kept.dtype != like.dtype:
            kept = like.new_empty(shape)
            rest = kept[self._taps :] if self.few else kept[:, self._taps :].t()
            rest.zero_()
            if self.module.bias is not None:
                rest[0] = 1
            if name:
                self.room[name] = kept
        return kept.t() if self.few else kept

    def input_gradient(self, dy: Tensor, x: Tensor, patches: Tensor, matrix: Tensor) -> Tensor:
        m = self.module
        (ph, pw), (kh, kw), depth = pair(m.padding), m.kernel_size, m.in_channels
        if self.few:
            weight = matrix[:, : self._taps].unflatten(1, (depth, kh, kw))
            geometry = (m.stride, pair(m.padding), m.dilation, False, [0, 0], 1)
            few: Tensor = torch.ops.aten.convolution_backward(dy, x, weight, None, *geometry, [True, False, False])[0]
            return few
        from flipbench.training.layers import image_kernels  # the compiler is loaded on first use

        taps = patches[:, : self._taps]
        torch.mm(self._flat(dy), matrix[:, : self._taps], out=taps)
        batch, _, height, width = x.shape
        padded = dy.new_zeros(batch, height + 2 * ph, (width + 2 * pw) * depth)
        runs = 1 if m.dilation[1] == 1 else kw  # as in `patches`
        image_kernels.add_back(
            patches.numpy(),
            padded.numpy(),
            *self.sides(x),
            kh,
            runs,
            kw // runs * depth,
            depth,
            *m.stride,
            *m.dilation,
        )
        image = padded.view(batch, height + 2 * ph, width + 2 * pw, depth).permute(0, 3, 1, 2)
        return image[:, :, ph : ph + height, pw : pw + width]


@dataclass(frozen=True)
class PooledConv:
    """A convolution of few input channels and the 2x2 pooling behind it, a few images at a time on the CPU.

    The outputs before pooling are the largest thing in a small network. Pooled while they are in the cache they need
    never be stored; the backward pass makes the patches again, which costs less than to fetch them.
    """

    conv: Conv
    pool: Pool

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        conv = self.conv
        if not protocol.has_kernels(x) or min(conv.sides(x)) < 2:
            return self._apart(x, p, training, counts)
        from flipbench.training.layers import image_kernels as kernels  # the compiler is loaded on first use

        names = [conv.prefix + n for n, _ in conv.module.named_parameters()]
        weight, bias = p[names[0]], p[names[1]] if len(names) > 1 else None
        k = x.shape[0] // weight.shape[0]  # rows that share one weight
        matrices = [conv.matrix(w, None if bias is None else bias[i]) for i, w in enumerate(weight)]
        rows, batch, channels, (height, width) = x.shape[0], x.shape[1], weight.shape[1], conv.sides(x)
        out = x.new_empty(rows, batch, height // 2, width // 2, channels)
        which = torch.empty_like(out, dtype=torch.int32)
        pieces = [(i, slice(low, min(low + _POOLED, batch))) for i in range(rows) for low in range(0, batch, _POOLED)]
        for i, some in pieces:
            patches = conv.patches(x[i, some], "pooled")
            y = self._room(some, height * width, x)
            torch.mm(matrices[i // k], patches.t(), out=y)
            images = y.view(1, channels, -1, height, width).numpy()
            kernels.pool_first(images, out[i : i + 1, some].numpy(), which[i : i + 1, some].numpy())

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            given = dy.permute(0, 1, 3, 4, 2).contiguous()
            total = x.new_zeros(rows, channels, matrices[0].shape[1])
            dx = torch.empty_like(x) if need_dx else None
            for i, some in pieces:
                patches = conv.patches(x[i, some], "pooled")
                wide = self._room(some, height * width, x)
                images = wide.view(1, channels, -1, height, width)
                kernels.unpool_first(given[i : i + 1, some].numpy(), which[i : i + 1, some].numpy(), images.numpy())
                total[i].addmm_(wide, patches)
                if dx is not None:
                    dx[i, some] = conv.input_gradient(images[0].transpose(0, 1), x[i, some], patches, matrices[i // k])
            conv.send(total, names, sink)
            return dx

        return out.permute(0, 1, 4, 2, 3), back

    def _room(self, some: slice, pixels: int, like: Tensor) -> Tensor:
        """``(channels, images x pixels)`` before pooling."""
        shape = (self.conv.module.out_channels, (some.stop - some.start) * pixels)
        kept = self.conv.room.get("before pooling")
        if kept is None or kept.shape != shape or kept.dtype != like.dtype:
            kept = self.conv.room["before pooling"] = like.new_empty(shape)
        return kept

    def _apart(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        y, first = self.conv(x, p, training, counts)
        y, second = self.pool(y, p, training, counts)

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            upstream = second(dy, sink, True)
            assert upstream is not None
            return first(upstream, sink, need_dx)

        return y, back


def _stacked(rows: list[Tensor]) -> Tensor:
    """`torch.stack`, without a copy of a single one."""
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)
