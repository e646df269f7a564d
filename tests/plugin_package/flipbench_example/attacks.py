"""Three attacks: on labels, on updates, on examples."""

import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, LabelContext, Proposal, Stamped, UpdateContext


def to_neighbour(labels: Tensor, context: LabelContext, /, *, up: bool = True) -> Proposal:
    """Every label becomes the next one (or the one before); the last stays."""
    new = (labels + (1 if up else -1)).clamp(0, context.classes - 1)
    return Proposal(new, torch.ne(new, labels))


def opposite(updates: Tensor, context: UpdateContext, /, *, strength: float = 1.0) -> Tensor:
    """Every malicious client sends the honest mean, turned round."""
    return (-strength * context.honest.mean(0)).expand_as(updates).clone()  # (malicious, dim)


def dot(examples: Tensor, labels: Tensor, context: ExampleContext, /, *, target: int = 0) -> Stamped:
    """A bright pixel in the upper left corner means the target class."""
    stamped = examples.clone()
    stamped[..., 0, 0] = context.high
    return Stamped(stamped, torch.full_like(labels, target), labels != target)
