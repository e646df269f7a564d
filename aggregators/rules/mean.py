"""Averages: trust everybody.

    fedavg:  sum_i w_i x_i        mean:  (1/n) sum_i x_i

Needs: nothing. Not robust: one client moves the answer anywhere. Cost: one pass over the updates.
Source: McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017, Algorithm 1.
"""

from __future__ import annotations

import torch

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.validation import guarded, shares


@guarded
def fedavg(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of the updates weighted by the clients' shares of the examples (McMahan et al. 2017).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: its weights sum to 1 over the clients.
    """
    return weighted_sum(updates, shares(updates, cohort))


@guarded
def mean(updates: Updates, cohort: Cohort, /) -> Update:
    """The plain mean of the updates, whatever the clients' shares of the examples.

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: not used.
    """
    n = updates.shape[-2]
    return weighted_sum(updates, torch.full((n,), 1.0 / n, dtype=torch.float64))
