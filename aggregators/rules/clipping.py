"""Limit how far one client can pull: clip what it sends, then average.

    norm_clipping       (1/n) sum_i x_i min(1, radius / ||x_i||)
    centered_clipping   v <- v + (1/n) sum_i (x_i - v) min(1, radius / ||x_i - v||), ``steps`` times, from the last
                        update of the server

A client adds at most radius / n to the answer. A fixed radius belongs to the scale of the updates, which differs
between models and rounds; by default it is the median of the n norms (of the n distances from v, in each step), which
follows the updates and which f < n / 2 malicious clients cannot choose.

Needs: nothing for a fixed radius; 2f < n for the median. Cost: two passes over the updates a step.
Sources: Sun, Kairouz, Suresh, McMahan, "Can you really backdoor federated learning?", 2019 (arXiv:1911.07963; norm
clipping, without the noise that may follow); Karimireddy, He, Jaggi, "Learning from history for Byzantine robust
optimization", ICML 2021 (centered clipping, with a fixed radius).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.norms import lengths
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.validation import guarded, needs_majority, positive, previous_update, whole_number


@guarded
def norm_clipping(updates: Updates, cohort: Cohort, /, *, radius: float | None = None) -> Update:
    """The mean of the updates clipped to a norm (Sun et al. 2019).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f, for the check only.
        radius: the largest norm that is left as it is; null: the median norm.

    Raises:
        Infeasible: without a radius, unless 2f < n.
    """
    if radius is None:
        needs_majority("norm_clipping", updates, cohort)
    factors = clip_factors(lengths(updates), radius)
    return weighted_sum(updates, factors / updates.shape[-2])


@guarded
def centered_clipping(updates: Updates, cohort: Cohort, /, *, radius: float | None = None, steps: int = 1) -> Update:
    """The last update, moved by the mean of the clipped differences from it (Karimireddy et al. 2021).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the last update, and f for the check.
        radius: tau, the largest difference that counts in full; null: the median difference, taken anew in each step.
        steps: how often to repeat from where it got to.

    Raises:
        Infeasible: without a radius, unless 2f < n.
    """
    if radius is None:
        needs_majority("centered_clipping", updates, cohort)
    n, centre = updates.shape[-2], previous_update("centered_clipping", updates, cohort)
    for _ in range(whole_number("steps", steps, least=1)):
        factors = clip_factors(lengths(updates, centre), radius)
        stays = (1 - factors.mean(-1, keepdim=True)).to(updates.device)
        centre = (weighted_sum(updates, factors / n).double() + stays * centre.double()).to(updates.dtype)
    return centre


def clip_factors(norms: Tensor, radius: float | Tensor | None) -> Tensor:
    """By how much vectors of the given lengths ``(*cells, clients)`` shrink: min(1, radius / length).

    Args:
        norms: float64.
        radius: one number, or one a cell ``(*cells, 1)``; null: the median of the cell's lengths.
    """
    if radius is None:
        limit: float | Tensor = norms.quantile(0.5, dim=-1, keepdim=True)
    else:
        limit = radius if isinstance(radius, Tensor) else positive("radius", radius)
    # A length of 0 has nothing to clip.
    return torch.where(norms > limit, limit / norms, torch.ones_like(norms))
