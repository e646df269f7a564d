"""A model as one vector: which slice of ``dim`` is which parameter.

Batch-norm means and variances travel in the vector like weights (they are averaged and attacked like them);
counters (integer buffers) do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Layout


def layout_of(model: nn.Module) -> Layout:
    """Name -> (slice of dim, shape), parameters first, then float buffers."""
    places: dict[str, tuple[slice, tuple[int, ...]]] = {}
    start = 0
    for name, tensor in _travelling(model):
        places[name] = (slice(start, start + tensor.numel()), tuple(tensor.shape))
        start += tensor.numel()
    return places


def dimension(layout: Layout) -> int:
    """Length of the vector."""
    return max((place.stop for place, _ in layout.values()), default=0)


def flatten(model: nn.Module) -> Tensor:
    """The model's current numbers, ``(dim,)`` float32."""
    return torch.cat([t.detach().reshape(-1).float() for _, t in _travelling(model)])


def views(rows: Tensor, layout: Layout) -> dict[str, Tensor]:
    """``(rows, dim)`` seen as name -> ``(rows, *shape)``; writing to a view writes to the rows."""
    return {
        name: rows[:, place].unflatten(1, shape) if shape else rows[:, place.start]
        for name, (place, shape) in layout.items()
    }


def _travelling(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from ((n, b) for n, b in model.named_buffers() if b.is_floating_point())
