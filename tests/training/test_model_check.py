"""What a model plug-in may be: every kind of network works as PyTorch says, or is refused with what to write."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from flipbench.training import flat_parameters as vectors
from flipbench.training import models
from flipbench.training.batches import Batches
from flipbench.training.evaluation import confusion
from flipbench.training.executors import choice
from flipbench.training.initialisation import initialise, normal
from flipbench.training.inputs import Inputs
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.model_check import UnfitModelError, check_behaviour, check_parts
from flipbench.training.optimizer import Recipe

SHAPE, L = (1, 6, 6), 4
Make = Callable[[Any, int], nn.Module]


def net(forward: Callable[..., Tensor], prepare: Callable[[Any], None] = lambda self: None) -> Make:
    """A model of two linear layers whose forward pass is a function."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(36, 8), nn.Linear(8, L)
            prepare(self)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x.flatten(1))

    return lambda shape, classes: Net()


def plain(self: Any, x: Tensor) -> Tensor:
    return self.last(torch.relu(self.first(x)))


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), *layers, nn.Linear(8, L))


def frozen(model: nn.Module, *names: str) -> nn.Module:
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def _tie(self: Any) -> None:
    self.middle = nn.Linear(8, 8)
    self.again = nn.Linear(8, 8)
    self.again.weight = self.middle.weight


def _twice(shape: Any, classes: int) -> nn.Module:
    same, relu = nn.Linear(8, 8), nn.ReLU()
    return chain(relu, same, relu, same, relu)


def _hooked(shape: Any, classes: int) -> nn.Module:
    model = chain(nn.ReLU())
    model[1].register_forward_hook(lambda module, given, y: 2 * y)
    return model


def _own_forward(shape: Any, classes: int) -> nn.Module:
    model = chain(nn.ReLU())
    model[1].forward = MethodType(lambda self, x: F.linear(x, 3 * self.weight), model[1])
    return model


WORK: dict[str, Make] = {
    "a layer on top is frozen": lambda s, c: frozen(chain(nn.ReLU()), "3.weight", "3.bias"),
    "the first layer is frozen": lambda s, c: frozen(chain(nn.ReLU()), "1.weight", "1.bias"),
    "one bias is frozen": lambda s, c: frozen(chain(nn.ReLU()), "3.bias"),
    "regression with a frozen bias": lambda s, c: frozen(nn.Sequential(nn.Flatten(), nn.Linear(36, L)), "1.bias"),
    "a frozen convolution": lambda s, c: frozen(models.cnn(s, c, channels=[2], kernel=3, hidden=[8]), "0.weight"),
    "batch norm with a frozen scale": lambda s, c: frozen(
        models.cnn(s, c, channels=[2], kernel=3, hidden=[8], norm="batch"), "1.weight"
    ),
    "frozen outside of a chain": net(plain, lambda self: self.first.requires_grad_(False) and None),
    "tied weights": net(lambda self, x: self.last(torch.tanh(self.again(self.middle(self.first(x))))), _tie),
    "layers that stand in a chain twice": _twice,
    "an activation that stands in a chain twice": lambda s, c: chain(*[nn.ReLU()] * 2, nn.Linear(8, 8)),
    "a parameter that is not used": net(plain, lambda self: self.register_parameter("p", nn.Parameter(torch.ones(3)))),
    "weight norm": lambda s, c: nn.Sequential(
        nn.Flatten(), parametrizations.weight_norm(nn.Linear(36, 8)), nn.ReLU(), nn.Linear(8, L)
    ),
    "a forward hook": _hooked,
    "a forward of its own": _own_forward,
    "layer norm": lambda s, c: chain(nn.LayerNorm(8), nn.GELU()),
    "group norm": lambda s, c: nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, c)),
    "a float buffer": net(
        lambda self, x: plain(self, (x - self.mean) / 0.3), lambda self: self.register_buffer("mean", torch.rand(36))
    ),
    "an integer buffer": net(
        lambda self, x: plain(self, x[:, self.order]), lambda self: self.register_buffer("order", torch.randperm(36))
    ),
    "an integer parameter": net(
        lambda self, x: plain(self, x[:, self.order]),
        lambda self: self.register_parameter("order", nn.Parameter(torch.randperm(36), requires_grad=False)),
    ),
    "a tensor as an attribute": net(
        lambda self, x: plain(self, x * self.mask), lambda self: setattr(self, "mask", torch.rand(36).round())
    ),
    "another path in training": net(lambda self, x: plain(self, x) * (1.0 if self.training else 0.5)),
    "a linear layer on images": lambda s, c: nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, c)),
    "a gradient hook": lambda s, c: _gradient_hook(s, c),
    "a backward hook": lambda s, c: _backward_hook(s, c),
    "batch norm behind a linear layer": lambda s, c: chain(nn.BatchNorm1d(8), nn.ReLU()),
    "instance norm with statistics": lambda s, c: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, track_running_stats=True), nn.Flatten(), nn.Linear(32, c)
    ),
    "a buffer that forward moves": net(
        lambda self, x: _averages(self, x), lambda self: self.register_buffer("mean", torch.zeros(36))
    ),
    "spectral norm": lambda s, c: chain(parametrizations.spectral_norm(nn.Linear(8, 8))),
    "it writes into its input": lambda s, c: _in_place(s, c),
    "a mean over the batch in training": net(lambda self, x: plain(self, x - x.mean(0) if self.training else x)),
    "it branches on values": net(lambda self, x: plain(self, x) if x.sum() > 90 else plain(self, -x)),
    "NumPy in forward": net(lambda self, x: plain(self, torch.from_numpy(x.detach().numpy() * 2))),
    "it keeps its input": net(lambda self, x: _keeps(self, x)),
    "a nested chain": lambda s, c: nn.Sequential(
        nn.Flatten(), nn.Linear(36, L), nn.Sequential(nn.ReLU()), nn.Linear(L, L)
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_it_trains_and_is_evaluated_as_pytorch_does(name: str) -> None:
    check_parts(models.build(WORK[name], SHAPE, L, 1))
    check_behaviour(WORK[name], SHAPE, L)
    model = models.build(WORK[name], SHAPE, L, 1)
    where, start = vectors.layout_of(model), vectors.flatten(model).unsqueeze(0)
    g = torch.Generator().manual_seed(3)
    x, index, labels = torch.rand(30, *SHAPE, generator=g), torch.randint(30, (1, 3, 2, 5), generator=g), None
    labels = torch.randint(L, index.shape, generator=g)
    for steps, momentum in ((1, 0.0), (2, 0.9)):
        keys = torch.arange(3 * steps).view(1, 3, steps)
        batches = Batches(index[:, :, :steps], labels[:, :, :steps], None, keys=keys)
        work = LocalRound(choice.stack(model, SHAPE, L), where, start, Inputs(x), batches, Recipe(0.1, momentum, 0.05))
        got = train(work)
        for client in range(3):
            twin = models.build(WORK[name], SHAPE, L, 1)
            sgd = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=momentum, weight_decay=0.05)
            for step in range(steps):
                sgd.zero_grad()
                F.cross_entropy(twin(x[index[0, client, step]]), labels[0, client, step]).backward()
                sgd.step()
            want = vectors.flatten(twin) - start[0]
            torch.testing.assert_close(got[0, client], want, rtol=1e-3, atol=2e-5)
    predicted = models.build(WORK[name], SHAPE, L, 1).eval()(x.clone()).argmax(1)
    counts = confusion(choice.stack(model, SHAPE, L), where, start, x, torch.zeros(30, dtype=torch.int64), L)
    assert counts[0, 0, :L].tolist() == torch.bincount(predicted, minlength=L).tolist()


def test_frozen_parameters_are_not_in_the_vector() -> None:
    model = frozen(chain(nn.ReLU()), "1.weight", "1.bias")
    assert list(vectors.layout_of(model)) == ["3.weight", "3.bias"]
    before = model[1].weight.clone()
    initialise(model, normal)  # the field `initialisation` leaves them as the model made them
    assert torch.equal(model[1].weight, before)
    assert model[3].bias.abs().max() == 0


def _counts(self: Any, x: Tensor) -> Tensor:
    self.calls += 1
    return plain(self, x)


def _keeps(self: Any, x: Tensor) -> Tensor:
    self.seen = x
    return plain(self, x)


def _averages(self: Any, x: Tensor) -> Tensor:
    if self.training:
        self.mean.mul_(0.9).add_(0.1 * x.mean(0))
    return plain(self, x - self.mean)


def _always_averages(self: Any, x: Tensor) -> Tensor:
    self.mean.mul_(0.9).add_(0.1 * x.mean(0))
    return plain(self, x - self.mean.detach())


def _sums(self: Any, x: Tensor) -> Tensor:
    self.sum = self.sum + float(x.sum())
    return plain(self, x)


def _late(self: Any, x: Tensor) -> Tensor:
    before, self.seen = self.seen, x
    return plain(self, x if before is None else x + before.mean())


def _counted(self: Any, x: Tensor) -> Tensor:
    if self.training:
        self.calls += 1
    return plain(self, x)


def _refer(self: Any) -> None:
    weight = self.first.weight
    self.same = lambda x: F.linear(x, weight)


def _by_reference(self: Any, x: Tensor) -> Tensor:
    return self.last(self.same(x))


def _in_place(shape: Any, classes: int) -> nn.Module:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(36, L)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x.sub_(0.5).flatten(1))

    return Shift()


def _gradient_hook(shape: Any, classes: int) -> nn.Module:
    model = chain(nn.ReLU())
    model[1].weight.register_hook(lambda g: 0 * g)
    return model


def _backward_hook(shape: Any, classes: int) -> nn.Module:
    model = chain(nn.ReLU())
    model[1].register_full_backward_hook(lambda *_: None)
    return model


def _empty(self: Any) -> None:
    self.scale = nn.Parameter(torch.full((8,), float("nan")))


REFUSED: dict[str, tuple[Make, str]] = {
    "lazy": (lambda s, c: nn.Sequential(nn.Flatten(), nn.LazyLinear(c)), "give its lazy layer the sizes"),
    "double": (lambda s, c: chain(nn.ReLU()).double(), "trained in torch.float32"),
    "half": (lambda s, c: chain(nn.ReLU()).half(), "trained in torch.float32"),
    "all frozen": (lambda s, c: chain(nn.ReLU()).requires_grad_(False), "no parameter that requires a gradient"),
    "no parameters": (lambda s, c: nn.Flatten(), "no parameter that requires a gradient"),
    "evaluation mode": (lambda s, c: chain(nn.Dropout(0.5)).eval(), "return it without .eval()"),
    "one layer in evaluation mode": (lambda s, c: chain(nn.Dropout(0.5).eval()), "layer 2 (Dropout) is in evaluation"),
    "hidden layers": (net(plain, lambda self: setattr(self, "more", [nn.Linear(8, 8)])), "nn.ModuleList"),
    "hidden parameter": (
        net(plain, lambda self: setattr(self, "more", torch.ones(3, requires_grad=True))),
        "nn.Parameter",
    ),
    "batch norm without momentum": (
        lambda s, c: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=None), nn.Flatten(), nn.Linear(32, c)
        ),
        "momentum=None",
    ),
    "batch norm without statistics": (
        lambda s, c: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(32, c)
        ),
        "depend on the other examples",
    ),
    "a running sum as an attribute": (net(_sums, lambda self: setattr(self, "sum", 0.0)), "changes attribute sum"),
    "a memory read one call later": (net(_late, lambda self: setattr(self, "seen", None)), "gives other logits"),
    "a counter as a buffer": (
        net(_counted, lambda self: self.register_buffer("calls", torch.zeros((), dtype=torch.int64))),
        "changes buffer calls in training mode",
    ),
    "a buffer moved in evaluation": (
        net(_always_averages, lambda self: self.register_buffer("mean", torch.zeros(36))),
        "in evaluation mode",
    ),
    "noise of NumPy": (net(lambda self, x: plain(self, x + float(np.random.rand()))), "torch's own generator"),
    "a reference to a weight": (net(lambda self, x: _by_reference(self, x), lambda self: _refer(self)), "self.weight"),
    "noise in evaluation": (net(lambda self, x: plain(self, x) + torch.rand(len(x), L)), "draws random numbers"),
    "counts its calls": (net(_counts, lambda self: setattr(self, "calls", 0)), "changes attribute calls"),
    "mean over the batch": (net(lambda self, x: plain(self, x - x.mean(0))), "depend on the other examples"),
    "initial values of NaN": (
        net(lambda self, x: self.last(self.first(x) * self.scale), _empty),
        "scale is not finite",
    ),
    "another generator": (net(plain, lambda self: _unseeded(self)), "torch's own generator"),
    "two outputs": (net(lambda self, x: (plain(self, x), x)), "got tuple"),  # type: ignore[arg-type,return-value]
    "too few logits": (net(lambda self, x: self.first(x)), "logits of shape (3, 4)"),
    "it raises": (net(lambda self, x: self.last(x)), "its forward pass fails"),
    "no gradient": (net(lambda self, x: plain(self, x).detach()), "cannot learn"),
    "under no_grad": (net(lambda self, x: torch.no_grad()(plain)(self, x)), "cannot learn"),
}


def _unseeded(self: Any) -> None:
    import random

    self.first.bias.data.fill_(random.random())


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_ignored_is_refused_with_what_to_write(name: str) -> None:
    make, text = REFUSED[name]
    with pytest.raises(UnfitModelError) as refused:  # noqa: PT012
        check_parts(models.build(make, SHAPE, L, 1))
        check_behaviour(make, SHAPE, L)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hidden": [], "dropout": 0.5}, "no hidden layer to drop out"),
        ({"channels": [], "norm": "batch"}, "no convolution"),
        ({"channels": [], "channel_dropout": 0.5}, "no convolution"),
        ({"channels": [], "padding": 1}, "no convolution"),
    ],
)
def test_options_of_a_shipped_model_that_have_no_place_to_act(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        models.cnn((1, 28, 28), 10, **options)
