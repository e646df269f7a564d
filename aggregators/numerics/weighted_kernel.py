"""The compiled half of `weighted`: order statistics with the client of each value. Imported on first use only.

A float32, read as an integer with the negative ones turned round, keeps its order; put above the client's number in one
64-bit integer, it is sorted by minimum and maximum like any other, and carries the client along.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled

WIDTH = 64  # columns in a tile
_LOW = np.int64(0xFFFFFFFF)
_MAGNITUDE = np.int64(0x7FFFFFFF)


def _load(bits: Any, cell: int, start: int, width: int, tile: Any) -> None:
    for i in range(bits.shape[1]):
        for c in range(width):
            v = np.int64(bits[cell, i, start + c])
            tile[i, c] = ((v ^ ((v >> 31) & _MAGNITUDE)) << 32) | i


def _sort(tile: Any, network: Any) -> None:
    for o in range(network.shape[0]):
        a, b = network[o, 0], network[o, 1]
        for c in range(WIDTH):
            u, v = tile[a, c], tile[b, c]
            tile[a, c] = min(u, v)
            tile[b, c] = max(u, v)


load, sort = (compiled(f) for f in (_load, _sort))


def _weigh(values: Any, network: Any, weights: Any, cuts: Any, equal: float, out: Any, first: int, last: int) -> None:
    """The weighted median (a negative cut) or trimmed mean of the tiles first..last-1, counted through all cells."""
    bits = values.view(np.int32)
    clients, dim = values.shape[1], values.shape[2]
    tiles = (dim + WIDTH - 1) // WIDTH
    tile = np.zeros((clients, WIDTH), np.int64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDTH
        width = min(WIDTH, dim - start)
        load(bits, cell, start, width, tile)
        sort(tile, network)
        cut = cuts[cell]
        whole = 0.0
        for i in range(clients):
            whole += weights[cell, i]
        for c in range(width):
            reached, total, share = 0.0, 0.0, 0.0
            for i in range(clients):
                client = tile[i, c] & _LOW
                w = weights[cell, client]
                x = np.float64(values[cell, client, start + c])
                if cut < 0:
                    reached += w
                    if reached >= 0.5 - equal:
                        if reached <= 0.5 + equal and i + 1 < clients:
                            x = x / 2 + np.float64(values[cell, tile[i + 1, c] & _LOW, start + c]) / 2
                        total, share = x, 1.0
                        break
                else:
                    kept = min(reached + w, whole - cut) - max(reached, cut)
                    reached += w
                    if kept > equal * w:
                        total += kept * x
                        share += kept
            out[cell, start + c] = total / share


weigh = compiled(_weigh)
