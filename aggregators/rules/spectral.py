"""Look along the direction in which the updates differ most: who goes far along it is out of line.

    caf   weights c = 1; while their sum is above n - 2f: mean and leading direction v of the weighted updates,
          t_i = <v, x_i - mean>², c_i <- c_i (1 - t_i / max t); the answer is the mean met with the least variance
          along its v
    dnc   on ``sketch`` random coordinates: v as above, t_i as above; the round(discard * f) clients with the largest t
          are out. ``repeats`` times; the mean of those that were never out

All of it follows from the n x n matrix of inner products around the mean, whose eigenvectors hold the t_i.

Needs: 2f < n; dnc also round(discard * f) < n and a client that was never out. Cost: caf O(n² d) and up to n
eigenproblems of size n; dnc O(n² sketch) and one pass over the updates.
Sources: Allouah, Guerraoui, Stephan, "Towards trustworthy federated learning with untrusted participants", ICML 2025
(CAF: covariance-bound agnostic filter; exact eigenvectors here, and among weights c_i = 0 none counts for
max t); Shejwalkar, Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and defenses for
federated learning", NDSS 2021, Algorithm 2 (DnC: divide and conquer).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.selection import lowest, mean_of_kept, squares
from flipbench.aggregators.rng import generators
from flipbench.aggregators.validation import guarded, needs_majority, positive, whole_number

_ALIKE = 1e-9  # relative differences below it are rounding: such clients, and such directions, count as equal


@guarded
def caf(updates: Updates, cohort: Cohort, /) -> Update:
    """Of a series of filtered means, the one with the least variance along its worst direction (Allouah et al. 2025).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("caf", updates, cohort)
    apart = squares(updates.double())  # many filters in a row would amplify float32's rounding
    # Cloned, as a product may round differently where a stack's cell begins off the memory's grain.
    shares = torch.stack([_filtered(one.clone(), f) for one in apart.reshape(-1, n, n).cpu()])
    return weighted_sum(updates, shares.reshape(updates.shape[:-1]))


@guarded
def dnc(updates: Updates, cohort: Cohort, /, *, discard: float = 1.0, sketch: int = 10_000, repeats: int = 1) -> Update:
    """The mean of the clients that no spectral filter on random coordinates threw out (Shejwalkar and Houmansadr 2021).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f, and seeds and round for the draws.
        discard: how many clients a filter throws out, as a multiple of f.
        sketch: how many coordinates a filter looks at; all where there are no more.
        repeats: filters, each on coordinates of its own.

    Raises:
        Infeasible: unless 2f < n and round(discard * f) < n, and where no client is left.
    """
    n, f = needs_majority("dnc", updates, cohort)
    out = round(positive("discard", discard) * f)
    if out >= n:
        raise Infeasible(f"dnc throws out round(discard x f) = {out} clients and needs more than that, got {n}")
    width, times = whole_number("sketch", sketch, least=1), whole_number("repeats", repeats, least=1)
    cells, dim = updates.shape[:-2], updates.shape[-1]
    draws = generators(cohort, tuple(cells), "dnc")
    kept = torch.ones(len(draws), n, dtype=torch.bool)
    for s, (cell, draw) in enumerate(zip(updates.reshape(-1, n, dim), draws, strict=True)):
        for _ in range(times):
            kept[s] &= _in_line(cell, n - out, width, draw)
    if not bool(kept.any(-1).all()):
        raise Infeasible(f"dnc threw out all {n} clients in {times} repeats; take fewer repeats or a smaller discard")
    return mean_of_kept(updates, cohort, kept.reshape(*cells, n))


def _in_line(cell: Updates, keep: int, width: int, draw: torch.Generator) -> Tensor:
    """Which clients go least far along the leading direction of a random sketch, ``(clients,)`` bool."""
    n, dim = cell.shape
    columns = cell if dim <= width else cell[:, torch.randperm(dim, generator=draw)[:width].to(cell.device)]
    # In float64: beside a far update the others differ by digits that float32 does not have.
    _, along = _leading(squares(columns.double()).cpu(), torch.full((n,), 1 / n, dtype=torch.float64))
    return torch.from_numpy(lowest(along.numpy(), keep))


def _filtered(apart: Tensor, f: int) -> Tensor:
    """The shares of the clients in caf's answer, from squared distances ``(clients, clients)``."""
    n = len(apart)
    c = torch.ones(n, dtype=torch.float64)
    best, least = c / n, float("inf")
    while float(c.sum()) > n - 2 * f:
        shares = c / c.sum()
        counts = c > 0  # a far update that no longer counts would cost the others their digits
        variance, along = _leading(apart[counts][:, counts], shares[counts])
        if variance < least:
            best, least = shares, variance
        top = along.max()
        if top <= 0:  # no client differs any more
            break
        left = 1 - along / top
        c = c.masked_scatter(counts, c[counts] * torch.where(left > _ALIKE, left, 0))
    return best


def _leading(apart: Tensor, shares: Tensor) -> tuple[float, Tensor]:
    """The weighted updates' largest variance along any direction, and the t_i along that one up to a common factor.

    Where several directions share it, the t_i are the means over them: which of them an eigenproblem gives depends on
    the order of the clients.

    In torch, not NumPy, whose linear algebra would start threads of its own.
    """
    scale = float(apart.max()) or 1.0  # squares of squared distances must not overflow
    s = apart / scale
    to_mean = s @ shares
    around = (to_mean[:, None] + to_mean[None, :] - s - shares @ to_mean) / 2  # inner products around the mean
    root = shares.sqrt()
    values, vectors = torch.linalg.eigh(root[:, None] * around * root)
    variance = max(float(values[-1]), 0.0)
    if variance == 0:
        return 0.0, torch.zeros_like(shares)
    leading = vectors[:, values >= (1 - _ALIKE) * variance]
    return variance * scale, (around @ (root[:, None] * leading)).square().mean(-1) / variance
