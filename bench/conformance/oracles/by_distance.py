"""Oracles of the rules that choose by distances between clients, or to one point.

The choices are functions of the squared distances alone, so that `tests/numerics` can ask for them on matrices of a
million columns. Equal values go to the lower index.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from flipbench.conformance.oracles.by_coordinate import median, nearest
from flipbench.conformance.oracles.definition import (
    CohortValues,
    Numbers,
    Oracle,
    average,
    definition,
    lowest,
    preaggregation,
)


def squared_distances(rows: NDArray[np.floating]) -> Numbers:
    """Of all pairs, from their differences in float64: ``(n, d)`` to ``(n, n)``."""
    n, d = rows.shape
    out = np.zeros((n, n))
    for at in range(0, d, 1024):  # what fits the cache
        part = rows[:, at : at + 1024].astype(np.float64)
        for i in range(n - 1):
            apart = part[i + 1 :] - part[i]
            out[i, i + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return out + out.T


def krum_order(squares: Numbers, near: int, power: float = 2.0, itself: bool = False) -> list[int]:
    """All clients from the lowest Krum score to the highest.

    Args:
        squares: ``(n, n)``.
        near: how many neighbours count.
        power: of the distances in the scores.
        itself: count every client as a neighbour of its own, a misreading.
    """
    others = squares if itself else np.where(np.eye(len(squares), dtype=bool), np.inf, squares)
    scores = [sum(value ** (power / 2) for value in sorted(row)[:near]) for row in others.tolist()]
    return lowest(scores, len(scores))


def _misread_krum(kept: int | None) -> dict[str, Oracle]:
    """Misreadings of Krum (``kept`` = 1) and of Multi-Krum (null: n - f - 2 kept)."""

    def variant(more: int, power: float = 2.0, itself: bool = False) -> Oracle:
        def rule(rows: Numbers, cohort: CohortValues) -> Numbers:
            near = len(rows) - cohort.f - 2
            order = krum_order(squared_distances(rows), near + more, power, itself)
            return average(rows[order[: near if kept is None else kept]])

        return rule

    return {
        "n - f - 1 neighbours where the definition has n - f - 2": variant(1),
        "n - f neighbours where the definition has n - f - 2": variant(2),
        "distances that are not squared": variant(0, 1.0),
        "distances that are squared twice": variant(0, 4.0),
        "every client counted as a neighbour of its own": variant(0, itself=True),
    }


def _krum_clients(f: int) -> int:
    return 2 * f + 3


@definition(_krum_clients, misread=_misread_krum(1))
def krum(rows: Numbers, cohort: CohortValues, power: float = 2.0) -> Numbers:
    """The row with the least sum of squared distances to its n - f - 2 nearest others."""
    return np.asarray(rows[krum_order(squared_distances(rows), len(rows) - cohort.f - 2, power)[0]])


@definition(_krum_clients, misread=_misread_krum(None))
def multi_krum(rows: Numbers, cohort: CohortValues, keep: int | None = None, power: float = 2.0) -> Numbers:
    """The mean of the n - f - 2 rows (or ``keep``) of lowest Krum score."""
    near = len(rows) - cohort.f - 2
    return average(rows[krum_order(squared_distances(rows), near, power)[: keep or near]])


@definition(lambda f: 4 * f + 3)
def bulyan(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Krum n - 2f times without replacement, then the mean of the n - 4f values nearest to the median of the chosen."""
    return nearest(rows[bulyan_members(squared_distances(rows), cohort.f)], len(rows) - 4 * cohort.f)


def bulyan_members(squares: Numbers, f: int) -> list[int]:
    """Krum n - 2f times without replacement, at least one neighbour while there is another."""
    left, chosen = list(range(len(squares))), list[int]()
    while len(chosen) < len(squares) - 2 * f:
        near = max(len(left) - f - 2, min(1, len(left) - 1))
        chosen.append(left.pop(krum_order(squares[np.ix_(left, left)], near)[0]))
    return sorted(chosen)


@definition(largest=12, ties="ours")
def mda(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the n - f rows of least diameter; of several such sets the one with the most central rows."""
    return average(rows[mda_members(squared_distances(rows), cohort.f)])


def mda_members(squares: Numbers, f: int) -> list[int]:
    """Of all sets of n - f the one of least diameter; of several such sets the one with the most central members."""
    n = len(squares)
    sets, pairs = _sets(n, n - f)
    diameters = squares.ravel()[pairs].max(1, initial=0.0)
    central = lowest(squares.sum(1), n)
    rank = {client: place for place, client in enumerate(central)}
    best = sets[diameters == diameters.min()]
    return sorted(min((sorted(rank[i] for i in members), list(members)) for members in best.tolist())[1])


@lru_cache(maxsize=1)
def _sets(n: int, keep: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All sets of ``keep`` of n clients, and the places of each one's pairs in the flattened matrix."""
    sets = np.array(list(combinations(range(n), keep)))
    first, second = np.triu_indices(keep, 1)
    return sets, sets[:, first] * n + sets[:, second]


@definition(ties="ours", ulps=64)
def geometric_median(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The point of least weighted sum of distances: a row that the others cannot move (Kuhn 1973), or Weiszfeld."""
    w = cohort.weights
    for k in range(len(rows)):
        d = np.linalg.norm(rows - rows[k], axis=1)
        away = d > 0
        pull = (w[away] / d[away]) @ (rows[away] - rows[k])
        if float(np.linalg.norm(pull)) <= float(w[~away].sum()):
            return np.asarray(rows[k])
    y = w @ rows
    for _ in range(100_000):
        factors = w / np.maximum(np.linalg.norm(rows - y, axis=1), 1e-300)
        new = factors @ rows / factors.sum()
        moved, y = float(np.abs(new - y).max()), new
        if moved < 1e-14:
            break
    return np.asarray(y)


@definition(ties="ours")
def faba(rows: Numbers, cohort: CohortValues) -> Numbers:
    """F times without the row farthest from the mean of those left; the mean. In exact fractions, for the ties."""
    exact = [[Fraction(v) for v in row] for row in rows.tolist()]
    left = list(range(len(rows)))
    for _ in range(cohort.f):
        centre = [sum(column, Fraction(0)) / len(left) for column in zip(*(exact[i] for i in left), strict=True)]
        away = [sum((p - q) ** 2 for p, q in zip(exact[i], centre, strict=True)) for i in left]
        del left[away.index(max(away))]
    return average(rows[left])


@definition()
def aksel(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the half (rounded up) of the rows nearest to the median."""
    return average(rows[lowest(((rows - median(rows, cohort)) ** 2).sum(1), (len(rows) + 1) // 2)])


@definition()
def monna(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the n - f rows nearest to the server's own update."""
    return average(rows[lowest(((rows - cohort.own) ** 2).sum(1), len(rows) - cohort.f)])


@preaggregation()
def nnm(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Every row becomes the mean of the n - f rows nearest to it, itself included."""
    return np.array([average(rows[near]) for near in neighbour_sets(squared_distances(rows), cohort.f)])


def neighbour_sets(squares: Numbers, f: int) -> list[list[int]]:
    """The n - f nearest of each client, itself among them."""
    return [lowest(row, len(squares) - f) for row in squares]
