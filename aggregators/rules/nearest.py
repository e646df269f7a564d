"""Trust what lies near the middle, one coordinate at a time: meamed and phocas.

    meamed:  the mean of the n - f values nearest to the median
    phocas:  the mean of the n - f values nearest to the trimmed mean (f values dropped on each side)

Of two values equally far from the centre the lower one counts. Needs: 2f < n.
Cost: one sort a coordinate, in one pass over the updates.
Source: Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018 (arXiv:1802.10116; mean around median); Xie,
Koyejo, Gupta, "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018 (arXiv:1805.09682).
"""

from __future__ import annotations

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.order_statistics import nearest_mean
from flipbench.aggregators.numerics.selection import needs_majority
from flipbench.aggregators.validation import guarded


@guarded
def meamed(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of each coordinate's n - f values nearest to its median (Xie et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("meamed", updates, cohort)
    return nearest_mean(updates, n - f, (n - 1) // 2, n // 2 + 1)


@guarded
def phocas(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of each coordinate's n - f values nearest to its trimmed mean (Xie et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("phocas", updates, cohort)
    return nearest_mean(updates, n - f, f, n - f)
