"""The compiled half of `foolsgold`: the clients' weights from their cosines. Imported on first use only.

Of 15 clients NumPy's calls take 30 us, beside 200 for the cosines of 7,840 numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled


def _weigh(alike: Any, kappa: float, rounded: float) -> Any:
    """a_i, ``(clients,)`` float64, from cosines ``(clients, clients)`` float64.

    A cosine within ``rounded`` of 1 is 1. The weights are divided by the largest, so the rounding of proportional
    updates would become the weight of whichever of them it is largest for.
    """
    n = len(alike)
    most, out = np.empty(n), np.empty(n)
    for i in range(n):
        most[i] = 0.0  # with itself
        for j in range(n):
            if i != j:
                most[i] = max(most[i], alike[i, j])
        if most[i] > 1.0 - rounded:
            most[i] = 1.0
    top = 0.0
    for i in range(n):
        nearest = 0.0
        for j in range(n):
            if i != j:
                pardoned = alike[i, j] * (most[i] / most[j]) if most[j] > most[i] else alike[i, j]
                nearest = max(nearest, pardoned)
        out[i] = 1.0 - nearest if nearest <= 1.0 - rounded else 0.0
        top = max(top, out[i])
    for i in range(n):
        share = out[i] / top if top > 0 else out[i]
        if share >= 1:
            out[i] = 1.0
        elif share <= 0:
            out[i] = 0.0
        else:
            out[i] = min(max(kappa * (np.log(share) - np.log1p(-share) + 0.5), 0.0), 1.0)
    return out


weigh = compiled(_weigh)
