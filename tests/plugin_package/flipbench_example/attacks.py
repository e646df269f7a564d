"""A label flip."""

import torch
from torch import Tensor

from attacks.contract import Proposal, Scene


def to_neighbour(labels: Tensor, scene: Scene, /, *, up: bool = True) -> Proposal:
    """Every label becomes the next one (or the one before); the last stays."""
    new = (labels + (1 if up else -1)).clamp(0, scene.classes - 1)
    return Proposal(new, torch.ne(new, labels))
