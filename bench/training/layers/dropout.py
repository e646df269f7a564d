"""Dropout of stacked rows: each row draws for itself, from a key, so that it meets the same whatever trains beside it.

The draws are a hash of (key, layer, place), not a sequence: place is an example's output, or its channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from flipbench.spec.seeds import named_seed
from flipbench.training.layers.counter_rng import chances, mixed
from flipbench.training.layers.protocol import Backward, Parameters, Sink, no_backward

KEYS = "dropout keys"  # among the parameters of a training step: (rows,) int64


@dataclass(frozen=True)
class Drop:
    """y = x m / (1 - p), m being 0 with probability p; of whole channels with ``nn.Dropout2d``."""

    prefix: str
    module: nn.Dropout | nn.Dropout2d
    call: int = 0  # how often the layer was called before in a step

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if not training:
            return x, no_backward
        share = self.module.p
        shape = x.shape[:3] if isinstance(self.module, nn.Dropout2d) else x.shape
        mask = kept_share(p[KEYS], self.prefix, self.call, shape[1:], share).to(x.dtype)
        mask = mask.view(*shape, *[1] * (x.ndim - len(shape)))

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            return dy * mask if need_dx else None

        return x * mask, back


def kept_share(keys: Tensor, layer: str, call: int, shape: Sequence[int], share: float) -> Tensor:
    """What outputs are multiplied with: 0 where they are dropped, 1 / (1 - share) where they stay.

    Args:
        keys: ``(rows,)``.
        layer: its name, with a dot behind.
        call: how often it was called before in the same step.
        shape: of what is dropped, of one row.
        share: with which probability.

    Returns:
        ``(rows, *shape)``.
    """
    places = torch.arange(math.prod(shape), device=keys.device)
    own = _seed(layer, call)
    stays = chances(mixed(keys + own), places) >= share
    return (stays / (1.0 - share if share < 1.0 else 1.0)).view(len(keys), *shape)


@cache
def _seed(layer: str, call: int) -> int:
    return named_seed(0, f"dropout {layer}", *[call] * (call > 0))
