"""Attacks that hide in the spread of the honest updates: as far from their mean as looks normal.

    mu, sigma  mean and standard deviation of each coordinate over the h honest clients (population, divided by h)
    alie       mu - z sigma
    min_max    mu + gamma p, the largest gamma with  max_i ||sent - x_i|| <= max_ij ||x_i - x_j||
    min_sum    mu + gamma p, the largest gamma with  sum_i ||sent - x_i||² <= max_i sum_j ||x_i - x_j||²
               (the paper; the authors' program has the min over i, ``bound='min'``)

All malicious clients send the same. Papers estimate mu and sigma from the malicious clients' own honest updates where
they know no others; here the attacker sees what the honest clients send, which is the stronger case of each paper.

With one honest client, or honest clients that agree, sigma and all distances are 0 and the mean is sent.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.aggregators.numerics.distances import squared_distances
from flipbench.attacks.contract import UpdateContext
from flipbench.attacks.updates.honest_statistics import all_alike, deviation, finite, mean

Perturbation = Literal["std", "unit", "sign"]


def alie(updates: Tensor, context: UpdateContext, /, *, z: float | None = None) -> Tensor:
    """A little is enough: all send mu - z sigma (Baruch et al. 2019, section 3).

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates.
        z: standard deviations, negative for the other side of the mean; null: `hidden_z` of n and m.

    Raises:
        Infeasible: no z is given and the malicious clients are the majority, so that every z would hide.
        ValueError: z is not finite.
    """
    if z is None:
        z = hidden_z(len(context.honest) + len(updates), len(updates))
    if not abs(z) < float("inf"):
        raise ValueError(f"alie needs a finite z, got {z}")
    honest = finite(context.honest)
    centre = mean(honest)
    return all_alike(centre - z * deviation(honest, centre), updates)


def hidden_z(clients: int, malicious: int) -> float:
    """The z of Baruch et al. 2019 (section 3): Phi(z) = (n - m - s)/(n - m), s = floor(n/2 + 1) - m.

    s honest clients are expected farther out than z and make a majority with the m malicious ones. Below 0 (one or
    two malicious clients) the mean itself is the most that hides: 0.

    Args:
        clients: n, malicious ones included.
        malicious: m.

    Raises:
        Infeasible: m > n/2.
    """
    supporters = clients // 2 + 1 - malicious
    if supporters <= 0:
        raise Infeasible(
            f"alie has no z of its own when m = {malicious} of n = {clients} clients are malicious: give z"
        )
    honest = clients - malicious
    inside = (honest - supporters) / honest
    return max(0.0, NormalDist().inv_cdf(inside)) if inside > 0 else 0.0


def min_max(updates: Tensor, context: UpdateContext, /, *, perturbation: Perturbation = "std") -> Tensor:
    """As far out as no honest client is farther from it than two honest ones are apart (Shejwalkar, Houmansadr 2021).

    ||mu + gamma p - x_i||² is a parabola in gamma for each i, so the largest gamma is the least of their larger roots:
    exact, where the paper's algorithm 1 halves its way to it. Their AGR-agnostic min-max attack.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates.
        perturbation: p: ``std`` -sigma, ``unit`` -mu/||mu||, ``sign`` -sign(mu).

    Raises:
        ValueError: an unknown perturbation.
    """
    honest = finite(context.honest)
    centre = mean(honest)
    away = honest - centre  # (honest, dim) float64
    p = _direction(perturbation, centre, away)
    a, b = p.square().sum(), -(away @ p)  # ||gamma p - away_i||² = a gamma² + 2 b_i gamma + ||away_i||²
    c = (away.square().sum(-1) - squared_distances(honest).max()).clamp(max=0)  # 0 where rounding says more
    root = (b * b - a * c).sqrt()
    larger = torch.where(b > 0, -c / (b + root), (root - b) / a)  # no difference of nearly equal numbers
    return all_alike(centre + larger.min() * p if a > 0 else centre, updates)


def min_sum(
    updates: Tensor,
    context: UpdateContext,
    /,
    *,
    perturbation: Perturbation = "std",
    bound: Literal["max", "min"] = "max",
) -> Tensor:
    """As far out as its squared distances to the honest sum to no more than an honest one's do (same paper).

    Their sum is sum_i ||x_i - mu||² + h gamma² ||p||², so gamma is known exactly. Their AGR-agnostic min-sum attack.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates.
        perturbation: p, as for `min_max`.
        bound: of which honest client the sum counts: the largest one, as the paper prints, or the least, as the
            authors' program computes: then what is sent is nearer to mu.

    Raises:
        ValueError: an unknown perturbation or bound.
    """
    honest = finite(context.honest)
    centre = mean(honest)
    away = honest - centre
    p = _direction(perturbation, centre, away)
    a = p.square().sum()
    if bound not in ("max", "min"):
        raise ValueError(f"the bound must be max or min, got {bound!r}")
    sums = squared_distances(honest).sum(-1)
    slack = ((sums.max() if bound == "max" else sums.min()) - away.square().sum()).clamp(min=0)
    return all_alike(centre + (slack / (len(away) * a)).sqrt() * p if a > 0 else centre, updates)


def _direction(perturbation: str, centre: Tensor, away: Tensor) -> Tensor:
    """p, ``(dim,)`` float64: away from where the honest clients go."""
    match perturbation:
        case "std":
            return -away.square().mean(0).sqrt()
        case "unit":
            return -torch.nn.functional.normalize(centre, dim=0, eps=torch.finfo(centre.dtype).tiny)
        case "sign":
            return -centre.sign()
    raise ValueError(f"the perturbation must be std, unit or sign, got {perturbation!r}")
