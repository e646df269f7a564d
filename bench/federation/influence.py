"""How much of each client is in the update: least squares, without help from the rule.

The weights a minimise ||update - sum a_i x_i|| with sum a_i = 1; where several do (duplicates), the ones nearest to
1/n. FedAvg of equal clients gives 1/n each, Krum a one-hot vector.

From the squared distances D between the clients and the update alone: around the clients' mean, the inner products are
-1/2 of D less its means over rows and columns (classical scaling: Torgerson 1952).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.aggregators.numerics.distances import squared_distances
from flipbench.aggregators.validation import all_finite

_RANK = 1e-6  # of the largest eigenvalue: below it a direction is rounding of the float32 products


def influence(updates: Tensor, update: Tensor) -> Tensor:
    """Least-squares weight of each client's update in the server's.

    Args:
        updates: ``(*cells, clients, dim)``.
        update: ``(*cells, dim)``.

    Returns:
        ``(*cells, clients)`` float64 on the CPU, each row summing to 1; NaN where a number is not finite.
    """
    if updates.ndim > 2:  # cell by cell: a batched decomposition depends on its neighbours in the last bits
        cells = updates.shape[:-2]
        flat = zip(updates.flatten(0, -3), update.reshape(-1, update.shape[-1]), strict=True)
        return torch.stack([influence(x, u) for x, u in flat]).view(*cells, -1)
    n = len(updates)
    rows = torch.cat([updates, update.unsqueeze(0)])
    if not all_finite(rows):
        return torch.full((n,), torch.nan, dtype=torch.float64)
    squares = squared_distances(rows).cpu()[:n]  # (clients, clients and the update)
    if not bool(torch.isfinite(squares).all()):
        return torch.full((n,), torch.nan, dtype=torch.float64)
    among = squares[:, :n].mean(1)  # mean squared distance of each client to the clients
    products = -0.5 * (squares - among[:, None] - squares.mean(0) + among.mean())
    inverse: Tensor = torch.linalg.pinv(products[:, :n], rtol=_RANK, hermitian=True)
    return 1.0 / n + inverse @ products[:, n]
