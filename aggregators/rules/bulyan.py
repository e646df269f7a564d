"""Bulyan: choose by Krum again and again, then average coordinate by coordinate what lies in the middle of the chosen.

    chosen  n - 2f times: the Krum winner among the updates not chosen yet (n' of them: n' - f - 2 nearest others, and
            at least 1 while there is another), ties to the lowest index
    answer  per coordinate: the mean of the n - 4f values of the chosen nearest to their median

The program of the authors (LPD-EPFL, ByzantineMomentum) computes something else, ``variant='authors'``: scores are
taken once, from distances that are not squared, to the n - f - 2 nearest others; the k-th of n - 2f - 2 vectors is the
mean of the updates ranked k to n - f - 2; then per coordinate the mean of the n - 4f - 2 values nearest to the lower
median of these vectors.

Needs: n >= 4f + 3. Cost: O(n² d) for the distances, once; one sort a coordinate.
Source: El Mhamdi, Guerraoui, Rouault, "The hidden vulnerability of distributed learning in Byzantium", ICML 2018, §4.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.order_statistics import mean_of_rows, nearest_mean
from flipbench.aggregators.numerics.selection import Numbers, each_cell, squares
from flipbench.aggregators.rules.krum import scores
from flipbench.aggregators.validation import guarded


@guarded
def bulyan(updates: Updates, cohort: Cohort, /, *, variant: Literal["paper", "authors"] = "paper") -> Update:
    """Of n - 2f Krum winners, the mean of the n - 4f values nearest to the median (El Mhamdi et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        variant: the rule as printed, or that of the authors' program, which takes f of at least 1.

    Raises:
        Infeasible: unless n >= 4f + 3 (and f >= 1 for the authors' program).
    """
    n, f = updates.shape[-2], cohort.byzantine
    if n < 4 * f + 3:
        raise Infeasible(f"bulyan needs at least 4f + 3 = {4 * f + 3} clients for f = {f}, got {n}")
    if variant not in ("paper", "authors"):
        raise ValueError(f"variant must be paper or authors, got {variant!r}")
    if variant == "authors":
        return _as_programmed(updates, f)
    if f == 0:  # every client is chosen and every value kept
        return nearest_mean(updates, n, 0, n)
    apart = squares(updates)
    rows = each_cell(lambda s: _winners(s, f), apart, cells=apart.ndim - 2)  # (*cells, n - 2f)
    flat, index = updates.reshape(-1, *updates.shape[-2:]), rows.reshape(-1, n - 2 * f).to(updates.device)
    chosen = torch.stack([one[i] for one, i in zip(flat, index, strict=True)])  # (cells, n - 2f, dim)
    count = n - 2 * f
    answer = nearest_mean(chosen, n - 4 * f, (count - 1) // 2, count // 2 + 1)
    return answer.reshape(*updates.shape[:-2], updates.shape[-1])


def _as_programmed(updates: Updates, f: int) -> Update:
    """The rule of the authors' program."""
    n = updates.shape[-2]
    if f == 0:
        raise Infeasible(f"bulyan(variant=authors) needs f of at least 1, as its authors' program does, got 0 of {n}")
    order = scores(squares(updates), f, power=1.0).argsort(dim=-1, stable=True)  # (*cells, n)
    vectors = [mean_of_rows(updates, order[..., k : n - f - 2]) for k in range(n - 2 * f - 2)]
    count = len(vectors)
    return nearest_mean(torch.stack(vectors, -2), n - 4 * f - 2, (count - 1) // 2, (count - 1) // 2 + 1)


def _winners(apart: Numbers, f: int) -> NDArray[np.int64]:
    """The Krum winners, in the order of the clients."""
    left = np.arange(len(apart))
    chosen = []
    for _ in range(len(apart) - 2 * f):
        near = apart[np.ix_(left, left)]
        np.fill_diagonal(near, np.inf)
        count = max(len(left) - f - 2, min(1, len(left) - 1))
        winner = int(np.argmin(np.sort(near, axis=1)[:, :count].sum(1)))
        chosen.append(left[winner])
        left = np.delete(left, winner)
    return np.sort(np.array(chosen, dtype=np.int64))
