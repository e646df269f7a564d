"""Minimum-diameter averaging: trust the n - f updates that lie closest together.

    S* = the n - f updates whose two farthest ones are nearest to each other;  answer = mean of S*
    Of several such sets, the one that keeps the most central updates: the first when they are ordered by the sum of
    their squared distances to all others (equal ones as they come).

Looking at all C(n, f) sets is not needed. A set has a diameter of at most t exactly if the f updates left out touch
every pair that is farther apart than t (a vertex cover of f clients): t is found by bisection over the distances, and
each cover by a search that decides one client of the most far pairs at a time. The steps are counted, and past
``limit`` the rule gives up.

Needs: 2f < n, and that the search ends within ``limit`` steps. Cost: O(n² d) for the distances and the search, which
takes few steps where some updates do stand out and up to about 1.4^f where none does.
Source: El Mhamdi, Guerraoui, Rouault, "The hidden vulnerability of distributed learning in Byzantium", ICML 2018
(after Rousseeuw 1985), and El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, "Genuinely distributed Byzantine machine
learning", Distributed Computing 2021 (as MDA).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.selection import Numbers, each_cell, mean_of_kept, squares
from flipbench.aggregators.validation import guarded, needs_majority, whole_number


@guarded
def mda(updates: Updates, cohort: Cohort, /, *, limit: int = 200_000) -> Update:
    """The mean of the n - f updates of least diameter (El Mhamdi et al. 2018, 2021).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        limit: steps of the search before the rule gives up.

    Raises:
        Infeasible: unless 2f < n, and where the search takes more than ``limit`` steps.
    """
    n, f = needs_majority("mda", updates, cohort)
    steps = whole_number("limit", limit, least=1)
    apart = squares(updates)
    return mean_of_kept(updates, cohort, each_cell(lambda s: _closest(s, n - f, steps), apart, cells=apart.ndim - 2))


def _closest(apart: Numbers, keep: int, limit: int) -> NDArray[np.bool_]:
    """Which ``keep`` rows have the least diameter; of several such sets the first, the most central rows in front."""
    n = len(apart)
    search = _Search(limit, f"mda found no answer within limit = {limit} steps for f = {n - keep} of {n} clients")
    bounds = np.unique(apart[np.triu_indices(n)])  # 0 first: the diagonal
    low, high = 0, len(bounds) - 1
    while low < high:
        middle = (low + high) // 2
        if search.coverable(_far_pairs(apart, bounds[middle]), n - keep):
            high = middle
        else:
            low = middle + 1
    far = _far_pairs(apart, bounds[low])
    left_out: set[int] = set()
    chosen: list[int] = []
    # Keep clients while possible, the most central first: each one kept forces out all that are far from it.
    for i in np.argsort(apart.sum(1), kind="stable").tolist():
        if len(chosen) == keep:
            break
        if i in left_out:
            continue
        forced = left_out | {j for j in range(n) if far[i] >> j & 1}
        spare = n - keep - len(forced)
        if spare >= 0 and search.coverable(_without(far, forced), spare):
            left_out = forced
            chosen.append(i)
        else:
            left_out.add(i)
    return np.isin(np.arange(n), chosen)


def _far_pairs(apart: Numbers, bound: float) -> list[int]:
    """For each row, as bits of an int, the rows farther from it than the bound."""
    bits = np.packbits(apart > bound, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in bits]


def _without(far: list[int], gone: set[int]) -> list[int]:
    kept = ~sum(1 << j for j in gone)
    return [0 if i in gone else row & kept for i, row in enumerate(far)]


class _Search:
    """Whether few rows touch all far pairs, with a count of the steps taken."""

    def __init__(self, limit: int, gave_up: str) -> None:
        self.left, self.gave_up = limit, gave_up

    def coverable(self, far: list[int], budget: int) -> bool:
        """Whether leaving out ``budget`` rows leaves no far pair."""
        self.left -= 1
        if self.left < 0:
            raise Infeasible(f"{self.gave_up}: raise the limit, or use another rule")
        degree, most = max((row.bit_count(), i) for i, row in enumerate(far))
        pairs = sum(row.bit_count() for row in far) // 2
        if pairs == 0:
            return True
        if pairs > budget * degree:  # each row left out touches at most `degree` pairs
            return False
        if degree == 1:  # disjoint pairs, one row of each
            return pairs <= budget
        if self.coverable(_without(far, {most}), budget - 1):
            return True
        others = {j for j in range(len(far)) if far[most] >> j & 1}
        return len(others) <= budget and self.coverable(_without(far, others), budget - len(others))
