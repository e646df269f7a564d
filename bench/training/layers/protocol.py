"""What stacked layers have in common: where gradients go, and the way through autograd for one layer.

A layer is ``forward(x, parameters, training, counts) -> (y, backward)`` and ``backward(dy, sink, need_dx) -> dx``;
``x`` is ``(rows, batch, *shape)``, one row a client. What becomes of a gradient is decided by the sink
(`training.local_sgd`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]  # name -> (rows or cells, *shape)
Backward = Callable[[Tensor, "Sink", bool], Tensor | None]


class Layer(Protocol):
    """One layer over stacked rows."""

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]: ...


class Sink(Protocol):
    """Takes gradients of the mean loss, one row a client."""

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """Gradient of ``name`` is ``dy^T x``, from ``(rows, batch, out)`` and ``(rows, batch, in)``."""

    def plain(self, name: str, gradient: Tensor) -> None:
        """Gradient of ``name``, ``(rows, *shape)``."""

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """A batch statistic that moves a running one: s <- (1 - momentum) s + momentum value."""


@dataclass(frozen=True)
class OnlyLearned:
    """A sink that the gradients of frozen parameters do not reach.

    Attributes:
        sink: takes the others.
        frozen: names that are left out.
    """

    sink: Sink
    frozen: Collection[str]

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """As `Sink`."""
        if name not in self.frozen:
            self.sink.outer(name, dy, x)

    def plain(self, name: str, gradient: Tensor) -> None:
        """As `Sink`."""
        if name not in self.frozen:
            self.sink.plain(name, gradient)

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """As `Sink`; running statistics move in frozen layers too, as in PyTorch."""
        self.sink.statistic(name, value, momentum)


def has_kernels(x: Tensor) -> bool:
    """Whether our own compiled kernels can read a tensor: they run on the CPU."""
    return not x.is_cuda


def per_row(parameter: Tensor, rows: int) -> Tensor:
    """``(cells, *shape)`` repeated for the rows of each cell; ``(rows, *shape)`` is left alone."""
    k = rows // parameter.shape[0]
    return parameter if k == 1 else parameter.repeat_interleave(k, dim=0)


def no_backward(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
    """What stands for the backward pass in evaluation."""
    raise RuntimeError("evaluation has no backward pass")


def through_autograd(
    f: Callable[..., Tensor], x: Tensor, p: dict[str, Tensor], training: bool
) -> tuple[Tensor, Backward]:
    """One layer through a graph of its own."""
    if not training:
        with torch.no_grad():
            return f(x, *p.values()), no_backward
    leaf = x.detach().requires_grad_()
    # Copies: a sink changes weights in place, which would invalidate views of them saved in this graph.
    leaves = [t.detach().clone().requires_grad_() for t in p.values()]
    with torch.enable_grad():
        y = f(leaf, *leaves)

    def back(dy: Tensor, sink: Sink, need_dx: bool) -> Tensor | None:
        wanted = ([leaf] if need_dx else []) + leaves
        if not wanted:
            return None
        gradients = list(torch.autograd.grad(y, wanted, dy, allow_unused=True))
        dx = gradients.pop(0) if need_dx else None
        for name, gradient in zip(p, gradients, strict=True):
            if gradient is not None:  # what forward does not use has none, so that weight decay leaves it alone too
                sink.plain(name, gradient)
        return dx

    return y.detach(), back
