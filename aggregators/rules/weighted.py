"""The median and the trimmed mean when clients count by their share of the examples.

    weighted_median        per coordinate: the value at which the weight of the lower ones reaches one half; where it is
                           reached exactly between two values, their mean
    weighted_trimmed_mean  per coordinate: drop weight b at each end (of the value that the cut falls on, only a part),
                           weighted mean of the rest; b is the weight of the f heaviest clients

A malicious client may hold much data, so what f of them can hold is the weight of the f heaviest clients, and that must
be under one half. With equal weights both rules are the plain ones. Weights within 1e-6 count as equal: they come as
float32.

Needs: the f heaviest clients hold less than half of the weight. Cost: one sort a coordinate, with its order.
Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning: towards optimal statistical rates",
ICML 2018, Definitions 1 and 2, with numbers of clients replaced by their weight; the replacement is this suite's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.order_statistics import has_kernel, network, over_tiles
from flipbench.aggregators.validation import guarded, shares, whole_number

_SLICE = 1 << 18  # elements sorted at a time, where nothing is compiled
_EQUAL = 1e-6


@guarded
def weighted_median(updates: Updates, cohort: Cohort, /) -> Update:
    """The weighted median of each coordinate.

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f and the weights.

    Raises:
        Infeasible: unless the f heaviest clients hold less than half of the weight.
    """
    weights = shares(updates, cohort).reshape(-1, updates.shape[-2])
    _heaviest("weighted_median", weights, cohort.byzantine)
    return _weighed(updates, weights, None)


@guarded
def weighted_trimmed_mean(updates: Updates, cohort: Cohort, /, *, trim: int | None = None) -> Update:
    """The weighted mean of each coordinate without the weight of the ``trim`` heaviest clients at either end.

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f and the weights.
        trim: a number of clients; null: f. With 0 it is fedavg.

    Raises:
        Infeasible: unless the ``trim`` heaviest clients hold less than half of the weight.
    """
    weights = shares(updates, cohort).reshape(-1, updates.shape[-2])
    count = cohort.byzantine if trim is None else whole_number("trim", trim, least=0)
    cut = _heaviest("weighted_trimmed_mean", weights, count, "f" if trim is None else "trim")
    return _weighed(updates, weights, cut)


def _heaviest(rule: str, weights: Tensor, count: int, name: str = "f") -> Tensor:
    """What the ``count`` heaviest clients hold, ``(cells,)``; Infeasible unless it is less than half of the weight."""
    n = weights.shape[-1]
    held = weights.sort(dim=-1, descending=True).values[..., :count].sum(-1)
    if count >= n or bool((held >= 0.5 - _EQUAL).any()):
        raise Infeasible(
            f"{rule} needs the {name} = {count} heaviest of {n} clients to hold less than half of the weight "
            f"(with equal weights, at least {2 * count + 1} clients), and they hold {float(held.max()):.3f}"
        )
    return held


def _weighed(updates: Updates, weights: Tensor, cut: Tensor | None) -> Update:
    """The weighted trimmed mean with the weights ``cut`` (cells,) dropped at each end; null: the weighted median."""
    n, dim = updates.shape[-2:]
    if updates.dtype == torch.float32 and has_kernel(updates):
        from flipbench.aggregators.numerics import weighted_kernel as compiled  # the compiler is loaded on first use

        cuts = torch.full((len(weights),), -1.0, dtype=torch.float64) if cut is None else cut
        arguments = _network(n), weights.contiguous().numpy(), cuts.numpy(), _EQUAL
        return over_tiles(compiled.weigh, compiled.WIDTH, updates, *arguments)
    flat = updates.reshape(-1, n, dim)
    answers = [_in_slices(flat[s], weights[s], None if cut is None else cut[s]) for s in range(len(flat))]
    return torch.stack(answers).reshape(*updates.shape[:-2], dim)


@lru_cache(maxsize=64)
def _network(n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Comparators that sort n rows; those of whole fours, which `network` takes for done, in front."""
    fours = [(i + a, i + b) for i in range(0, n // 4 * 4, 4) for a, b in ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2))]
    return np.concatenate([np.array(fours, dtype=np.int64).reshape(-1, 2), network(n, 0, n, True)[:, :2]])


def _in_slices(cell: Tensor, share: Tensor, cut: Tensor | None) -> Tensor:
    """One cell ``(clients, dim)``, a slice of columns at a time, in float64."""
    n, dim = cell.shape
    width = max(1, _SLICE // n)
    parts = []
    for at in range(0, max(1, dim), width):
        values, order = cell[:, at : at + width].sort(dim=0, stable=True)
        values, held = values.double(), share[order]
        part = _median(values, held) if cut is None else _trimmed(values, held, cut)
        parts.append(part.to(cell.dtype))
    return torch.cat(parts, -1)


def _median(values: Tensor, held: Tensor) -> Tensor:
    """From sorted values and their weights ``(clients, columns)``."""
    reached = held.cumsum(0)
    low = (reached < 0.5 - _EQUAL).sum(0, keepdim=True)  # the first that reaches one half, or is within reach of it
    high = (reached <= 0.5 + _EQUAL).sum(0, keepdim=True).clamp(max=len(values) - 1)
    return (values.gather(0, low) / 2 + values.gather(0, high) / 2).squeeze(0)


def _trimmed(values: Tensor, held: Tensor, cut: Tensor) -> Tensor:
    """From sorted values and their weights ``(clients, columns)``."""
    reached = held.cumsum(0)
    kept = torch.minimum(reached, reached[-1:] - cut) - torch.maximum(reached - held, cut)
    kept = torch.where(kept > _EQUAL * held, kept, 0)
    return (values * (kept / kept.sum(0, keepdim=True))).sum(0)
