"""A federation of a few clients on four noisy prototypes, and parts of it that several tests use."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort
from flipbench.federation.task import Task

CLASSES, SHAPE = 4, (1, 6, 6)


FACTS: dict[str, Any] = {"clients": 6, "rounds": 4, "learning_rate": 0.3, "batch_size": 5, "local_steps": 3}


def blobs(number: int = 150, seed: int = 0) -> tuple[Task, Tensor]:
    """Four noisy prototypes: learnable in a few steps."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.rand(CLASSES, *SHAPE, generator=g)
    y = torch.randint(CLASSES, (number + 60,), generator=g)
    x = centres[y] + 0.2 * torch.randn(number + 60, *SHAPE, generator=g)
    return Task(x[:number], x[number:], y[number:], CLASSES), y[:number]


def uneven(labels: Tensor, clients: int, draws: torch.Generator) -> list[Tensor]:
    """Sizes 1, 2, ... in turn; the last client takes the rest."""
    order = torch.randperm(len(labels), generator=draws)
    cuts = [0, *[sum(range(1, c + 2)) for c in range(clients - 1)], len(labels)]
    return [order[a:b].sort().values for a, b in pairwise(cuts)]


def mirror(labels: Tensor, context: Any) -> Any:
    from flipbench.attacks import mirrored

    return mirrored(labels, context)


def fedavg(updates: Tensor, cohort: Cohort) -> Tensor:
    return (cohort.weights.unsqueeze(-1) * updates).sum(-2)
