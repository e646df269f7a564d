"""Who is chosen, by brute force in float64 NumPy: written from the definitions, with nothing of `aggregators`.

Everything takes the matrix of squared distances ``(n, n)`` and f. Equal values go to the lower index.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def squared_distances(rows: Matrix) -> Matrix:
    """Of all pairs, from their differences: ``(n, d)`` to ``(n, n)``."""
    n, d = rows.shape
    out = np.zeros((n, n))
    for at in range(0, d, 1024):  # what fits the cache
        part = rows[:, at : at + 1024].astype(np.float64)
        for i in range(n - 1):
            apart = part[i + 1 :] - part[i]
            out[i, i + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return out + out.T


def krum_order(squares: Matrix, f: int, neighbours: int | None = None) -> list[int]:
    """All clients from the lowest score to the highest."""
    n = len(squares)
    count = n - f - 2 if neighbours is None else neighbours
    others = np.where(np.eye(n, dtype=bool), np.inf, squares)
    scores = np.sort(others, axis=1)[:, :count].sum(1).tolist()
    return sorted(range(n), key=lambda i: (scores[i], i))


def bulyan_members(squares: Matrix, f: int) -> list[int]:
    """Krum n - 2f times without replacement, at least one neighbour while there is another."""
    left, chosen = list(range(len(squares))), []
    while len(chosen) < len(squares) - 2 * f:
        count = max(len(left) - f - 2, min(1, len(left) - 1))
        winner = krum_order(squares[np.ix_(left, left)], f, count)[0]
        chosen.append(left.pop(winner))
    return sorted(chosen)


def neighbour_sets(squares: Matrix, f: int) -> list[list[int]]:
    """The n - f nearest of each client, itself among them."""
    n = len(squares)
    return [sorted(range(n), key=lambda j: (row[j], j))[: n - f] for row in squares.tolist()]


def mda_members(squares: Matrix, f: int) -> list[int]:
    """Of all sets of n - f the one of least diameter; of several such sets the one with the most central members."""
    n = len(squares)
    sets, pairs = _sets(n, n - f)
    diameters = squares.ravel()[pairs].max(1)
    central = sorted(range(n), key=lambda i: (squares[i].sum(), i))
    rank = {client: place for place, client in enumerate(central)}
    best = sets[diameters == diameters.min()]
    return sorted(min((sorted(rank[i] for i in one), list(one)) for one in best.tolist())[1])


@lru_cache(maxsize=1)
def _sets(n: int, keep: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All sets of ``keep`` of n clients, and the places of each one's pairs in the flattened matrix."""
    sets = np.array(list(combinations(range(n), keep)))
    first, second = np.triu_indices(keep, 1)
    return sets, sets[:, first] * n + sets[:, second]


def middle_means(rows: Matrix, keep: int) -> NDArray[np.float64]:
    """Per coordinate the mean of the ``keep`` values nearest to the median; of two equally far the lower one."""
    ranked = np.sort(rows, axis=0)
    far = np.abs(ranked - np.median(ranked, axis=0))
    near = np.sort(np.argsort(far, axis=0, kind="stable")[:keep], axis=0)
    out: NDArray[np.float64] = np.take_along_axis(ranked, near, 0).mean(0)
    return out
