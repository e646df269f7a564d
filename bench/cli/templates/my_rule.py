"""my_rule: the mean of the n - f updates that lie nearest to the coordinate-wise median."""

import torch

from flipbench.aggregators import Cohort, Infeasible, median
from flipbench.aggregators.validation import guarded


@guarded  # leaves out updates that hold a NaN or an infinity, and lowers f
def my_rule(updates: torch.Tensor, cohort: Cohort, /, *, spare: int = 0) -> torch.Tensor:
    """Mean of the n - f - spare updates nearest to the median; needs f + spare < n / 2."""
    n, gone = updates.shape[-2], cohort.byzantine + spare  # updates: (*cells, clients, dim), one row a client
    if 2 * gone >= n:  # not a crash but a result: a dash in tables, hatched in heatmaps
        raise Infeasible(f"my_rule needs n > 2 (f + spare) = {2 * gone} clients, got {n}")
    far = (updates - median(updates, cohort).unsqueeze(-2)).square().sum(-1)  # (*cells, clients)
    order = far.argsort(dim=-1, stable=True)  # stable: ties go to the lower row
    near = order[..., : n - gone].unsqueeze(-1)  # (*cells, kept, 1)
    kept = updates.gather(-2, near.expand(*near.shape[:-1], updates.shape[-1]))  # a copy: never change the updates
    return kept.mean(-2)  # (*cells, dim): the step that the server takes
