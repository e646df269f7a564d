"""Decisions which clients count, made on small float64 matrices on the CPU, and the mean of the chosen.

What a rule that chooses and then averages needs of the updates is an n x n matrix of distances (or n numbers), a few
kilobytes. The decision is plain NumPy on one cell at a time, so it is the same for one cell and for a stack, on the CPU
and on CUDA; only the distances before it and the weighted sum after it touch the updates.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.distances import squared_distances
from flipbench.aggregators.numerics.order_statistics import weighted_sum

Numbers = NDArray[np.float64]
_SMALL = 1e-30  # below it float32 products lose digits to underflow
_HUGE = 1e300  # stands for a squared distance that overflows float64: sums of some still compare


def squares(updates: Updates) -> Tensor:
    """Squared distances ``(*cells, clients, clients)`` float64, all of them finite.

    Cells whose squares leave the range of float32 (updates of 1e-20 or of 1e20) are measured in float64.
    """
    apart = squared_distances(updates)
    n, dim = updates.shape[-2:]
    largest = apart.reshape(-1, n * n).amax(1).tolist()  # of each cell
    if all(_SMALL <= value < _HUGE for value in largest):  # as nearly always
        return apart
    if updates.dtype != torch.float64:
        flat, cells = apart.reshape(-1, n, n), updates.reshape(-1, n, dim)
        for i, value in enumerate(largest):
            if not _SMALL <= value < inf:
                flat[i] = squared_distances(cells[i].double())
        apart = flat.reshape(apart.shape)
    return apart.clamp(max=_HUGE)


def each_cell(choose: Callable[..., Any], *values: Tensor, cells: int) -> Tensor:
    """What ``choose`` decides for each cell.

    Args:
        choose: takes one cell's values as float64 arrays and returns an array, of one shape for all cells.
        *values: tensors with the same ``cells`` leading dimensions.
        cells: how many leading dimensions count cells.

    Returns:
        The answers stacked, ``(*cells, ...)`` on the CPU.
    """
    lead = values[0].shape[:cells]
    flat = [t.detach().double().cpu().reshape(-1, *t.shape[cells:]).numpy() for t in values]
    answers = torch.from_numpy(np.stack([choose(*one) for one in zip(*flat, strict=True)]))
    return answers.reshape(*lead, *answers.shape[1:])


def mean_of(updates: Updates, chosen: Tensor) -> Update:
    """The mean of the chosen clients' updates, ``(*cells, dim)``; ``chosen`` is ``(*cells, clients)`` bool."""
    share = chosen.double()
    return weighted_sum(updates, share / share.sum(-1, keepdim=True))


def mean_of_kept(updates: Updates, cohort: Cohort, kept: Tensor) -> Update:
    """`mean_of` of the clients that a rule keeps, after it told the server which they are."""
    cohort.tell_kept(kept)
    return mean_of(updates, kept)


def lowest(values: Numbers, keep: int, rounded: float = 0.0) -> NDArray[np.bool_]:
    """Which of the ``values``, 0 or more, are the ``keep`` lowest; of equal ones the first.

    Args:
        values: ``(clients,)``.
        keep: how many, at least 1.
        rounded: values that differ from the highest kept one by no more than this share of it count as equal to it.
    """
    order = np.argsort(values, kind="stable")
    chosen = np.zeros(len(values), dtype=bool)
    if rounded == 0:
        chosen[order[:keep]] = True
        return chosen
    last = values[order[keep - 1]]
    chosen |= values < last * (1 - rounded)
    alike = np.flatnonzero(~chosen & (values <= last * (1 + rounded)))
    chosen[alike[: keep - int(chosen.sum())]] = True
    return chosen
