"""Squared distances between clients: the one quadratic kernel.

    ||x_i - x_j||² = g_ii + g_jj - 2 g_ij,    g = (x - c)(x - c)^T

through one matrix product, with c one of the clients. Updates are small beside what they are added to, so without a
centre the three terms cancel and float32 keeps nothing; with a client as the centre the differences of neighbouring
numbers are exact, and integers stay integers, so ties stay ties. Blocks of columns are multiplied in the updates' own
precision and added up in float64.

Where a pair's distance is small beside its distances to the centre (a far outlier was the centre, or some clients agree
closely), it still cancels. Such pairs fall into groups; each group is measured again around one of its own. The centre
of a group leaves it, so this ends; with f outliers far apart it takes two or three rounds.

Cost: O(n² d). Memory beyond the updates: a block of columns and O(n²).
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregators.guard import one_axis_of_cells

BLOCK = 2048  # columns centred and multiplied at a time: longer sums in float32 lose digits, shorter blocks cost calls
CANCELS = 1 / 64  # a distance below this share of the distance to the centre is measured again


def squared_distances(updates: Tensor) -> Tensor:
    """Squared Euclidean distances between the clients of each cell.

    Args:
        updates: ``(*cells, clients, dim)``, finite.

    Returns:
        ``(*cells, clients, clients)`` float64, zeros on the diagonal; infinite where float64 overflows.
    """
    n = updates.shape[-2]
    flat = one_axis_of_cells(updates)
    grams = [_gram(cell, 0) for cell in flat] if flat.device.type == "cpu" else _grams(flat)
    squares = [_measured_again(cell, *_from_gram(gram)) for cell, gram in zip(flat, grams, strict=True)]
    return torch.stack(squares).reshape(*updates.shape[:-2], n, n)


def gather_rows(updates: Tensor, index: Tensor) -> Tensor:
    """The rows with the given numbers: ``(*cells, clients, dim)`` by ``(*cells, k)`` to ``(*cells, k, dim)``."""
    return torch.take_along_dim(updates, index.unsqueeze(-1), dim=-2)


def _gram(cell: Tensor, centre: int) -> Tensor:
    """Inner products of the clients around one of them: ``(clients, dim)`` to ``(clients, clients)`` float64."""
    n, dim = cell.shape
    total = cell.new_zeros(n, n, dtype=torch.float64)
    block, product = cell.new_empty(n, min(BLOCK, dim)), cell.new_empty(n, n)
    for at in range(0, dim, BLOCK):
        columns = cell[:, at : at + BLOCK]
        around = torch.sub(columns, columns[centre], out=block[:, : columns.shape[1]])
        total += torch.mm(around, around.mT, out=product)
    return total


def _grams(flat: Tensor) -> Tensor:
    """`_gram` around the first client for a stack at once, ``(cells, clients, clients)``, in few large products."""
    cells, n, dim = flat.shape
    total = flat.new_zeros(cells, n, n, dtype=torch.float64)
    step = BLOCK * max(1, (1 << 26) // (cells * n * BLOCK))  # columns that are centred at a time
    for at in range(0, dim, step):
        columns = flat[..., at : at + step]
        around = columns - columns[:, :1]
        around = torch.nn.functional.pad(around, (0, -around.shape[-1] % BLOCK))
        blocks = around.reshape(cells, n, -1, BLOCK).transpose(1, 2)  # (cells, blocks, clients, BLOCK)
        total += (blocks @ blocks.mT).double().sum(1)
    return total


def _from_gram(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances, and the pairs whose distance is no more than rounding: each ``(clients, clients)``."""
    gram = (gram + gram.mT) / 2  # the two halves of a matrix product may differ in their last bits
    to_centre = gram.diagonal()
    squares = (to_centre.unsqueeze(0) + to_centre.unsqueeze(1) - 2 * gram).clamp_(min=0)
    larger = torch.maximum(to_centre.unsqueeze(0), to_centre.unsqueeze(1))
    lost = ~(squares >= CANCELS * larger)  # NaN, from an overflow, is lost too
    squares.fill_diagonal_(0)
    lost.fill_diagonal_(False)
    return squares, lost


def _measured_again(cell: Tensor, squares: Tensor, lost: Tensor) -> Tensor:
    """The squared distances with the lost pairs measured around a centre of their own."""
    if not bool(lost.any()):
        return squares
    if not bool(torch.isfinite(squares).all()) and cell.dtype != torch.float64:
        return squared_distances(cell.double())  # squares above 1e38: float64 has the range for them
    squares = squares.nan_to_num_(nan=torch.inf, posinf=torch.inf)
    for group in _groups(lost.cpu()):
        rows = torch.tensor(group, device=cell.device)
        near = squares[rows.unsqueeze(1), rows]
        centre = int(near.sort(1).values[:, len(group) // 2].argmin())  # whoever has half the group nearest
        some = cell[rows]
        inner, still = _from_gram(_gram(some, centre))
        squares[rows.unsqueeze(1), rows] = _measured_again(some, inner, still)
    return squares


def _groups(lost: Tensor) -> list[list[int]]:
    """The connected groups of two or more clients that lost pairs form."""
    neighbours = [set(row.nonzero().flatten().tolist()) for row in lost]
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
