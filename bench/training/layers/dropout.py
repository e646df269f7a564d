"""Dropout of stacked rows: each row draws for itself, from a key, so that it meets the same whatever trains beside it.

The draws are a hash of (key, layer, place), not a sequence: place is an example's output, or its channel.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        if not training:
            return x, no_backward
        share = self.module.p
        shape = x.shape[:3] if isinstance(self.module, nn.Dropout2d) else x.shape
        places = torch.arange(shape[1:].numel(), device=x.device)
        keys = mixed(p[KEYS] + named_seed(0, f"dropout {self.prefix}"))
        stays = chances(keys, places) >= share
        mask = (stays / (1.0 - share if share < 1.0 else 1.0)).to(x.dtype).view(*shape, *[1] * (x.ndim - len(shape)))

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
            return dy * mask if need_dx else None

        return x * mask, back
