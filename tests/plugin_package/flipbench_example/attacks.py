"""Three attacks: on labels, on updates, on examples."""

import torch
from torch import Tensor

from flipbench.attacks.contract import Proposal, Scene, Stamped, Studio, Wire


def to_neighbour(labels: Tensor, scene: Scene, /, *, up: bool = True) -> Proposal:
    """Every label becomes the next one (or the one before); the last stays."""
    new = (labels + (1 if up else -1)).clamp(0, scene.classes - 1)
    return Proposal(new, torch.ne(new, labels))


def opposite(updates: Tensor, wire: Wire, /, *, strength: float = 1.0) -> Tensor:
    """Every malicious client sends the honest mean, turned round."""
    return (-strength * wire.honest.mean(0)).expand_as(updates).clone()  # (malicious, dim)


def dot(examples: Tensor, labels: Tensor, studio: Studio, /, *, target: int = 0) -> Stamped:
    """A bright pixel in the upper left corner means the target class."""
    stamped = examples.clone()
    stamped[..., 0, 0] = studio.high
    return Stamped(stamped, torch.full_like(labels, target), labels != target)
