"""FLTrust: trust whoever goes where the server itself would go.

    trust_i = max(0, cos(x_i, g)),   g the server's own update on its root data
    answer  = sum_i trust_i (||g|| / ||x_i||) x_i / sum_i trust_i

Every update is brought to the length of the server's own, so only its direction counts. Where no client is trusted the
answer is 0: the server waits for the next round. An update of length 0 has no direction and no trust.

Needs: root data. Cost: a few passes over the updates and one copy of them.
Source: Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust federated learning via trust bootstrapping", NDSS 2021, §IV,
Algorithm 2.
"""

from __future__ import annotations

import torch

from flipbench.aggregators.contract import Cohort, Update, Updates
from flipbench.aggregators.numerics.norms import cosines_to, lengths
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.validation import guarded, trusted_update


@guarded
def fltrust(updates: Updates, cohort: Cohort, /) -> Update:
    """The updates at the length of the server's own, weighted by their cosine with it (Cao et al. 2021).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives the server's own update.

    Raises:
        Infeasible: there is no root data.
    """
    own = trusted_update("fltrust", updates, cohort)
    trust = cosines_to(updates, own).clamp(min=0)  # (*cells, clients)
    total = trust.sum(-1, keepdim=True)
    norms = lengths(updates)
    scale = lengths(own.unsqueeze(-2)) / torch.where(norms > 0, norms, torch.inf)
    return weighted_sum(updates, torch.where(total > 0, trust * scale / total, 0))
