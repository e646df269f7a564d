"""A model as one vector: which slice of ``dim`` is which parameter.

Parameters that require a gradient are in it, and float buffers: batch-norm means and variances travel in the vector
like weights (they are averaged and attacked like them). Parameters frozen by ``requires_grad_(False)`` are not trained,
not sent and not attacked; neither they nor counters (integer buffers) are in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Layout


def layout_of(model: nn.Module) -> Layout:
    """Name -> (slice of dim, shape), parameters that are trained first, then float buffers."""
    places: dict[str, tuple[slice, tuple[int, ...]]] = {}
    start = 0
    for name, tensor in _travelling(model):
        places[name] = (slice(start, start + tensor.numel()), tuple(tensor.shape))
        start += tensor.numel()
    return places


def dimension(layout: Layout) -> int:
    """Length of the vector."""
    return max((place.stop for place, _ in layout.values()), default=0)


def statistics(model: nn.Module) -> frozenset[str]:
    """Names of what travels in the vector and is no parameter: running statistics and other float buffers."""
    return frozenset(name for name, b in model.named_buffers() if b.is_floating_point())


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
    yield from ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    yield from ((n, b) for n, b in model.named_buffers() if b.is_floating_point())
