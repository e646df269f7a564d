"""Compiled draws of batches: many small ones in one call. Imported on first use only.

Every client's sequence is splitmix64 (Steele, Lea & Flood 2014) from a key of its own, so that a draw depends on its
key alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled

_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def _mixed(z: Any) -> Any:
    """The finaliser of splitmix64."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


mixed = compiled(_mixed)


def _distinct(keys: Any, ends: Any, rows: Any, clients: Any, turns: Any, out: Any) -> None:
    """``out[i, s]`` gets min(batch, examples) different rows of a client's, all sets equally likely.

    Floyd's algorithm (Bentley & Floyd 1987): no permutation of all, and as many draws as are kept.

    ``keys`` is ``(all clients,)`` uint64; client c holds ``rows[ends[c] : ends[c + 1]]``; ``clients`` and ``turns`` are
    ``(clients,)`` int64 and ``out`` ``(clients, steps, batch)`` int64, zero.
    """
    for i in range(out.shape[0]):
        begin, end = ends[clients[i]], ends[clients[i] + 1]
        n = end - begin
        number = min(out.shape[2], n)
        state = mixed(keys[clients[i]] + _GOLDEN * np.uint64(turns[i] + 1))
        for s in range(out.shape[1]):
            chosen = out[i, s]
            for k in range(number):
                last = n - number + k
                state += _GOLDEN
                place = np.int64(np.float64(mixed(state) >> _11) * 2.0**-53 * (last + 1))
                for j in range(k):
                    if chosen[j] == place:
                        place = last
                        break
                chosen[k] = place
            for k in range(number):
                chosen[k] = rows[begin + chosen[k]]


distinct = compiled(_distinct)
