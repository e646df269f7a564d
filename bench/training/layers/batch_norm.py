"""Batch normalisation of stacked rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flipbench.training.layers.protocol import Backward, Parameters, Sink, no_backward, per_row


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
        share = _shares(x, counts)  # (rows, batch, 1, 1, 1) or one number; sums to 1 over a row's examples and pixels
        mean, var, number = _statistics(x, share)  # (rows, 1, channels, 1, 1); examples times pixels
        inverse = torch.rsqrt(var + self.module.eps)
        scale = own["weight"][:, None, :, None, None] * inverse  # kept: a sink changes the weights in place
        normal = (x - mean).mul_(inverse)
        y = torch.addcmul(own["bias"][:, None, :, None, None], normal, own["weight"][:, None, :, None, None])
        momentum = self.module.momentum
        assert momentum is not None

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            of_bias, of_weight = (t.sum((1, 3, 4), keepdim=True) for t in (dy, dy * normal))
            dx = None
            if need_dx:  # a shift of all examples, or a stretch, changes nothing
                dx = (dy - torch.addcmul(of_bias, normal, of_weight).mul_(share)).mul_(scale)
            sink.plain(self.prefix + "weight", of_weight[:, 0, :, 0, 0])
            sink.plain(self.prefix + "bias", of_bias[:, 0, :, 0, 0])
            unbiased = var * (number / (number - 1).clamp(min=1))
            sink.statistic(self.prefix + "running_mean", mean[:, 0, :, 0, 0], momentum)
            sink.statistic(self.prefix + "running_var", unbiased[:, 0, :, 0, 0], momentum)
            return dx

        return y, back


def _statistics(x: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each row and channel, ``(rows, 1, channels, 1, 1)``, and how many numbers they are of."""
    if share.ndim == 0:
        var, mean = torch.var_mean(x, (1, 3, 4), correction=0, keepdim=True)
        return mean, var, 1.0 / share
    mean = (x * share).sum((1, 3, 4), keepdim=True)
    var = ((x - mean).square_() * share).sum((1, 3, 4), keepdim=True)
    return mean, var, 1.0 / share.amax(1, keepdim=True)


def _shares(x: Tensor, counts: Tensor | None) -> Tensor:
    """Share of each example and pixel in the statistics of its row; padding has none. One number where all count."""
    batch, pixels = x.shape[1], x.shape[3] * x.shape[4]
    if counts is None:
        return x.new_full((), 1.0 / (batch * pixels))  # made on the device: nothing waits for it
    real = torch.arange(batch, device=x.device) < counts[:, None]
    return (real / (counts.clamp(min=1)[:, None] * pixels)).to(x.dtype)[:, :, None, None, None]
