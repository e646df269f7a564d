"""Models, weights and batches of a few clients, on which training in lockstep is tested."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flipbench.training import flat_parameters as vectors
from flipbench.training import models
from flipbench.training.batches import Batches
from flipbench.training.executors import choice
from flipbench.training.layers.stacked_model import Stacked

CLASSES, SHAPE = 5, (1, 12, 12)


class Odd(nn.Module):
    """A plug-in model that no stacked layer knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.scale, self.last = nn.Linear(144, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, CLASSES)
        self.register_buffer("shift", torch.full((6,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x.flatten(1)) * self.scale + self.shift))


def beside(model: nn.Module) -> nn.Module:
    """The same with a buffer and a parameter that nothing uses: they are sent as they came."""
    model.register_buffer("unused_buffer", torch.full((3,), 0.5))
    model.register_parameter("unused", nn.Parameter(torch.full((2, 2), 0.25)))
    return model


MODELS = {
    "softmax": lambda s, c: models.softmax(s, c),
    "softmax without bias": lambda s, c: models.softmax(s, c, bias=False),
    "softmax beside unused numbers": lambda s, c: beside(models.softmax(s, c)),
    "mlp beside unused numbers": lambda s, c: beside(models.mlp(s, c, widths=[9])),
    "mlp": lambda s, c: models.mlp(s, c, widths=[9, 7]),
    "cnn": lambda s, c: models.cnn(s, c, channels=[3, 6], kernel=3, hidden=[8]),
    "cnn with batch norm": lambda s, c: models.cnn(
        s, c, channels=[3, 6], kernel=3, hidden=[8], norm="batch", padding=1
    ),
    "strided": lambda s, c: nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1, dilation=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, dilation=2),
        nn.Flatten(),
        nn.Linear(16, c),
    ),
    "unknown module": lambda s, c: Odd(),
}


def stacked(model: nn.Module, shape: tuple[int, ...] = SHAPE, classes: int = CLASSES) -> Stacked:
    """The executor of a model."""
    return choice.stack(model, shape, classes)


def case(name: str, steps: int, uneven: bool) -> tuple[nn.Module, Tensor, Tensor, Batches]:
    g = torch.Generator().manual_seed(3)
    model = models.build(MODELS[name], SHAPE, CLASSES, 7)
    dim = vectors.dimension(vectors.layout_of(model))
    start = vectors.flatten(model) + 0.01 * torch.rand(2, dim, generator=g)  # two cells
    x = torch.rand(40, *SHAPE, generator=g)
    index = torch.randint(40, (2, 4, steps, 6), generator=g)
    labels = torch.randint(CLASSES, index.shape, generator=g)
    counts = None
    if uneven:
        counts = torch.full((2, 4, steps), 6)
        counts[0, 0, steps - 1] = 2  # a smaller last batch
        counts[0, 2, 1:] = 0  # fewer steps
        counts[1, 1] = 0  # no examples at all
    return model, start, x, Batches(index, labels, counts)
