"""The compiled half of `lengths`: squared distances to one point, in float64, and rows at length 1.

Imported on first use only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled

# The terms of one sum may be added in any order, fixed when compiled: the same bits every time, on vector registers.
_REORDER = {"reassoc", "contract", "nsz"}


def _from_point(updates: Any, point: Any, out: Any, first: int, last: int) -> None:
    """out[cell, i] = ||updates[cell, i] - point[cell]||², for the rows first..last-1 counted through all cells."""
    clients, dim = updates.shape[1], updates.shape[2]
    for row in range(first, last):
        cell, i = row // clients, row % clients
        total = 0.0
        for c in range(dim):
            e = np.float64(updates[cell, i, c]) - np.float64(point[cell, c])
            total += e * e
        out[cell, i] = total


def _from_origin(updates: Any, out: Any, first: int, last: int) -> None:
    """out[cell, i] = ||updates[cell, i]||², for the rows first..last-1 counted through all cells."""
    clients, dim = updates.shape[1], updates.shape[2]
    for row in range(first, last):
        cell, i = row // clients, row % clients
        total = 0.0
        for c in range(dim):
            e = np.float64(updates[cell, i, c])
            total += e * e
        out[cell, i] = total


def _squared(row: Any) -> float:
    """||row||²."""
    total = 0.0
    for c in range(len(row)):
        e = np.float64(row[c])
        total += e * e
    return total


squared = compiled(_squared, fastmath=_REORDER)


def _unit(updates: Any, out: Any, squares: Any, small: float) -> None:
    """Every row at length 1, and its squared length: of ``(rows x dim,)`` to the same and ``(rows,)``; 0 stays 0.

    A factor below ``small`` or above its inverse would under- or overflow: those rows are scaled in float64.
    """
    dim = updates.size // max(1, squares.size)
    for i in range(squares.size):
        row, to = updates[i * dim : (i + 1) * dim], out[i * dim : (i + 1) * dim]
        squares[i] = squared(row)
        norm = np.sqrt(squares[i])
        scale = 1 / norm if norm > 0 else 0.0
        if scale > 0 and (scale < small or scale > 1 / small):
            for c in range(dim):
                to[c] = np.float64(row[c]) * scale
        else:
            factor = updates.dtype.type(scale)
            for c in range(dim):
                to[c] = row[c] * factor


unit = compiled(_unit)
from_point = compiled(_from_point, fastmath=_REORDER)
from_origin = compiled(_from_origin, fastmath=_REORDER)
