"""The geometric median: the point whose distances to the clients' updates have the least weighted sum.

    argmin over y of sum_i w_i ||y - x_i||,  w_i the clients' shares of the examples

It lies in the convex hull of the updates, y = sum_i a_i x_i, so Weiszfeld's iteration needs only their inner products:
one n x n matrix is made once, and each step costs n² instead of n d. Steps are smoothed (distances count as at least
``smoothing`` times the median distance from the middlemost update) and end when y moves less than ``tolerance`` times
that distance. Where an update is itself the geometric median (its share of the weight outweighs the pull of all
others), it is returned as it is.

Inner products are taken around the middlemost update. They follow from the distances between the updates, but not
where some update is far off: its large squares would leave the others without digits. Then they are measured, with
every update scaled to length 1, so that an update at 1e30 pulls with its share of the weight and no more.

Needs: 2f < n. Cost: O(n² d).
Source: Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE Trans. Signal Processing 2022,
§III (RFA, smoothed Weiszfeld); the test for an update: Vardi, Zhang, "The multivariate L1-median and associated data
depth", PNAS 2000.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.selection import squares
from flipbench.aggregators.validation import guarded, needs_majority, positive, whole_number

_BLOCK = 4096  # columns in float64 at a time
_FAR = 8  # times the median distance: beyond it inner products are measured


@guarded
def geometric_median(
    updates: Updates, cohort: Cohort, /, *, tolerance: float = 1e-9, smoothing: float = 1e-6, steps: int = 1000
) -> Update:
    """The point of least weighted distance to all updates (Pillutla et al. 2022).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the weights, and f for the check.
        tolerance: the last step's length, as a share of the median distance from the middlemost update.
        smoothing: the least distance that counts as such, as a share of the same.
        steps: most steps of Weiszfeld's iteration.

    Raises:
        Infeasible: unless 2f < n.
    """
    needs_majority("geometric_median", updates, cohort)
    limits = positive("tolerance", tolerance), positive("smoothing", smoothing), whole_number("steps", steps, least=1)
    n, dim = updates.shape[-2:]
    weights = cohort.weights.double().expand(updates.shape[:-1]).reshape(-1, n).cpu()
    apart = squares(updates).reshape(-1, n, n).cpu()
    # Cloned, as a product may round differently where a stack's cell begins off the memory's grain.
    cells = zip(updates.reshape(-1, n, dim), apart, weights, strict=True)
    shares = [_of_cell(x, a.clone(), w.clone(), *limits) for x, a, w in cells]
    return weighted_sum(updates, torch.stack(shares).reshape(updates.shape[:-1]))


def _of_cell(cell: Tensor, apart: Tensor, weights: Tensor, tolerance: float, smoothing: float, steps: int) -> Tensor:
    """The coefficients a_i of one cell's geometric median.

    In torch, not NumPy, whose linear algebra would start threads of its own.
    """
    middle = int((apart.sqrt() @ weights).argmin())
    far = apart[middle].sqrt()
    if far.max() <= _FAR * far.median():
        length = torch.where(far > 0, far, 1.0)
        angles = (apart[middle] + apart[middle][:, None] - apart) / 2 / length / length[:, None]
    else:
        angles = _angles(cell, middle, far)
    return _weiszfeld(angles, far, weights, tolerance, smoothing, steps)


def _angles(cell: Tensor, middle: int, far: Tensor) -> Tensor:
    """Inner products of the directions from one update to each, ``(clients, clients)``, from ``(clients, dim)``."""
    scale = torch.where(far > 0, 1 / far, 0).unsqueeze(-1).to(cell.device)
    total = torch.zeros(len(far), len(far), dtype=torch.float64, device=cell.device)
    for at in range(0, cell.shape[1], _BLOCK):
        part = cell[:, at : at + _BLOCK].double()
        part = (part - part[middle]) * scale
        total += part @ part.mT
    return total.cpu()


def _weiszfeld(angles: Tensor, far: Tensor, weights: Tensor, tolerance: float, smoothing: float, steps: int) -> Tensor:
    """The coefficients a_i of the geometric median, from directions and distances around the middlemost update."""
    here = far == 0  # the middlemost update and its equals
    scale = far.median()
    pull = weights * ~here
    if scale == 0 or (pull @ angles @ pull).clamp(min=0).sqrt() <= weights[here].sum():
        return here.double() / here.sum()
    floor, least = smoothing * scale, (tolerance * scale) ** 2
    shares = weights / (far + scale)
    shares = shares / shares.sum()
    for _ in range(steps):
        reach = shares * far  # y - middle = sum_i reach_i * direction_i; reach stays small for a far update
        along = angles @ reach
        distances = (far.square() - 2 * far * along + reach @ along).clamp(min=0).sqrt()
        new = weights / torch.maximum(distances, floor)
        new = new / new.sum()
        change = (new - shares) * far
        shares = new
        if change @ angles @ change <= least:
            break
    return shares
