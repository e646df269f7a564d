"""The point of least weighted distance to some points of a space of few dimensions, by Newton's method in float64.

    F(y) = sum_i w_i ||y - p_i||;   smoothed: sum_i w_i sqrt(||y - p_i||² + mu²), which exceeds F by at most mu

The smoothed function is convex and has derivatives everywhere. It is minimised for one mu after the other, each a tenth
of the last, from where the one before ended. Newton's method converges where fixed-point iterations stand still, as
between two groups of points that agree closely. With weights that sum to 1, F(y) - min F <= 2 ||gradient|| F(y) + mu,
because the minimum lies within 2 F(y) of y: so the answer carries a bound of its own error.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_MU = 1e-13  # in units of the scale
_STEPS = 100  # of Newton's method for one mu; it takes three to ten
_HALVINGS = 40
_ROUNDING = 1e-15  # of the function's value: a smaller gain is no difference of two values
_PATIENCE = 3  # steps of smaller gain that leave the gradient as long as it was


def coordinates(rows: Tensor, origin: int, scale: Tensor, block: int = 4096) -> Tensor:
    """Directions from one row to the others, in an orthonormal basis of their span.

    Args:
        rows: ``(clients, dim)``.
        origin: which row they are taken from.
        scale: ``(clients,)`` float64, the inverse of each row's distance from it; 0 for the origin.
        block: columns in float64 at a time.

    Returns:
        ``(clients, min(clients, dim))`` float64 on the CPU, rows of length 1 (0 for the origin).
    """
    upper = torch.zeros(0, len(rows), dtype=torch.float64)
    for at in range(0, rows.shape[1], block):
        part = rows[:, at : at + block].double()
        part = ((part - part[origin]) * scale.unsqueeze(-1).to(part.device)).cpu()
        upper = torch.linalg.qr(torch.cat([upper, part.mT]), mode="r").R
    return upper.mT.contiguous()


def least_distances(points: Tensor, weights: Tensor, start: Tensor, scale: float) -> tuple[Tensor, float]:
    """The coefficients of the minimum, y = sum_i a_i p_i, and a bound of its error.

    Args:
        points: ``(points, dimensions)`` float64.
        weights: ``(points,)`` float64, above 0; they sum to 1.
        start: ``(dimensions,)``.
        scale: the first mu, above 0; of the distances among the points that hold half of the weight. Points may be
            farther off by any factor.

    Returns:
        ``(points,)``, which sum to 1; and how far F may be above its minimum, as a share of it.
    """
    y, mu, least = start, scale, scale * LEAST_MU
    while mu > least:
        mu = max(mu / 10, least)
        y = _newton(points, weights, y, mu)
    away = y - points
    smooth = (away.square().sum(1) + mu**2).sqrt()
    gradient = float(((weights / smooth) @ away).norm())
    shares = weights / smooth
    return shares / shares.sum(), 2 * gradient + mu / float(weights @ smooth)


def _newton(points: Tensor, weights: Tensor, y: Tensor, mu: float) -> Tensor:
    """The minimum of the smoothed function."""
    identity = torch.eye(points.shape[1], dtype=torch.float64)
    value, gradient, pull, away, smooth = _at(points, weights, y, mu)
    shortest, in_vain = float("inf"), 0
    for _ in range(_STEPS):
        curvature = (1 + 1e-15) * pull.sum() * identity - away.mT @ (away * (pull / smooth.square()).unsqueeze(-1))
        step = torch.linalg.solve(curvature, gradient)
        gain = float(gradient @ step)
        if not gain > 0:
            break
        length = float(gradient.norm())
        in_vain = 0 if gain > _ROUNDING * value or length < 0.9 * shortest else in_vain + 1
        shortest = min(shortest, length)
        if in_vain == _PATIENCE:
            break
        for halving in range(_HALVINGS):
            part = 0.5**halving
            other = y - part * step
            ahead = _at(points, weights, other, mu)
            # Near the minimum the values agree to the last digit, and the gradient still tells them apart.
            flat = gain < 1e-10 * value and float(ahead[1].norm()) < 0.9 * length
            if float(ahead[0]) <= float(value) - 0.25 * part * gain or flat:
                break
        else:
            break
        y, (value, gradient, pull, away, smooth) = other, ahead
    return y


def _at(points: Tensor, weights: Tensor, y: Tensor, mu: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Value and gradient of the smoothed function; w_i / s_i, y - p_i and s_i of each point."""
    away = y - points
    smooth = (away.square().sum(1) + mu**2).sqrt()
    pull = weights / smooth
    return weights @ smooth, pull @ away, pull, away, smooth
