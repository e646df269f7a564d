"""Drop who stands out, then average: four filters that differ in what "standing out" is measured from.

    cge    drops the f updates of largest norm                                    (measured from the origin)
    faba   f times: drops the update farthest from the mean of those still there  (measured from the mean)
    aksel  keeps the ceil(n / 2) updates nearest to the coordinate-wise median    (measured from the median)
    monna  keeps the n - f updates nearest to the server's own update             (measured from a trusted point)

Needs: 2f < n; monna also the server's own root data. Cost: one or two passes over the updates; faba O(n² d).

Sources: Gupta, Vaidya, "Byzantine fault-tolerance in decentralized optimization under 2f-redundancy", ACC 2021
(comparative gradient elimination; there the sum of the kept gradients, here their mean); Xia, Tao, Hao, Li, "FABA: an
algorithm for fast aggregation against Byzantine attacks in distributed neural networks", IJCAI 2019, Algorithm 1;
Boussetta, El Mhamdi, Guerraoui, Maurer, Rouault, "AKSEL: fast Byzantine SGD", OPODIS 2020; Farhadkhani, Guerraoui,
Gupta, Hoang, Pinot, Stephan, "Robust collaborative learning with linear gradient overhead", ICML 2023 (MoNNA:
every honest node averages the n - f vectors nearest to its own; the server's own one is the update on its root data).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.norms import squared_lengths
from flipbench.aggregators.numerics.order_statistics import band_mean
from flipbench.aggregators.numerics.selection import Numbers, each_cell, lowest, mean_of_kept, squares
from flipbench.aggregators.validation import guarded, needs_majority, trusted_update, whole_number

_SLICE = 1 << 20  # elements in float64 at a time
_ROUNDED = 1e-12  # relative difference that rounding makes


@guarded
def cge(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of the n - f updates of smallest norm (Gupta and Vaidya 2021).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("cge", updates, cohort)
    norms = squared_lengths(updates)
    return mean_of_kept(updates, cohort, each_cell(lambda v: lowest(v, n - f), norms, cells=norms.ndim - 1))


@guarded
def faba(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of what is left after f times dropping the update farthest from the mean (Xia et al. 2019).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    _, f = needs_majority("faba", updates, cohort)
    apart = squares(updates)
    return mean_of_kept(updates, cohort, each_cell(lambda s: _without_farthest(s, f), apart, cells=apart.ndim - 2))


@guarded
def aksel(updates: Updates, cohort: Cohort, /, *, keep: int | None = None) -> Update:
    """The mean of the updates nearest to the coordinate-wise median (Boussetta et al. 2020).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        keep: how many to average, 1 to n - f; null: ceil(n / 2), those within the median distance.

    Raises:
        Infeasible: unless 2f < n and keep <= n - f.
    """
    n, f = needs_majority("aksel", updates, cohort)
    kept = (n + 1) // 2 if keep is None else whole_number("keep", keep, least=1)
    if kept > n - f:
        raise Infeasible(f"aksel can keep at most n - f = {n - f} of {n} clients for f = {f}, got keep = {kept}")
    distances = _from_median(updates)
    return mean_of_kept(
        updates, cohort, each_cell(lambda v: lowest(v, kept, rounded=_ROUNDED), distances, cells=distances.ndim - 1)
    )


@guarded
def monna(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of the n - f updates nearest to the server's own (Farhadkhani et al. 2023).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f and the server's own update.

    Raises:
        Infeasible: unless 2f < n and there is root data.
    """
    n, f = needs_majority("monna", updates, cohort)
    own = trusted_update("monna", updates, cohort)
    distances = squared_lengths(updates, own)
    return mean_of_kept(updates, cohort, each_cell(lambda v: lowest(v, n - f), distances, cells=distances.ndim - 1))


def _from_median(updates: Updates) -> Tensor:
    """Squared distance of each client's update from the median, ``(*cells, clients)`` float64.

    In float64 and around the first client, because the two middle values of an even number of clients lie equally far
    from their mean, and rounding of that mean would decide which of the two is nearer.
    """
    n, dim = updates.shape[-2:]
    width = max(1, _SLICE // n)
    total = updates.new_zeros(updates.shape[:-1], dtype=torch.float64)
    for at in range(0, dim, width):
        part = updates[..., at : at + width].double()
        part = part - part[..., :1, :]
        total += squared_lengths(part, band_mean(part, (n - 1) // 2, n // 2 + 1)).to(total.device)
    return total


def _without_farthest(apart: Numbers, drop: int) -> NDArray[np.bool_]:
    """Which clients are left after ``drop`` times leaving out the one farthest from the mean; ties: the first.

    ||x_i - mean||² is the mean squared distance of i to all, less a number that is the same for every i.
    """
    left = np.ones(len(apart), dtype=bool)
    for _ in range(drop):
        left[np.argmax(np.where(left, apart[:, left].sum(1), -1.0))] = False
    return left
