"""Running variances of batch normalisation: part of the model's vector, and kept from below zero after a server step.

A client's running variance is a mean of variances and never negative, so that FedAvg with a learning rate of 1 keeps it
from below zero. Server momentum, a server learning rate above 1, a malicious client or a rule that answers no mean of
its inputs may push it below, and 1 / sqrt(variance + eps) is then no number. After each server step

    v <- max(v, 0)   for every running variance v of the global model,

which changes nothing where all are positive; how many were set to zero is stored round by round. The momentum of the
server stays as it is. That the statistics take part in server momentum at all follows from sending the model as one
vector, as public implementations of FedAvgM do (Hsu et al. 2019 evaluate without batch normalisation); FedBN (Li et al.
2021) keeps them at the clients instead, and models with group or layer normalisation have none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Layout


def places_of(model: nn.Module, layout: Layout) -> list[slice]:
    """Where the running variances of a model lie in its vector.

    Args:
        model: whose.
        layout: of its vector.
    """
    norms = ((n, m) for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    names = (f"{name}.running_var" if name else "running_var" for name, _ in norms)
    return [layout[name][0] for name in names if name in layout]


@torch.no_grad()
def clamp(weights: Tensor, places: list[slice]) -> list[int]:
    """Set negative running variances to zero, in place.

    Args:
        weights: ``(cells, dim)``, the global models.
        places: of `places_of`.

    Returns:
        For each cell how many were negative.
    """
    number = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    for place in places:
        own = weights[:, place]
        below = own < 0  # NaN is not: it stays, and the model then makes no prediction
        number += below.sum(1)
        own.masked_fill_(below, 0.0)
    return [int(n) for n in number.tolist()]
