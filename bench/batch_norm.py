"""Batch normalisation of stacked rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.stacked import Backward, Parameters, Sink, no_backward, per_row, through_autograd


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over a row's own batch; running statistics move as weights do, in training only."""

    prefix: str
    module: nn.BatchNorm2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        own = {n: per_row(p[self.prefix + n], x.shape[0]) for n in ("weight", "bias", "running_mean", "running_var")}
        if not training:
            mean, var = own["running_mean"][:, None, :, None, None], own["running_var"][:, None, :, None, None]
            scale = own["weight"][:, None, :, None, None] * torch.rsqrt(var + self.module.eps)
            return (x - mean) * scale + own["bias"][:, None, :, None, None], no_backward
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
        y, inner = through_autograd(normalise, x, learned, training)
        momentum = self.module.momentum
        assert momentum is not None

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            sink.statistic(self.prefix + "running_mean", mean, momentum)
            sink.statistic(self.prefix + "running_var", unbiased, momentum)
            return inner(dy, sink, need_dx)

        return y, back


def _shares(x: Tensor, counts: Tensor | None) -> Tensor:
    """Share of each example and pixel in the statistics of its row; padding has none."""
    rows, batch = x.shape[:2]
    pixels = x.shape[3] * x.shape[4]
    if counts is None:
        return x.new_full((rows, batch, 1, 1, 1), 1.0 / (batch * pixels))
    real = torch.arange(batch, device=x.device) < counts[:, None]
    return (real / (counts.clamp(min=1)[:, None] * pixels)).to(x.dtype)[:, :, None, None, None]
