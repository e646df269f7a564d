"""FedNova: updates per effective local step (Wang et al. 2020, Section 4).

The local steps of client i add up to x_i = -lr sum_k a_ik g_ik, in which SGD makes a_ik of momentum and learning rates
alone. FedNova averages the x_i / |a_i|_1 and multiplies by tau_eff = sum_i w_i |a_i|_1. Here each update is multiplied
by tau_eff / |a_i|_1 before the rule: the same for the mean, and what a rule gets stays of the size of an update.
Running statistics are no sum of gradients and stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.training.batches import Batches
from flipbench.training.optimizer import Recipe


def effective_steps(batches: Batches, recipe: Recipe) -> Tensor:
    """|a_i|_1 of each client, ``(cells, clients)`` float64; 0 without examples.

    Args:
        batches: ``(cells, clients, steps, batch)``.
        recipe: SGD, with or without momentum, which begins at 0.
    """
    shape = batches.index.shape[:3]
    made = torch.ones(shape, dtype=torch.float64, device=batches.index.device)
    if batches.counts is not None:
        made = (batches.counts > 0).to(made)
    rates = made if recipe.factors is None else made * recipe.factors.to(made)
    buffer, total = torch.zeros_like(made[..., 0]), torch.zeros_like(made[..., 0])
    nesterov = bool(getattr(recipe.optimiser, "nesterov", False))
    for k in range(shape[2]):
        buffer = torch.where(made[..., k] > 0, recipe.momentum * buffer + 1.0, buffer)
        total += rates[..., k] * (1.0 + recipe.momentum * buffer if nesterov else buffer)
    return total


def normalised(updates: Tensor, steps: Tensor, to: Tensor, learned: int) -> Tensor:
    """Each update times tau_eff / |a_i|_1; one without steps stays 0.

    Args:
        updates: ``(cells, clients, dim)``; changed in place.
        steps: |a_i|_1, ``(cells, clients)`` float64.
        to: tau_eff, ``(cells,)`` float64.
        learned: columns of what is learned; running statistics lie behind.
    """
    factors = torch.where(steps > 0, to.unsqueeze(1) / steps.clamp(min=1e-300), 0.0)
    updates[..., :learned].mul_(factors.to(updates.dtype).unsqueeze(-1))
    return updates
