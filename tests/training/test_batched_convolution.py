"""Convolution and pooling of all rows at once (what CUDA takes) against PyTorch's own layers, one row at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flipbench.training import flat_parameters as vectors
from flipbench.training.inputs import Inputs
from flipbench.training.layers import protocol, stacked_model
from flipbench.training.layers.convolution_cpu import Conv, PooledConv
from flipbench.training.layers.pooling import Pool
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.optimizer import Recipe
from tests.helpers.lockstep_cases import MODELS, case, stacked

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LAYERS: Mapping[str, Any] = {
    "plain": lambda: nn.Conv2d(2, 5, 3),
    "without bias": lambda: nn.Conv2d(2, 5, 3, bias=False),
    "one channel in and out": lambda: nn.Conv2d(1, 1, 1),
    "padded": lambda: nn.Conv2d(3, 4, 5, padding=2),
    "strided, odd on both sides": lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0)),
    "dilated": lambda: nn.Conv2d(6, 4, (2, 3), dilation=(2, 1), padding=(0, 2)),
    "no pixel left over": lambda: nn.Conv2d(2, 3, (9, 8)),
    "pooled": lambda: nn.MaxPool2d(2),
    "pooled with a rest": lambda: nn.MaxPool2d(3, 2, padding=1, dilation=2, ceil_mode=True),
}


class Kept:
    """A sink that keeps what it is sent."""

    def __init__(self) -> None:
        self.got: dict[str, Tensor] = {}

    def plain(self, name: str, gradient: Tensor) -> None:
        self.got[name] = gradient.clone()

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        raise AssertionError("a picture layer has no outer product")

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        raise AssertionError("a convolution has no statistics")


@pytest.fixture(autouse=True)
def _without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "has_kernels", lambda x: False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shared", [False, True], ids=["own weights", "weights of a cell"])
@pytest.mark.parametrize("order", ["batch first", "channels first"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_pytorch_s(name: str, order: str, shared: bool, device: str) -> None:
    torch.manual_seed(5)
    rows, batch, module = 6, 3, LAYERS[name]().double()
    layer = Conv("c.", module) if isinstance(module, nn.Conv2d) else Pool("c.", module)
    depth = module.in_channels if isinstance(module, nn.Conv2d) else 4
    x = torch.randn(rows, batch, depth, 9, 8, dtype=torch.float64).round(decimals=1)  # pooling meets equal values
    if order == "channels first":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    cells = 2 if shared else rows
    p = {f"c.{n}": torch.randn(cells, *t.shape, dtype=torch.float64) for n, t in module.named_parameters()}
    there = {n: t.clone().to(device) for n, t in p.items()}
    y, back = layer(x.to(device), there, True, None)
    dy = torch.randn(y.shape, dtype=torch.float64)
    for t in there.values():
        t.zero_()  # as a sink may change them before the backward pass is through
    sink = Kept()
    dx = back(dy.to(device), sink, True)
    assert dx is not None
    for row in range(rows):
        own = {n.removeprefix("c."): t[row * cells // rows].clone().requires_grad_() for n, t in p.items()}
        leaf = x[row].clone().requires_grad_()
        wanted = torch.func.functional_call(module, own, (leaf,))
        torch.testing.assert_close(y[row].cpu(), wanted.detach())
        gradients = torch.autograd.grad(wanted, [leaf, *own.values()], dy[row])
        torch.testing.assert_close(dx[row].cpu(), gradients[0])
        for n, gradient in zip(own, gradients[1:], strict=True):
            torch.testing.assert_close(sink.got[f"c.{n}"][row].cpu(), gradient)
    seen = layer(x.to(device), {n: t.to(device) for n, t in p.items()}, False, None)[0]
    torch.testing.assert_close(seen, y)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_may_be_one_picture_seen_by_all(device: str) -> None:
    """As in evaluation, where the cells look at the same test images."""
    module = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(1, 4, 2, 6, 6).expand(3, 4, 2, 6, 6)
    p = {f"c.{n}": torch.randn(3, *t.shape) for n, t in module.named_parameters()}
    y, _ = Conv("c.", module)(x.to(device), {n: t.to(device) for n, t in p.items()}, False, None)
    for cell in range(3):
        own = {n.removeprefix("c."): t[cell] for n, t in p.items()}
        wanted = torch.func.functional_call(module, own, (x[cell],))
        torch.testing.assert_close(y[cell].cpu(), wanted.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_updates_are_those_of_the_kernels(
    name: str, steps: int, uneven: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, start, x, batches = case(name, steps, uneven)
    net, where, recipe = stacked(model), vectors.layout_of(model), Recipe(0.2, 0.9, 0.01)
    there = batches.map(lambda t: t.to(device))
    if isinstance(net, stacked_model.Chain):
        monkeypatch.setattr(stacked_model.Chain, "width", lambda self, device: None)  # all rows at once
    got = train(LocalRound(net, where, start.to(device), Inputs(x.to(device)), there, recipe))
    monkeypatch.undo()
    wanted = train(LocalRound(net, where, start, Inputs(x), batches, recipe))
    torch.testing.assert_close(got.cpu(), wanted, rtol=1e-3, atol=1e-5)


def test_a_convolution_with_its_pooling_takes_the_same_way() -> None:
    torch.manual_seed(6)
    module = nn.Conv2d(1, 3, 3)
    layer = PooledConv(Conv("c.", module), Pool("p.", nn.MaxPool2d(2)))
    x = torch.randn(2, 4, 1, 8, 8)
    p = {f"c.{n}": torch.randn(2, *t.shape) for n, t in module.named_parameters()}
    y, back = layer(x, p, True, None)
    sink = Kept()
    dx = back(torch.ones_like(y), sink, True)
    assert dx is not None
    assert dx.shape == x.shape
    for row in range(2):
        own = {n.removeprefix("c."): t[row].clone().requires_grad_() for n, t in p.items()}
        leaf = x[row].clone().requires_grad_()
        nn.functional.max_pool2d(torch.func.functional_call(module, own, (leaf,)), 2).sum().backward()
        assert leaf.grad is not None
        torch.testing.assert_close(dx[row], leaf.grad)
        torch.testing.assert_close(sink.got["c.weight"][row], own["weight"].grad)
