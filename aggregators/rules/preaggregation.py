"""Pre-aggregation: change what the clients sent before a rule sees it, so that honest updates differ less.

    nnm         x_i <- mean of the n - f updates nearest to x_i, itself included
    bucketing   random buckets of ``s`` clients, the mean of each; n becomes ceil(n / s), f stays
    clipping    x_i <- x_i min(1, radius / ||x_i||)
    arc         clipping at the (k + 1)-th largest norm, k = floor(2 f (n - f) / n)

A pre-aggregation takes updates and cohort and returns both; `aggregators.compose` puts any number of them in front of a
rule (``nnm | trimmed_mean`` in a grid). Updates that are not finite are left out before the first of them.

Sources: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by mixing: a recipe for optimal Byzantine ML
under heterogeneity", AISTATS 2023 (nnm); Karimireddy, He, Jaggi, "Byzantine-robust learning on heterogeneous
datasets via bucketing", ICLR 2022, Algorithm 1; Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, "Adaptive
gradient clipping for robust federated learning", ICLR 2025 (arc, and the static clipping it improves on).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Mixed, Updates
from flipbench.aggregators.numerics.norms import lengths
from flipbench.aggregators.numerics.selection import squares
from flipbench.aggregators.rng import generators
from flipbench.aggregators.rules.clipping import clip_factors
from flipbench.aggregators.validation import guarded_mix, needs_majority, positive, whole_number

_BLOCK = 2048  # columns mixed at a time
_LARGE = 1e70  # squared distances beyond it do not fit float32 differences


@guarded_mix
def nnm(updates: Updates, cohort: Cohort, /) -> Mixed:
    """Every update becomes the mean of the n - f nearest to it (Allouah et al. 2023); cost O(n² d).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("nnm", updates, cohort)
    apart = squares(updates)
    order = apart.argsort(dim=-1, stable=True)[..., : n - f]  # equally near: the first
    near = torch.zeros_like(apart).scatter_(-1, order, 1.0 / (n - f))
    # Sums are taken around the client with the nearest neighbourhood, so that far updates cost the others no digit.
    centres = apart.sort(dim=-1).values[..., n - f - 1].argmin(-1)
    mixed = torch.empty_like(updates, memory_format=torch.contiguous_format)
    cells = updates.reshape(-1, *updates.shape[-2:])
    large = (apart.amax((-2, -1)) > _LARGE).reshape(-1).tolist()
    for s, out in enumerate(mixed.view(cells.shape)):
        _mix(cells[s], near.reshape(-1, n, n)[s], int(centres.reshape(-1)[s]), large[s], out)
    return mixed, cohort


def _mix(cell: Tensor, near: Tensor, centre: int, large: bool, out: Tensor) -> None:
    """out = near @ cell, taken around one client, for ``(clients, dim)``."""
    kind = torch.float64 if large else cell.dtype
    for at in range(0, cell.shape[1], _BLOCK):
        columns = cell[:, at : at + _BLOCK].to(kind)
        out[:, at : at + _BLOCK] = near.to(kind) @ (columns - columns[centre]) + columns[centre]


@guarded_mix
def bucketing(updates: Updates, cohort: Cohort, /, *, s: int = 2) -> Mixed:
    """Means of random buckets of clients take their place (Karimireddy et al. 2022).

    A bucket weighs what its clients weigh together, and is known by its number. f stays: a malicious
    client spoils one bucket.
    The draw goes by the clients' numbers, so their order in the matrix is irrelevant.

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives clients, seeds and round for the draw.
        s: clients in a bucket; the last one may have fewer.
    """
    whole_number("s", s, least=1)
    cells, (n, dim) = updates.shape[:-2], updates.shape[-2:]
    buckets = -(-n // s)
    ids = cohort.clients.expand(updates.shape[:-1]).reshape(-1, n).cpu()
    draws = [
        one.argsort(stable=True)[torch.randperm(n, generator=g)]
        for one, g in zip(ids, generators(cohort, tuple(cells), "bucketing"), strict=True)
    ]
    means, weights = [], []
    shares = cohort.weights.expand(updates.shape[:-1]).reshape(-1, n)
    for one, share, order in zip(updates.reshape(-1, n, dim), shares, draws, strict=True):
        parts = [part.to(one.device) for part in order.split(s)]
        means.append(torch.stack([_bucket_mean(one, part) for part in parts]))
        weights.append(torch.stack([share[part].sum() for part in parts]))
    numbers = torch.arange(buckets, device=updates.device).expand(*cells, buckets)
    fewer = replace(cohort, weights=torch.stack(weights).reshape(*cells, buckets), clients=numbers)
    return torch.stack(means).reshape(*cells, buckets, dim), fewer


def _bucket_mean(cell: Tensor, rows: Tensor) -> Tensor:
    """The mean of some rows, added up one by one around the first: the same for any number of threads or cells."""
    first = cell[rows[0]]
    total = torch.zeros_like(first)
    for row in rows[1:]:
        total += (cell[row] - first) / len(rows)
    return first + total


@guarded_mix
def clipping(updates: Updates, cohort: Cohort, /, *, radius: float) -> Mixed:
    """Every update is shortened to a norm of at most ``radius``.

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: passed on.
        radius: the largest norm that is left as it is.
    """
    return _clipped(updates, positive("radius", radius)), cohort


@guarded_mix
def arc(updates: Updates, cohort: Cohort, /) -> Mixed:
    """The k longest updates are shortened to the next norm, k = floor(2 f (n - f) / n) (Allouah et al. 2025).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("arc", updates, cohort)
    longest = lengths(updates).sort(dim=-1, descending=True).values
    k = 2 * f * (n - f) // n
    return _clipped(updates, longest[..., k : k + 1]), cohort


def _clipped(updates: Updates, radius: float | Tensor) -> Updates:
    factors = clip_factors(lengths(updates), radius).unsqueeze(-1)
    if float(factors.min()) < torch.finfo(updates.dtype).tiny:
        return (updates.double() * factors).to(updates.dtype)  # the factor alone would underflow
    return updates * factors.to(updates)
