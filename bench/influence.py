"""How much of each client is in the update: least squares, without help from the rule.

The weights a minimise ||update - sum a_i x_i|| with sum a_i = 1; where several do (duplicates), the ones nearest to
1/n. FedAvg of equal clients gives 1/n each, Krum a one-hot vector.
"""

from __future__ import annotations

import torch
from torch import Tensor

_COLUMNS = 8192  # of a block in float64: it stays in the processor's cache


def influence(updates: Tensor, update: Tensor) -> Tensor:
    """Least-squares weight of each client's update in the server's.

    Args:
        updates: ``(*cells, clients, dim)``.
        update: ``(*cells, dim)``.

    Returns:
        ``(*cells, clients)`` float64 on the CPU, each row summing to 1; NaN where a number is not finite.
    """
    if updates.ndim > 2:  # cell by cell: a batched float64 product depends on its neighbours in the last bits
        cells = updates.shape[:-2]
        flat = zip(updates.flatten(0, -3), update.reshape(-1, update.shape[-1]), strict=True)
        return torch.stack([influence(x, u) for x, u in flat]).view(*cells, -1)
    n = len(updates)
    centre = updates.mean(0)
    # The update as one row more: a single product gives the clients' Gram matrix and what the update shares with them.
    rows = torch.cat([updates, update.unsqueeze(0)])
    gram = torch.zeros(n + 1, n + 1, dtype=torch.float64, device=updates.device)
    for low in range(0, updates.shape[1], _COLUMNS):
        columns = slice(low, low + _COLUMNS)
        # Centred before the products: weights differ by 1e-4 of their size, and so would the Gram matrix.
        x = rows[:, columns].double().sub_(centre[columns])
        gram.addmm_(x, x.mT)
    gram, towards = gram.cpu()[:n, :n], gram.cpu()[:n, n]
    if not bool(torch.isfinite(gram).all() & torch.isfinite(towards).all()):
        return torch.full((n,), torch.nan, dtype=torch.float64)
    inverse: Tensor = torch.linalg.pinv(gram, rtol=1e-9, hermitian=True)
    return 1.0 / n + inverse @ towards
