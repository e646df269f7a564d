"""The geometric median: the point whose distances to the clients' updates have the least weighted sum.

    argmin over y of sum_i w_i ||y - x_i||,  w_i the clients' shares of the examples

It lies in the convex hull of the updates, y = sum_i a_i x_i, so Weiszfeld's iteration needs only their inner products:
one n x n matrix is made once, and each step costs n² instead of n d. Steps are smoothed (distances count as at least
``smoothing`` times the median distance from the middlemost update) and end when y moves less than ``tolerance`` times
that distance. Where an update is itself the geometric median (the weight of all clients that sent it is at least the
pull of the others, ||sum_j w_j (x_j - x) / ||x_j - x|| ||), it is returned as it is. Clients of weight 0 do not count.

A short step does not prove that the minimum is near: between two groups of updates that agree closely, steps are short
everywhere. So the end is examined by the derivatives there. Unless they show that the minimum is within 1e-7 of the
median distance, it is found by Newton's method (`numerics.least_distances`), and the sum of distances is at most a
share of `CERTIFIED` above the least one. Should that not be reached, a warning says so. With a number of ``steps`` the
iteration ends after so many, wherever it is, as in RFA's few steps.

The answer stays among the honest updates while the malicious clients hold less than half of the *weight*: f clients of
much data may hold more than that.

Inner products are taken around the middlemost update. They follow from the distances between the updates, but not
where some update is far off: its large squares would leave the others without digits. Then they are measured, with
every update scaled to length 1, so that an update at 1e30 pulls with its share of the weight and no more.

Needs: 2f < n. Cost: O(n² d).
Source: Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE Trans. Signal Processing 2022,
§III (RFA, smoothed Weiszfeld); the test for an update: Vardi, Zhang, "The multivariate L1-median and associated data
depth", PNAS 2000.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.least_distances import coordinates, least_distances
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.selection import squares
from flipbench.aggregators.validation import guarded, needs_majority, positive, shares, whole_number

CERTIFIED = 1e-9  # by how much the sum of distances may exceed the least one, as a share of it
_MOST_STEPS = 1000  # of Weiszfeld's iteration, before Newton's method takes over
_CURVED = 0.05  # least curvature, of at most 1, at which a short step shows that the minimum is near
_ROUNDED = 1e-12  # relative difference that rounding makes
_BLOCK = 4096  # columns in float64 at a time
_FAR = 8  # times the median distance: beyond it inner products are measured


@guarded
def geometric_median(
    updates: Updates, cohort: Cohort, /, *, tolerance: float = 1e-9, smoothing: float = 1e-6, steps: int | None = None
) -> Update:
    """The point of least weighted distance to all updates (Pillutla et al. 2022).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the weights, and f for the check.
        tolerance: length of the step at which Weiszfeld's iteration ends, as a share of the median distance from the
            middlemost update.
        smoothing: the least distance that counts as such in this iteration, as a share of the same.
        steps: null: until the minimum is found; a number: at most so many steps of the iteration, and no more.

    Raises:
        Infeasible: unless 2f < n.
    """
    needs_majority("geometric_median", updates, cohort)
    limits = _Limits(
        positive("tolerance", tolerance),
        positive("smoothing", smoothing),
        None if steps is None else whole_number("steps", steps, least=1),
    )
    n, dim = updates.shape[-2:]
    weights = shares(updates, cohort).reshape(-1, n).cpu()
    apart = squares(updates).reshape(-1, n, n).cpu()
    # Cloned, as a product may round differently where a stack's cell begins off the memory's grain.
    cells = zip(updates.reshape(-1, n, dim), apart, weights, strict=True)
    found = [_of_cell(x, a.clone(), w.clone(), limits) for x, a, w in cells]
    return weighted_sum(updates, torch.stack(found).reshape(updates.shape[:-1]))


@dataclass(frozen=True)
class _Limits:
    """The options of the rule."""

    tolerance: float
    smoothing: float
    steps: int | None


def _of_cell(cell: Tensor, apart: Tensor, weights: Tensor, limits: _Limits) -> Tensor:
    """The coefficients a_i of one cell's geometric median.

    In torch, not NumPy, whose linear algebra would start threads of its own.
    """
    counts = weights > 0
    if not bool(counts.all()):
        whole = torch.zeros_like(weights)
        some = _of_cell(cell[counts.to(cell.device)], apart[counts][:, counts], weights[counts], limits)
        return whole.masked_scatter(counts, some)
    distances = apart.sqrt()
    middle = int((distances @ weights).argmin())
    far = distances[middle]
    if far.max() <= _FAR * _reach(far, weights):
        length = torch.where(far > 0, far, 1.0)
        angles = (apart[middle] + apart[middle][:, None] - apart) / 2 / length / length[:, None]
    else:
        angles = _angles(cell, middle, far)
        nearer = _with_less(distances, middle, angles, weights)
        if nearer != middle:
            middle, far = nearer, distances[nearer]
            angles = _angles(cell, middle, far)
    here = far == 0  # the middlemost update and its equals
    pull = weights * ~here
    if (pull @ angles @ pull).clamp(min=0).sqrt() <= weights[here].sum() * (1 + _ROUNDED):
        return here.double() / here.sum()
    scale = _reach(far, weights) if far.median() > 0 else _half_way(far, weights)
    found = _weiszfeld(angles, far, weights, scale, limits)
    if limits.steps is not None or _is_minimum(angles, far, weights, found, scale, limits.smoothing):
        return found
    return _by_newton(cell, middle, far, weights, found, scale)


def _with_less(distances: Tensor, middle: int, angles: Tensor, weights: Tensor) -> int:
    """The update of least weighted distance to all, from the one that the sums give.

    Beside a far update the sums agree in all their digits; differences of two distances are taken without their sizes,
    d_ik - d_mk = (d_im² - 2 <x_i - x_m, x_k - x_m>) / (d_ik + d_mk).
    """
    far = distances[middle]
    both = distances + far
    more = far[:, None].square() - 2 * far[:, None] * far * angles
    change = torch.where(both > 0, more / torch.where(both > 0, both, 1.0), 0.0) @ weights
    return int(change.argmin()) if change.min() < 0 else middle


def _reach(far: Tensor, weights: Tensor) -> Tensor:
    """The distance within which half of the clients lie and, where that is nearer, half of the weight."""
    return torch.minimum(far.median(), _half_way(far, weights))


def _half_way(far: Tensor, weights: Tensor) -> Tensor:
    """The distance within which half of the weight lies: above 0, as no update with its equals holds half of it."""
    order = far.argsort()
    beyond = (weights[order].cumsum(0) >= 0.5 * weights.sum()) & (far[order] > 0)
    return far[order][int(beyond.to(torch.int8).argmax())]


def _angles(cell: Tensor, middle: int, far: Tensor) -> Tensor:
    """Inner products of the directions from one update to each, ``(clients, clients)``, from ``(clients, dim)``."""
    scale = torch.where(far > 0, 1 / far, 0).unsqueeze(-1).to(cell.device)
    total = torch.zeros(len(far), len(far), dtype=torch.float64, device=cell.device)
    for at in range(0, cell.shape[1], _BLOCK):
        part = cell[:, at : at + _BLOCK].double()
        part = (part - part[middle]) * scale
        total += part @ part.mT
    return total.cpu()


def _weiszfeld(angles: Tensor, far: Tensor, weights: Tensor, scale: Tensor, limits: _Limits) -> Tensor:
    """The coefficients a_i at the end of the iteration, from directions and distances around the middlemost update."""
    floor, least = limits.smoothing * scale, (limits.tolerance * scale) ** 2
    a = weights / (far + scale)
    a = a / a.sum()
    for _ in range(limits.steps or _MOST_STEPS):
        reach = a * far  # y - middle = sum_i reach_i * direction_i; reach stays small for a far update
        along = angles @ reach
        distances = (far.square() - 2 * far * along + reach @ along).clamp(min=0).sqrt()
        new = weights / torch.maximum(distances, floor)
        new = new / new.sum()
        change = (new - a) * far
        a = new
        if change @ angles @ change <= least:
            break
    return a


def _is_minimum(angles: Tensor, far: Tensor, weights: Tensor, found: Tensor, scale: Tensor, smoothing: float) -> bool:
    """Whether the derivatives where the iteration ended show that the minimum is near."""
    values, vectors = torch.linalg.eigh(angles)
    spans = values > 1e-10 * values[-1]
    directions = vectors[:, spans] * values[spans].sqrt()  # (clients, dimensions)
    away = (found * far) @ directions - far.unsqueeze(-1) * directions
    distances = away.norm(dim=1)
    if bool(distances.min() <= 10 * smoothing * scale):  # a kink: the update may be the minimum, or beside it
        return False
    pull = weights / distances
    bent = pull.sum() * torch.eye(away.shape[1], dtype=away.dtype)
    bent -= away.mT @ (away * (pull / distances.square()).unsqueeze(-1))
    curvature, axes = torch.linalg.eigh(bent)
    if curvature[0] * scale < _CURVED:
        return False
    step = (pull @ away) @ axes / curvature
    return bool(step.norm() <= 1e-7 * scale)


def _by_newton(cell: Tensor, middle: int, far: Tensor, weights: Tensor, found: Tensor, scale: Tensor) -> Tensor:
    """The coefficients of the minimum, from where the iteration ended; warns where it is not certified."""
    length = torch.where(far > 0, far, 1.0)
    directions = coordinates(cell, middle, torch.where(far > 0, 1 / length, 0.0))
    far = far * directions.norm(dim=1)  # the distances come from products in the updates' precision
    points = far.unsqueeze(-1) * torch.nn.functional.normalize(directions, dim=1)
    a, gap = least_distances(points, weights / weights.sum(), found @ points, float(scale))
    if not gap <= CERTIFIED:
        warnings.warn(
            f"geometric_median ended where the sum of distances may be a share of {gap:.1g} above the least one "
            f"(documented: {CERTIFIED:g}): the updates of this round lie too unevenly for float64",
            RuntimeWarning,
            stacklevel=2,
        )
    return a
