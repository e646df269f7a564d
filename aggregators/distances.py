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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregators.guard import one_axis_of_cells

Numbers = NDArray[np.float64]

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
    grams = [_gram(cell, 0) for cell in flat] if flat.device.type == "cpu" else list(_grams(flat))
    squares = np.empty((len(grams), n, n))
    for s, gram in enumerate(grams):
        squares[s], lost = _from_gram(gram)
        if lost.any():
            squares[s] = _measured_again(flat[s], squares[s], lost)
    return torch.from_numpy(squares).to(updates.device).reshape(*updates.shape[:-2], n, n)


def pick_row(updates: Tensor, index: Tensor) -> Tensor:
    """One row of each cell: ``(*cells, clients, dim)`` by ``(*cells,)`` to ``(*cells, dim)``, a copy."""
    if updates.ndim == 2:
        return updates[int(index)].clone()
    flat = one_axis_of_cells(updates)
    cells = torch.arange(len(flat), device=updates.device)
    return flat[cells, index.flatten()].reshape(*updates.shape[:-2], updates.shape[-1])


def _gram(cell: Tensor, centre: int) -> Numbers:
    """Inner products of the clients around one of them: ``(clients, dim)`` to ``(clients, clients)``."""
    if cell.device.type != "cpu":
        alone: Numbers = _grams(cell.unsqueeze(0), centre)[0]
        return alone
    from aggregators import products  # the compiler is loaded on first use

    n, dim = cell.shape
    known = cell if cell.dtype in (torch.float32, torch.float64) else cell.float()
    array, tiles = known.contiguous().numpy(), -(-dim // products.WIDTH)
    # The same parts for any number of threads, so that the same bits come out.
    parts = max(1, min(8, n * dim // ENOUGH))
    edges = [tiles * k // parts for k in range(parts + 1)]
    totals = np.zeros((parts, *products.padded(n)))
    jobs = [(array, centre, totals[k], edges[k], edges[k + 1]) for k in range(parts)]
    threads = min(torch.get_num_threads(), parts)
    if threads == 1:
        for job in jobs:
            products.add_products(*job)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda job: products.add_products(*job), jobs))
    with np.errstate(invalid="ignore"):  # squares that overflowed: those pairs are measured again
        gram: Numbers = totals.sum((0, -1))[:n, :n]
    below = _below_the_diagonal(n)
    gram[below] = gram.T[below]
    return gram


@lru_cache(maxsize=64)
def _below_the_diagonal(n: int) -> tuple[NDArray[np.intp], ...]:
    return np.tril_indices(n, -1)


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


def _from_gram(gram: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Squared distances, and the pairs whose distance is no more than rounding: each ``(clients, clients)``."""
    to_centre = gram.diagonal()
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.maximum(to_centre + to_centre[:, None] - 2 * gram, 0.0)
        lost = ~(squares >= CANCELS * np.maximum(to_centre, to_centre[:, None]))  # NaN, from an overflow, is lost too
    squares.reshape(-1)[:: len(gram) + 1] = 0.0  # the diagonals; np.fill_diagonal takes longer than all of this
    lost.reshape(-1)[:: len(gram) + 1] = False
    return squares, lost


def _measured_again(cell: Tensor, squares: Numbers, lost: NDArray[np.bool_]) -> Numbers:
    """The squared distances of a cell with the lost pairs measured around a centre of their own."""
    if cell.dtype != torch.float64 and not np.isfinite(squares).all():
        # Squares above 1e38: float64 has the range for them.
        return np.asarray(squared_distances(cell.double()).cpu().numpy(), dtype=np.float64)
    squares = np.nan_to_num(squares, nan=np.inf, posinf=np.inf)
    for group in _groups(lost):
        near = squares[np.ix_(group, group)]
        centre = int(np.sort(near, axis=1)[:, len(group) // 2].argmin())  # whoever has half the group nearest
        some = cell[torch.tensor(group, device=cell.device)]
        inner, still = _from_gram(_gram(some, centre))
        squares[np.ix_(group, group)] = _measured_again(some, inner, still) if still.any() else inner
    return squares


def _groups(lost: NDArray[np.bool_]) -> list[list[int]]:
    """The connected groups of two or more clients that lost pairs form."""
    neighbours = [set(np.flatnonzero(row).tolist()) for row in lost]
    groups, seen = [], set[int]()
    for i in range(len(neighbours)):
        if i in seen or not neighbours[i]:
            continue
        group, edge = {i}, {i}
        while edge:
            edge = set().union(*(neighbours[j] for j in edge)) - group
            group |= edge
        seen |= group
        groups.append(sorted(group))
    return groups
