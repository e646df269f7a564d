"""FLAME: a majority that points the same way, clipped to the median length, and a little noise.

    admitted  by cosine distance 1 - cos of the clients' models (global model + update): links between clients are made
              from the nearest pair upwards until more than half of all clients hang together; those are admitted
    clipped   x_i min(1, S / ||x_i||), S the median of all n norms
    answer    mean of the admitted, clipped updates + N(0, (noise S)²) in every coordinate

This is what HDBSCAN with clusters of at least floor(n / 2) + 1, one neighbour and a single cluster allowed comes to: of
two parts of a cluster at most one can have a majority, so the tree has no branch, and its one cluster is the last
majority that hangs together. Links that differ by rounding alone are made together. The noise is drawn from the cell's
seed and the round.

The paper compares local models. Much public code compares updates (``compare='updates'``), which point in far more
different directions: a model is mostly the global model, and its cosine distances are of the order of squared updates.

Needs: a malicious minority, 2f < n. Cost: O(n² d), and a copy of the updates.
Source: Nguyen et al., "FLAME: taming backdoors in federated learning", USENIX Security 2022, Algorithm 1 (there
noise = 0.001 for images).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from flipbench.aggregators.cohort_checks import check_vector
from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.norms import angular_distances, lengths
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.selection import Numbers, each_cell
from flipbench.aggregators.rng import generators
from flipbench.aggregators.rules.clipping import clip_factors
from flipbench.aggregators.validation import guarded, needs_majority

_ALIKE = 1e-9  # relative differences below it are rounding: such links have one length
_NONE = 1e-30  # what rounding makes of the distance of proportional updates, which is 0


@guarded
def flame(
    updates: Updates, cohort: Cohort, /, *, noise: float = 0.001, compare: Literal["models", "updates"] = "models"
) -> Update:
    """The clipped mean of the majority that points the same way, plus noise (Nguyen et al. 2022).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f for the check, the global model, and seeds and round for the noise.
        noise: standard deviation of the noise in units of the median norm; 0: none.
        compare: whose directions: the clients' models, as printed, or their updates. Without a global model (zeros, as
            outside a federation) the two are the same.

    Raises:
        Infeasible: unless 2f < n.
    """
    if isinstance(noise, bool) or not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be at least 0, got {noise!r}")
    if compare not in ("models", "updates"):
        raise ValueError(f"compare must be models or updates, got {compare!r}")
    needs_majority("flame", updates, cohort)
    chosen = admitted(updates, cohort, compare)
    cohort.tell_kept(chosen)
    norms = lengths(updates)
    factors = clip_factors(norms, None) * chosen
    answer = weighted_sum(updates, factors / chosen.sum(-1, keepdim=True))
    if noise == 0:
        return answer
    cells = tuple(updates.shape[:-2])
    draws = [torch.randn(updates.shape[-1], generator=g) for g in generators(cohort, cells, "flame")]
    spread = noise * norms.quantile(0.5, dim=-1, keepdim=True)  # (*cells, 1)
    return answer + (torch.stack(draws).reshape(answer.shape).to(spread) * spread).to(answer)


def admitted(updates: Updates, cohort: Cohort, compare: Literal["models", "updates"]) -> torch.Tensor:
    """Which clients are admitted, ``(*cells, clients)`` bool; the arguments are those of `flame`."""
    apart = angular_distances(updates.double() if compare == "updates" else _models(updates, cohort))
    return each_cell(_majority, apart, cells=apart.ndim - 2).to(updates.device)


def _models(updates: Updates, cohort: Cohort) -> Updates:
    """The clients' models, ``(*cells, clients, dim)``, in float64: beside a model, an update has few digits in float32.

    Raises:
        ValueError: a model of another shape, or one that is not finite.
    """
    model = cohort.model
    if not model.ndim and not float(model):
        return updates.double()
    check_vector("model", model, updates)
    return updates.double() + model.unsqueeze(-2).to(updates.device, torch.float64)


def _majority(apart: Numbers) -> NDArray[np.bool_]:
    """The first group of more than half of the clients to hang together as links grow longer."""
    n = len(apart)
    group = np.arange(n)
    rows, columns = np.triu_indices(n, 1)
    order = np.argsort(apart[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    links = apart[rows, columns]
    for at in range(len(order)):
        group[group == group[columns[at]]] = group[rows[at]]
        if at + 1 < len(order) and links[at + 1] <= (1 + _ALIKE) * links[at] + _NONE:
            continue  # links of one length are made together
        sizes = np.bincount(group, minlength=n)
        if 2 * sizes.max() > n:
            return np.asarray(group == sizes.argmax())
    return np.ones(n, dtype=bool)
