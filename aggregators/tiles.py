"""The compiled half of `order_statistics`: a sorting network run over tiles of columns.

A tile is `WIDTH` neighbouring columns of all clients, small enough for the nearest cache. A network is a list of
comparators between rows of the tile; each is a minimum and a maximum of two rows, `WIDTH` columns at once. Nothing
branches on the data, one compiled kernel serves every number of clients and every network, and no column's answer
depends on its neighbours, on the number of threads or on the other cells of a stack.

Every kernel works on the tiles first..last-1, counted through all cells of ``updates`` ``(cells, clients, dim)``, and
writes ``out`` ``(cells, dim)``. Imported on first use only: loading the compiler costs more than all the rest.
Compiled on first use, kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aggregators.vectors import BOTH, LOW, WIDTH, add_four, add_one, both, high, load_four, load_one, low

WIDE = 512  # columns of a plain sum


def _load(updates: Any, cell: int, start: int, tile: Any) -> None:
    """Copy the columns from ``start`` into the tile, the rows 4i..4i+3 in order; zeros past the last column."""
    clients, dim = updates.shape[1], updates.shape[2]
    if start + WIDTH <= dim:
        source, origin, stride = updates.reshape(-1), cell * clients * dim + start, dim
    else:
        source, origin, stride = np.zeros(clients * WIDTH, updates.dtype), 0, WIDTH
        for i in range(clients):
            for c in range(dim - start):
                source[i * WIDTH + c] = updates[cell, i, start + c]
    fours = clients // 4 * 4
    for i in range(0, fours, 4):
        load_four(tile, i * WIDTH, source, origin + i * stride, stride)
    for i in range(fours, clients):
        load_one(tile, i * WIDTH, source, origin + i * stride, stride)


def _sort(tile: Any, network: Any) -> None:
    for o in range(network.shape[0]):
        a, b, which = network[o, 0] * WIDTH, network[o, 1] * WIDTH, network[o, 2]
        if which == BOTH:
            both(tile, a, b)
        elif which == LOW:
            low(tile, a, b)
        else:
            high(tile, a, b)


def _add_rows(tile: Any, first: int, last: int, total: Any) -> None:
    """total = the sum of the rows first..last-1."""
    total[:] = 0.0
    fours = first + (last - first) // 4 * 4
    for i in range(first, fours, 4):
        add_four(total, tile, i * WIDTH)
    for i in range(fours, last):
        add_one(total, tile, i * WIDTH)


load, sort, add_rows = (njit(nogil=True, cache=True)(f) for f in (_load, _sort, _add_rows))


def _weighted_sum(updates: Any, weights: Any, out: Any, first: int, last: int) -> None:
    """out[cell] = sum_i weights[cell, i] updates[cell, i]; here a tile is `WIDE` columns."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDE - 1) // WIDE
    total = np.empty(WIDE, np.float64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDE
        width = min(WIDE, dim - start)
        total[:] = 0.0
        for i in range(clients):
            row, w = updates[cell, i, start : start + width], weights[cell, i]
            if w == 0.0:
                continue
            for c in range(width):
                total[c] += w * row[c]
        for c in range(width):
            out[cell, start + c] = total[c]


def _band_mean(updates: Any, network: Any, low_rank: int, high_rank: int, out: Any, first: int, last: int) -> None:
    """out = the mean of the ranks low_rank..high_rank-1."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDTH - 1) // WIDTH
    tile, total = np.empty(clients * WIDTH, updates.dtype), np.empty(WIDTH, np.float64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDTH
        load(updates, cell, start, tile)
        sort(tile, network)
        add_rows(tile, low_rank, high_rank, total)
        for c in range(min(WIDTH, dim - start)):
            out[cell, start + c] = total[c] / (high_rank - low_rank)


def _add_near(tile: Any, clients: int, keep: int, twice: Any, total: Any) -> None:
    """total = the sum of the ``keep`` values nearest to the centre, given twice; the tile is sorted.

    In sorted order these are neighbours, so rank s is out exactly when it lies farther from the centre than the rank
    ``keep`` places above, x[s] + x[s + keep] < 2 centre, and that one is then in.
    """
    spare = clients - keep
    total[:] = 0.0
    for i in range(clients):
        row = tile[i * WIDTH : (i + 1) * WIDTH]
        above = tile[(i + keep) * WIDTH : (i + keep + 1) * WIDTH] if i < spare else row
        below = tile[(i - keep) * WIDTH : (i - keep + 1) * WIDTH] if i >= keep else row
        for c in range(WIDTH):
            x = np.float64(row[c])
            out = (i < spare) & (x + np.float64(above[c]) < twice[c])
            short = (i >= keep) & (x + np.float64(below[c]) >= twice[c])
            total[c] += 0.0 if out | short else x


add_near = njit(nogil=True, cache=True)(_add_near)


def _nearest_mean(
    updates: Any, network: Any, low_rank: int, high_rank: int, keep: int, out: Any, first: int, last: int
) -> None:
    """out = the mean of the ``keep`` values nearest to the mean of the ranks low_rank..high_rank-1."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDTH - 1) // WIDTH
    tile = np.empty(clients * WIDTH, updates.dtype)
    twice, total = np.empty(WIDTH, np.float64), np.empty(WIDTH, np.float64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDTH
        load(updates, cell, start, tile)
        sort(tile, network)
        add_rows(tile, low_rank, high_rank, twice)
        for c in range(WIDTH):
            twice[c] = 2.0 * twice[c] / (high_rank - low_rank)
        add_near(tile, clients, keep, twice, total)
        for c in range(min(WIDTH, dim - start)):
            out[cell, start + c] = total[c] / keep


weighted_sum = njit(nogil=True, cache=True)(_weighted_sum)
band_mean = njit(nogil=True, cache=True)(_band_mean)
nearest_mean = njit(nogil=True, cache=True)(_nearest_mean)
