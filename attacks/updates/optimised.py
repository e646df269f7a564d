"""Attacks that try many strengths against the real rule and send the most harmful: the published ones at their best.

    harm(t) = ||rule(honest, malicious send base + t step) - mean(honest)||

The factors t are tried on a grid that doubles nine times up to ``limit`` (both signs for ALIE, because the honest
spread may be skewed; above 0 for IPM, which would help the model otherwise), together with the published default, and
refined twice around the best: by steps of 2^(1/4), then of 2^(1/16), three to each side. Each of the three passes is
one batch to the rule, pre-aggregations included. 31 trials a round for ALIE and 22 for IPM. The last steps are of
2^(1/16), so the factor is found to within about 4 % of a local best; a better one between two doublings may be missed.

The default is among the trials and the best of all trials is sent, so the harm of a round is never below that of the
attack without a search.

Source: the search for the strength is that of Allouah et al. 2023 (Fixing by mixing, experiments) and of Shejwalkar,
Houmansadr 2021 (AGR-tailored attacks); the bases are those of `alie` and `ipm`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.attacks.contract import UpdateContext, declaring
from flipbench.attacks.updates.honest_statistics import all_alike, deviation, finite, mean, positive
from flipbench.attacks.updates.within_variance import hidden_z

DOUBLINGS = 9
STEPS = (1 / 4, 1 / 16)  # exponents of 2 in the two refinements
SIDE = 3  # trials to each side of the best


@declaring("adaptive")
def optimal_alie(updates: Tensor, context: UpdateContext, /, *, limit: float = 64.0) -> Tensor:
    """`alie` with the z that moves the rule's answer farthest from the honest mean, in 31 trials a round.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates and the rule.
        limit: the largest absolute z that is tried.

    Raises:
        ValueError: ``limit`` is not above 0.
        Infeasible: as the rule says.
    """
    positive("optimal_alie", limit=limit)
    honest, grid = finite(context.honest), _grid(limit)
    centre = mean(honest)
    factors = [*_published_z(context, updates), *grid, *(-t for t in grid)]
    return _worst(updates, context, centre, centre, -deviation(honest, centre), factors, limit)


@declaring("adaptive")
def optimal_ipm(updates: Tensor, context: UpdateContext, /, *, limit: float = 64.0) -> Tensor:
    """`ipm` with the epsilon that moves the rule's answer farthest from the honest mean, in 22 trials a round.

    Args:
        updates: ``(malicious, dim)``; only its shape counts.
        context: gives the honest updates and the rule.
        limit: the largest epsilon that is tried.

    Raises:
        ValueError: ``limit`` is not above 0.
        Infeasible: as the rule says.
    """
    positive("optimal_ipm", limit=limit)
    centre = mean(finite(context.honest))
    return _worst(updates, context, centre, torch.zeros_like(centre), -centre, [0.5, *_grid(limit)], limit)


def _grid(limit: float) -> list[float]:
    return [limit * 2.0**-k for k in range(DOUBLINGS)]


def _published_z(context: UpdateContext, updates: Tensor) -> list[float]:
    try:
        return [hidden_z(len(context.honest) + len(updates), len(updates))]
    except Infeasible:  # a majority of malicious clients: the paper has no z
        return []


def _worst(
    updates: Tensor,
    context: UpdateContext,
    centre: Tensor,
    base: Tensor,
    step: Tensor,
    factors: Sequence[float],
    limit: float,
) -> Tensor:
    """The row ``base + t step`` of most harm, sent by all."""
    best, harm = factors[0], -1.0
    for width in (None, *STEPS):
        tried = list(factors) if width is None else _around(best, width, limit)
        for factor, done in zip(tried, _harms(updates, context, centre, base, step, tried), strict=True):
            if done > harm:
                best, harm = factor, done
    return all_alike(base + best * step, updates)


def _around(best: float, width: float, limit: float) -> list[float]:
    """Factors beside the best one, of its sign and within the limit."""
    moves = [j for j in range(-SIDE, SIDE + 1) if j]
    return [max(-limit, min(limit, best * 2.0 ** (j * width))) for j in moves]


def _harms(
    updates: Tensor, context: UpdateContext, centre: Tensor, base: Tensor, step: Tensor, factors: Sequence[float]
) -> list[float]:
    """The harm of each factor; -1 where the rule's answer is not finite, which no server would apply."""
    rows = torch.stack([(base + t * step).to(updates.dtype) for t in factors])  # (trials, dim)
    answers = context.aggregate(rows.unsqueeze(1).expand(-1, len(updates), -1))  # (trials, dim)
    away = (answers - centre).square().sum(-1).sqrt()
    return [float(h) if h < float("inf") else -1.0 for h in away]
