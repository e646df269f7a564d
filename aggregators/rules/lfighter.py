"""LFighter: flipped labels show in the output layer, in the rows of the source and the target class.

    classes  the two whose row of weights (with its bias) moves most, summed over the clients
    groups   two, by k-means of the clients' movements of these two rows
    keep     the group of the larger (size / n) (1 - mean over its clients of the least cosine with the rest of it,
             0 counted as one of them)
    answer   the mean of the kept clients' updates

Honest movements differ more from each other than those of clients that flip the same way, so the larger and more
various group is kept. With two classes or fewer the whole output layer is compared. k-means starts from the two
clients farthest apart, so it draws nothing. Clients that all agree form one group, which is kept.

Needs: the layout, with an output layer. Cost: O(n² features) and one pass over the updates.
Source: Jebreel, Domingo-Ferrer, Sánchez, Blanco-Justicia, "LFighter: defending against the label-flipping attack in
federated learning", Neural Networks 170 (2024), and the authors' program (github najeebjebreel/LFighter), from which
the score is.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.norms import cosines, squared_lengths
from flipbench.aggregators.numerics.output_layer import OutputLayer, output_layer
from flipbench.aggregators.numerics.selection import Numbers, mean_of, squares
from flipbench.aggregators.validation import guarded

_ROUNDS = 300  # of k-means, which ends long before


@guarded
def lfighter(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of the better of two groups of clients, by their output layers (Jebreel et al. 2024).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the layout.

    Raises:
        Infeasible: the layout has no output layer.
    """
    layer = output_layer("lfighter", cohort.layout)
    flat = updates.reshape(-1, *updates.shape[-2:])
    kept = torch.stack([_kept(_movements(cell, layer)) for cell in flat])
    return mean_of(updates, kept.reshape(updates.shape[:-1]))


def _movements(cell: Updates, layer: OutputLayer) -> Tensor:
    """What is compared: the rows of the two classes that move most, ``(clients, 2 features)``."""
    n = len(cell)
    rows = cell[:, layer.weight].reshape(n, layer.classes, layer.features)
    if layer.classes <= 2:
        return rows.reshape(n, -1)
    moved = squared_lengths(rows).sqrt().sum(0)  # (classes,)
    if layer.bias is not None:
        moved = moved + cell[:, layer.bias].double().abs().sum(0).to(moved.device)
    order = np.argsort(moved.cpu().numpy(), kind="stable")
    return rows[:, np.sort(order[-2:]).tolist()].reshape(n, -1)


def _kept(movements: Tensor) -> Tensor:
    """Which clients are in the better group, ``(clients,)`` bool."""
    group = _two_means(squares(movements).cpu().numpy())
    if group.all() or not group.any():
        return torch.ones(len(group), dtype=torch.bool)
    alike = cosines(movements).cpu().numpy()
    np.fill_diagonal(alike, 0.0)
    worth = [g.mean() * (1 - alike[np.ix_(g, g)].min(1).mean()) for g in (group, ~group)]
    return torch.from_numpy(group if worth[0] >= worth[1] else ~group)


def _two_means(apart: Numbers) -> NDArray[np.bool_]:
    """One of the two groups of k-means, from squared distances; the two rows farthest apart start them."""
    a, b = np.unravel_index(np.argmax(apart), apart.shape)
    group: NDArray[np.bool_] = apart[a] <= apart[b]
    for _ in range(_ROUNDS):
        if group.all() or not group.any():
            return group
        # ||x_i - mean of g||² from distances: the mean over g, less half the mean within g.
        first, second = (apart[:, g].mean(1) - apart[np.ix_(g, g)].mean() / 2 for g in (group, ~group))
        new: NDArray[np.bool_] = first <= second
        if (new == group).all():
            break
        group = new
    return group
