"""Layers of PyTorch that do another thing here while a module is called: dropout from keys, batch norm of one value.

Dropout draws from the key of its row (`layers.dropout`), so that all executors drop the same outputs, whatever trains
beside. Batch normalisation of a channel that has a single value, which PyTorch refuses, has a variance of zero, as in
`layers.batch_norm`: a client's last batch may hold one example.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from flipbench.training.layers.dropout import kept_share

_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_DROPOUTS = (nn.Dropout, *_OF_CHANNELS)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class StandIns:
    """The layers of a module for which others stand in.

    Attributes:
        dropouts: name -> layer, of those that drop something.
        norms: batch normalisation.
    """

    dropouts: dict[str, nn.Module]
    norms: tuple[nn.modules.batchnorm._BatchNorm, ...]

    @classmethod
    def of(cls, module: nn.Module) -> StandIns:
        """Those of a module; a subclass, or a layer with a forward of its own, is its author's."""
        own = [(name, m) for name, m in module.named_modules() if "forward" not in vars(m)]
        dropouts = {name: m for name, m in own if type(m) in _DROPOUTS and m.p > 0}
        return cls(
            dropouts, tuple(m for _, m in own if isinstance(m, nn.modules.batchnorm._BatchNorm) and type(m) in _NORMS)
        )

    @contextmanager
    def standing(self, key: Tensor | None) -> Iterator[None]:
        """While it lasts they stand in; nothing does in evaluation, where neither draws nor batches matter.

        Args:
            key: of the row, int64; None: evaluation.
        """
        if key is None:
            yield
            return
        try:
            for name, layer in self.dropouts.items():
                vars(layer)["forward"] = _Dropping(name, layer, key)
            for norm in self.norms:
                vars(norm)["forward"] = partial(_normalised, norm)
            yield
        finally:
            for layer in (*self.dropouts.values(), *self.norms):
                vars(layer).pop("forward", None)


class _Dropping:
    """The forward pass of a dropout layer: the mask of its n-th call in a step is that of (key, name, n)."""

    def __init__(self, name: str, layer: nn.Module, key: Tensor) -> None:
        self.name, self.layer, self.key, self.calls = name, layer, key, 0

    def __call__(self, x: Tensor) -> Tensor:
        if not self.layer.training:
            return x
        share, call = float(self.layer.p), self.calls  # type: ignore[arg-type]
        self.calls += 1
        shape = x.shape[:2] if isinstance(self.layer, _OF_CHANNELS) else x.shape
        mask = kept_share(self.key.view(1), f"{self.name}.", call, shape, share)[0].to(x.dtype)
        mask = mask.view(*shape, *[1] * (x.ndim - len(shape)))
        return x.mul_(mask) if self.layer.inplace else x * mask


def _normalised(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation, also of channels that have one value."""
    if not norm.training or x.numel() != x.shape[1]:
        return type(norm).forward(norm, x)
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        share = 0.0 if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(x.detach().reshape(-1), share)
        norm.running_var.lerp_(torch.zeros_like(norm.running_var), share)
    flat = x.reshape(1, -1)
    scale = torch.rsqrt(x.new_tensor(norm.eps))
    y = (flat - flat) * scale
    y = y if norm.weight is None else y * norm.weight
    return (y if norm.bias is None else y + norm.bias).view(x.shape)
