"""Batch normalisation of a single row on the CPU, with channels innermost in memory: four passes over the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flipbench.training.layers import protocol
from flipbench.training.layers.batch_norm import Norm
from flipbench.training.layers.protocol import Backward, Parameters, Sink


@dataclass(frozen=True)
class RowNorm:
    """As `batch_norm.Norm` in training; what its kernels cannot take is left to that.

    Attributes:
        prefix: of its parameters' names.
        module: the options.
    """

    prefix: str
    module: nn.BatchNorm2d

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if len(x) > 1 or counts is not None or x.dtype != torch.float32 or not protocol.has_kernels(x):
            return Norm(self.prefix, self.module)(x, p, training, counts)
        from flipbench.training.layers import norm_kernels as kernels  # the compiler is loaded on first use

        places = _places(x[0])
        number, channels = places.shape
        mean, var = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
        kernels.moments(places.numpy(), mean.numpy(), var.numpy())
        inverse = torch.rsqrt(var + self.module.eps)
        weight = p[self.prefix + "weight"][0].double()
        scale = (weight * inverse).float()
        shift = (p[self.prefix + "bias"][0].double() - weight * inverse * mean).float()
        out = torch.empty_like(places)
        kernels.scaled(places.numpy(), scale.numpy(), shift.numpy(), out.numpy())
        momentum = self.module.momentum
        assert momentum is not None

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            slopes = _places(dy[0])
            of_weight, of_bias = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
            centre, steep = mean.float(), inverse.float()
            numbers = (t.numpy() for t in (places, slopes, centre, steep, of_weight, of_bias))
            kernels.slopes(*numbers)
            sink.plain(self.prefix + "weight", of_weight.float().unsqueeze(0))
            sink.plain(self.prefix + "bias", of_bias.float().unsqueeze(0))
            sink.statistic(self.prefix + "running_mean", mean.float().unsqueeze(0), momentum)
            unbiased = var * (number / max(1, number - 1))
            sink.statistic(self.prefix + "running_var", unbiased.float().unsqueeze(0), momentum)
            if not need_dx:
                return None
            # A shift of all examples, or a stretch, changes nothing.
            of_dy = weight * inverse
            of_x = -of_dy * inverse * of_weight / number
            rest = -of_dy * of_bias / number - of_x * mean
            dx = torch.empty_like(places)
            kernels.combined(*(t.numpy() for t in (places, slopes, of_x.float(), of_dy.float(), rest.float(), dx)))
            return _images(dx, dy)

        return _images(out, x), back


def _places(images: Tensor) -> Tensor:
    """``(batch, channels, height, width)`` as ``(batch x height x width, channels)``, contiguous."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1]).contiguous()


def _images(places: Tensor, like: Tensor) -> Tensor:
    """The reverse of `_places`, of one row: ``(1, batch, channels, height, width)``."""
    _, batch, channels, height, width = like.shape
    return places.view(1, batch, height, width, channels).permute(0, 1, 4, 2, 3)
