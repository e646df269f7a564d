"""Squared distances between clients: the one quadratic kernel.

    ||x_i - x_j||² = g_ii + g_jj - 2 g_ij,    g = (x - c)(x - c)^T

with c one of the clients. Updates are small beside what they are added to, so without a
centre the three terms cancel and float32 keeps nothing; with a client as the centre the differences of neighbouring
numbers are exact, and integers stay integers, so ties stay ties. Blocks of columns are multiplied in the updates' own
precision and added up in float64.

Where a pair's distance is small beside its distances to the centre (a far outlier was the centre, or some clients agree
closely), it still cancels. Such pairs fall into groups; each group is measured again around one of its own. The centre
of a group leaves it, so this ends; with f outliers far apart it takes two or three rounds.

Cost: O(n² d). Memory beyond the updates: a tile of columns and O(n²).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.validation import one_axis_of_cells

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK = 4096  # columns summed in the updates' own precision, where nothing is compiled: longer sums lose digits
SLICE = 1 << 24  # elements centred at a time, likewise
ENOUGH = 1 << 18  # elements that are worth a thread of their own
CANCELS = 1 / 64  # a distance below this share of the distance to the centre is measured again


def squared_distances(updates: Tensor) -> Tensor:
    """Squared Euclidean distances between the clients of each cell.

    Args:
        updates: ``(*cells, clients, dim)``, finite.

    Returns:
        ``(*cells, clients, clients)`` float64, zeros on the diagonal; infinite where float64 overflows.
    """
    n = updates.shape[-2]
    flat = one_axis_of_cells(updates.detach())
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()
    squares, lost, all_clients = np.empty((len(flat), n, n)), np.empty((n, n), np.bool_), _numbers(n)
    grams = None if flat.device.type == "cpu" else _grams(flat)
    for s, cell in enumerate(flat):
        some_lost = _measure(cell, all_clients, 0, squares[s], lost, None if grams is None else grams[s])
        if some_lost and not _measured_again(cell, squares[s], lost):
            # Squares above 1e38: float64 has the range for them.
            squares[s] = squared_distances(cell.double()).cpu().numpy()
    return torch.from_numpy(squares).to(updates.device).reshape(*updates.shape[:-2], n, n)


def pick_row(updates: Tensor, index: Tensor) -> Tensor:
    """One row of each cell: ``(*cells, clients, dim)`` by ``(*cells,)`` to ``(*cells, dim)``, a copy."""
    if updates.ndim == 2:
        return updates[int(index)].clone()
    flat = one_axis_of_cells(updates)
    cells = torch.arange(len(flat), device=updates.device)
    return flat[cells, index.flatten()].reshape(*updates.shape[:-2], updates.shape[-1])


def _measure(
    cell: Tensor, members: Indices, centre: int, squares: Numbers, lost: Flags, gram: Numbers | None = None
) -> bool:
    """Fill in the squared distances of some clients of ``(clients, dim)``, around one of them.

    Args:
        cell: the updates.
        members: the clients that are measured, ``(members,)``.
        centre: which of the members is the centre.
        squares: ``(clients, clients)``, filled for the members.
        lost: likewise: the pairs whose distance is no more than rounding.
        gram: inner products of the members around the centre, where they are known.

    Returns:
        Whether a pair is lost.
    """
    from flipbench.aggregators.numerics import gram_kernel  # the compiler is loaded on first use

    if gram is None and cell.device.type == "cpu":
        # The same parts for any number of threads, so that the same bits come out.
        parts = max(1, min(8, len(members) * cell.shape[1] // ENOUGH))
        threads, array = min(torch.get_num_threads(), parts), cell.contiguous().numpy()
        if threads == 1:
            return bool(gram_kernel.measure(array, members, centre, parts, CANCELS, squares, lost))
        gram = _gram(array, members, centre, parts, threads)
    elif gram is None:
        gram = _grams(cell[torch.from_numpy(members).to(cell.device)].unsqueeze(0), centre)[0]
    return bool(gram_kernel.squares(gram, members, centre, CANCELS, squares, lost))


def _gram(array: NDArray[Any], members: Indices, centre: int, parts: int, threads: int) -> Numbers:
    """Inner products of some clients around one of them, on several threads: ``(members, members)``."""
    from flipbench.aggregators.numerics import gram_kernel  # the compiler is loaded on first use

    n, tiles = len(members), -(-array.shape[1] // gram_kernel.WIDTH)
    edges = [tiles * k // parts for k in range(parts + 1)]
    totals, gram = np.zeros((parts, *gram_kernel.padded(n))), np.empty((n, n))
    jobs = [(array, members, centre, totals[k], edges[k], edges[k + 1]) for k in range(parts)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: gram_kernel.add_products(*job), jobs))
    gram_kernel.gram(totals, gram)
    return gram


@lru_cache(maxsize=64)
def _numbers(n: int) -> Indices:
    """0..n-1."""
    return np.arange(n)


def _grams(flat: Tensor, centre: int = 0) -> Numbers:
    """`_gram` for a stack at once, ``(cells, clients, clients)``, in few large matrix products."""
    cells, n, dim = flat.shape
    total = flat.new_zeros(cells, n, n, dtype=torch.float64)
    step = BLOCK * max(1, SLICE // (cells * n * BLOCK))
    for at in range(0, dim, step):
        columns = flat[..., at : at + step]
        around = columns - columns[:, centre : centre + 1]
        around = torch.nn.functional.pad(around, (0, -around.shape[-1] % BLOCK))
        blocks = around.reshape(cells, n, -1, BLOCK).transpose(1, 2)  # (cells, blocks, clients, BLOCK)
        total += (blocks @ blocks.mT).double().sum(1)
    total = (total + total.mT) / 2  # the two halves of a matrix product may differ in their last bits
    return np.asarray(total.cpu().numpy(), dtype=np.float64)


def _measured_again(cell: Tensor, squares: Numbers, lost: Flags) -> bool:
    """Measure the lost pairs of a cell around centres of their own; False where float32 has not the range for it."""
    from flipbench.aggregators.numerics import gram_kernel  # the compiler is loaded on first use

    members, ends, centres = (np.empty(len(lost), np.int64) for _ in range(3))
    some_lost = True
    while some_lost:
        if cell.dtype != torch.float64 and not isfinite(squares.sum()):
            return False
        some_lost, begin = False, 0
        for g in range(gram_kernel.groups(squares, lost, members, ends, centres)):
            group = members[begin : ends[g]]
            begin = ends[g]
            some_lost |= _measure(cell, group, int(centres[g]), squares, lost)
    return True
