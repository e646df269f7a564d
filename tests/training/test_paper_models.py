"""Models of papers have the published sizes, and initial weights are drawn as said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flipbench.training import initialisation, models


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"channels": [16, 32], "hidden": [128]}, 80_202),  # Lolli
        ({"channels": [10, 20], "hidden": [50], "channel_dropout": 0.5, "dropout": 0.5}, 21_840),  # LFighter
        ({"channels": [16, 32], "padding": 2, "hidden": [], "norm": "batch"}, 29_034),  # Tolpegin, Fashion-MNIST
        ({"channels": [30, 50], "kernel": 3, "hidden": [200]}, 266_060),  # Fang, Table 2b
    ],
)
def test_networks_of_papers_have_the_published_sizes(options: dict[str, Any], number: int) -> None:
    net = models.cnn((1, 28, 28), 10, **options)
    assert sum(p.numel() for p in net.parameters()) == number
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_dropout_stands_where_the_example_network_of_pytorch_has_it() -> None:
    net = models.cnn((1, 28, 28), 10, channels=[10, 20], hidden=[50], channel_dropout=0.5, dropout=0.25)
    kinds = [type(m) for m in net]
    block = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds == [*block, *block, nn.Dropout2d, nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [m.p for m in net if "Dropout" in type(m).__name__] == [0.5, 0.25]
    for wrong in ({"dropout": 1.0}, {"channel_dropout": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            models.cnn((1, 28, 28), 10, **wrong)


INITIAL: dict[str, tuple[Any, Callable[[Tensor, int, int], bool]]] = {
    "zeros": (initialisation.zeros, lambda w, i, o: not bool(w.any())),
    "normal": (lambda w: initialisation.normal(w, std=3.0), lambda w, i, o: 2.6 < float(w.std()) < 3.4),
    "uniform": (
        initialisation.uniform,
        lambda w, i, o: 0 <= float(w.min()) < 1e-3 and 0.009 < float(w.max()) <= 0.01,
    ),
    "xavier": (
        lambda w: initialisation.xavier(w, magnitude=1.0),
        lambda w, i, o: 0.9 * (2 / (i + o)) ** 0.5 < float(w.abs().max()) <= (2 / (i + o)) ** 0.5,
    ),
}


@pytest.mark.parametrize("name", INITIAL)
def test_initial_weights_are_drawn_as_said_and_by_the_seed(name: str) -> None:
    draw, holds = INITIAL[name]

    def make(shape: models.Shape, classes: int) -> nn.Module:
        return models.cnn(shape, classes, channels=[60], kernel=3, hidden=[30], norm="batch")

    nets = [models.build(make, (1, 12, 12), 10, seed, draw) for seed in (0, 0, 1)]
    for layer, again, other in zip(*nets, strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            assert bool((layer.weight == 1).all())
        elif hasattr(layer, "weight"):
            field = layer.weight[0, 0].numel()
            assert holds(layer.weight.detach(), layer.weight.shape[1] * field, layer.weight.shape[0] * field)
            assert not bool(layer.bias.any())
            assert torch.equal(layer.weight, again.weight)
            assert torch.equal(layer.weight, other.weight) == (name == "zeros")


@pytest.mark.parametrize(
    ("draw", "options"),
    [
        (initialisation.normal, {"std": 0.0}),
        (initialisation.uniform, {"low": 1.0, "high": 1.0}),
        (initialisation.xavier, {"magnitude": -1.0}),
    ],
)
def test_draws_that_cannot_be_are_refused(draw: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        draw(torch.zeros(2, 2), **options)
