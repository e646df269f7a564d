"""LFighter: flipped labels show in the output layer, in the rows of the source and the target class.

    classes  the two whose row of weights (with its bias) moves most, summed over the clients
    groups   two, by k-means of the clients' movements of these two rows
    keep     the group of the larger (size / n) (1 - mean over its clients of the least cosine with the rest of it,
             0 counted as one of them)
    answer   the mean of the kept clients' updates

Honest movements differ more from each other than those of clients that flip the same way, so the larger and more
various group is kept. With two classes or fewer the whole output layer is compared. k-means starts ten times, as the
authors' program does with scikit-learn before 1.4 (which changed the default to one start), and the groups of least
squared distance to their means count: first
from the two clients farthest apart, then from pairs drawn as by k-means++ from the cell's seed and the round (the
second client with a chance that grows with its squared distance from the first). Clients that all agree form one group,
which is kept.

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
from flipbench.aggregators.numerics.selection import Numbers, mean_of_kept, squares
from flipbench.aggregators.rng import generators
from flipbench.aggregators.validation import guarded, whole_number

_ROUNDED = 1e-12  # relative difference that rounding makes
_ROUNDS = 300  # of k-means, which ends long before


@guarded
def lfighter(updates: Updates, cohort: Cohort, /, *, starts: int = 10) -> Update:
    """The mean of the better of two groups of clients, by their output layers (Jebreel et al. 2024).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the layout, and seeds and round for the draws.
        starts: of k-means; 1: only that from the two clients farthest apart, which draws nothing.

    Raises:
        Infeasible: the layout has no output layer.
    """
    layer = output_layer("lfighter", cohort.layout, updates.shape[-1])
    times = whole_number("starts", starts, least=1)
    flat = updates.reshape(-1, *updates.shape[-2:])
    draws = generators(cohort, tuple(updates.shape[:-2]), "lfighter")
    kept = torch.stack([_kept(_movements(cell, layer), times, g) for cell, g in zip(flat, draws, strict=True)])
    return mean_of_kept(updates, cohort, kept.reshape(updates.shape[:-1]))


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


def _kept(movements: Tensor, starts: int, draws: torch.Generator) -> Tensor:
    """Which clients are in the better group, ``(clients,)`` bool."""
    apart = squares(movements).cpu().numpy()
    group = _two_means(apart, *_farthest(apart))
    spread = _spread(apart, group)
    for _ in range(starts - 1 if spread > 0 else 0):
        other = _two_means(apart, *_drawn(apart, draws))
        if _spread(apart, other) < (1 - _ROUNDED) * spread:
            group, spread = other, _spread(apart, other)
    if group.all() or not group.any():
        return torch.ones(len(group), dtype=torch.bool)
    alike = cosines(movements).cpu().numpy()
    np.fill_diagonal(alike, 0.0)
    worth = [g.mean() * (1 - alike[np.ix_(g, g)].min(1).mean()) for g in (group, ~group)]
    return torch.from_numpy(group if worth[0] >= worth[1] else ~group)


def _farthest(apart: Numbers) -> tuple[int, int]:
    """The two rows farthest apart."""
    a, b = np.unravel_index(np.argmax(apart), apart.shape)
    return int(a), int(b)


def _drawn(apart: Numbers, draws: torch.Generator) -> tuple[int, int]:
    """Two different rows: the second with a chance that grows with its squared distance from the first."""
    a = int(torch.randint(len(apart), (), generator=draws))
    chances = torch.from_numpy(apart[a] / max(apart[a].max(), np.finfo(np.float64).tiny))
    if not bool(chances.any()):  # all equal this row
        return _farthest(apart)
    return a, int(torch.multinomial(chances, 1, generator=draws))


def _spread(apart: Numbers, group: NDArray[np.bool_]) -> float:
    """The sum of squared distances to the means of both groups."""
    parts = (g for g in (group, ~group) if g.any())
    return float(sum(apart[np.ix_(g, g)].sum() / (2 * g.sum()) for g in parts))


def _two_means(apart: Numbers, a: int, b: int) -> NDArray[np.bool_]:
    """One of the two groups of k-means, from squared distances; the rows a and b start them."""
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
