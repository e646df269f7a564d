"""Norms of updates, distances to one point and cosines: in float64, so that nothing a client sends overflows them.

Cosines come from distances between updates of length 1 (|u - v|² = 2 - 2 cos), not from inner products of the updates
themselves: an outlier of 1e30 would leave those without a digit for all others.

Cost: one pass over the updates; cosines O(n² d) and one copy of the updates.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.numerics.distances import squared_distances

_SLICE = 1 << 20  # columns in float64 at a time, where nothing is compiled
_ENOUGH = 1 << 18  # elements that are worth a thread of their own


def squared_lengths(updates: Tensor, point: Tensor | None = None) -> Tensor:
    """Squared distance of each client's update to a point.

    Args:
        updates: ``(*cells, clients, dim)``, finite.
        point: ``(*cells, dim)``; null: the origin.

    Returns:
        ``(*cells, clients)`` float64.
    """
    if updates.device.type != "cpu":
        return _in_slices(updates, point)
    from flipbench.aggregators.numerics import norms_kernel as compiled  # the compiler is loaded on first use

    *cells, n, dim = updates.shape
    # NumPy's views cost a fraction of PyTorch's, and of few clients those are what costs.
    flat, out = _floats(updates).contiguous().numpy(), np.empty((*cells, n))
    stacks, rows = math.prod(cells), out.size
    run: Any = compiled.from_origin
    arrays = [flat.reshape(stacks, n, dim), out.reshape(stacks, n)]
    if point is not None:
        run = compiled.from_point
        origin = np.array(np.broadcast_to(_floats(point).numpy(), (*cells, dim)), flat.dtype, order="C")
        arrays.insert(1, origin.reshape(stacks, dim))
    threads = max(1, min(torch.get_num_threads(), flat.size // _ENOUGH, rows))
    if threads == 1:
        run(*arrays, 0, rows)
    else:
        edges = [rows * t // threads for t in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda first, last: run(*arrays, first, last), edges[:-1], edges[1:]))
    return torch.from_numpy(out)


def lengths(updates: Tensor, point: Tensor | None = None) -> Tensor:
    """`squared_lengths`, but the lengths."""
    return squared_lengths(updates, point).sqrt()


def unit(updates: Tensor) -> Tensor:
    """Every update at length 1, ``(*cells, clients, dim)``; an update of length 0 stays 0.

    Args:
        updates: ``(*cells, clients, dim)``, finite.
    """
    return _unit_and_squares(updates)[0]


def _unit_and_squares(updates: Tensor) -> tuple[Tensor, Tensor]:
    """`unit` of updates, and their `squared_lengths`."""
    small = torch.finfo(updates.dtype).tiny
    if updates.device.type == "cpu" and updates.dtype in (torch.float32, torch.float64):
        from flipbench.aggregators.numerics import norms_kernel as compiled  # the compiler is loaded on first use

        rows = updates.detach().contiguous()
        whole, squared = torch.empty_like(rows), np.empty(rows.shape[:-1])
        compiled.unit(rows.view(-1).numpy(), whole.view(-1).numpy(), squared.reshape(-1), small)
        return whole, torch.from_numpy(squared)
    squares = squared_lengths(updates)
    norms = squares.sqrt().unsqueeze(-1)
    scale = torch.where(norms > 0, 1 / norms, 0)
    out = updates * scale.to(updates)
    extreme = ((scale > 0) & ((scale < small) | (scale > 1 / small))).squeeze(-1)
    if bool(extreme.any()):  # the factor alone would under- or overflow; row by row, or others would be rounded anew
        out[extreme] = (updates[extreme].double() * scale[extreme]).to(updates.dtype)
    return out, squares


def cosines(updates: Tensor) -> Tensor:
    """Cosine of the angle between each two clients' updates; 0 where one of them is 0.

    Args:
        updates: ``(*cells, clients, dim)``, finite.

    Returns:
        ``(*cells, clients, clients)`` float64 in [-1, 1].
    """
    whole, squares = _unit_and_squares(updates)
    angles = squared_distances(whole).mul_(-0.5).add_(1).clamp_(-1, 1)
    moved = squares > 0
    if bool(moved.all()):
        return angles
    return torch.where(moved.unsqueeze(-1) & moved.unsqueeze(-2), angles, 0)


def angular_distances(updates: Tensor) -> Tensor:
    """1 - cosine of the angle between each two clients' updates; 1 where one of them is 0.

    From distances, so that small angles keep their digits: of updates of 1e-8 beside one model, 1 - cosine has none.

    Args:
        updates: ``(*cells, clients, dim)``, finite.

    Returns:
        ``(*cells, clients, clients)`` float64 in [0, 2].
    """
    whole, squares = _unit_and_squares(updates)
    apart = squared_distances(whole).mul_(0.5).clamp_(0, 2)
    moved = squares > 0
    return torch.where(moved.unsqueeze(-1) & moved.unsqueeze(-2), apart, 1)


def cosines_to(updates: Tensor, point: Tensor) -> Tensor:
    """Cosine of each client's update with one vector; 0 where one of the two is 0.

    Args:
        updates: ``(*cells, clients, dim)``, finite.
        point: ``(*cells, dim)``.

    Returns:
        ``(*cells, clients)`` float64 in [-1, 1].
    """
    angles = (1 - squared_lengths(unit(updates), unit(point.unsqueeze(-2)).squeeze(-2)) / 2).clamp(-1, 1)
    moved = (squared_lengths(updates) > 0) & (squared_lengths(point.unsqueeze(-2)) > 0)
    return torch.where(moved, angles, 0)


def _floats(updates: Tensor) -> Tensor:
    """Of a type that the kernels know: half precision is read as float32, exactly."""
    return updates.detach() if updates.dtype in (torch.float32, torch.float64) else updates.detach().float()


def _in_slices(updates: Tensor, point: Tensor | None) -> Tensor:
    total = updates.new_zeros(updates.shape[:-1], dtype=torch.float64)
    width = max(1, _SLICE // max(1, total.numel()))
    for at in range(0, updates.shape[-1], width):
        part = updates[..., at : at + width].double()
        if point is not None:
            part = part - point[..., at : at + width].double().unsqueeze(-2)
        total += part.square().sum(-1)
    return total
