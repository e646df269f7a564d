"""Where gradients of SGD are added: to weights of the client's own, or to its update directly.

Any other optimiser gathers them first (`optimisers.row_steps`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.flat_parameters import views
from flipbench.training.layers.protocol import per_row
from flipbench.training.parameter_rows import ParameterRows


@dataclass(frozen=True)
class Recipe:
    """Local training: w <- w - lr (momentum buffer of the gradient of the loss + weight_decay w).

    Attributes:
        lr: of all rows and steps.
        momentum: of the buffer.
        weight_decay: added to the gradient.
        summed: the loss is the sum over a batch, not the mean.
        factors: ``(cells, clients, steps)`` on lr, where rows or steps have their own; None: 1.
        change: ``(images, draws) -> images``, the augmentation that `Batches.draws` were drawn for; None: none.
        optimiser: as `optimisers.contract.Optimiser`; None: SGD as above.
        name: of the optimiser, for messages.
        clip: norm to which a longer gradient is scaled down; None: none is.
        mu: of FedProx's term mu/2 |w - start|^2; 0: there is none.
    """

    lr: float
    momentum: float
    weight_decay: float
    summed: bool = False
    factors: Tensor | None = None
    change: Callable[[Tensor, Tensor], Tensor] | None = None
    optimiser: Any = None
    name: str = "sgd"
    clip: float | None = None
    mu: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether it is SGD with or without momentum and nothing else."""
        return self.optimiser is None and self.clip is None and not self.mu


class SgdRows:
    """Rows with weights of their own that step by SGD.

    Args:
        weights: of the rows.
        velocity: room for their momentum buffers; None without momentum.
        recipe: of the steps.
        kept: name -> ``(rows, *shape)``, buffers that the clients kept, in the order of the batches; None: none are.
        order: places of the rows among those that were kept; None: as they are.
    """

    def __init__(
        self,
        weights: ParameterRows,
        velocity: ParameterRows | None,
        recipe: Recipe,
        kept: Mapping[str, Tensor] | None,
        order: Tensor | None,
    ) -> None:
        self.weights, self.velocity, self.recipe = weights, velocity, recipe
        self.kept, self.order, self.fresh = kept if velocity is not None else None, order, True
        if self.kept is not None and velocity is not None:
            self.fresh = False
            for name, own in velocity.views.items():
                own.copy_(self.kept[name] if order is None else self.kept[name][order])

    def sink(self, active: int, factors: Tensor | None) -> LocalSgd:
        """What takes the gradients of one step of the first rows.

        Args:
            active: how many.
            factors: ``(active,)`` on the learning rate; None: 1.
        """
        fresh, self.fresh = self.fresh, False
        velocity = None if self.velocity is None else self.velocity.first(active)
        return LocalSgd(self.weights.first(active), velocity, self.recipe, fresh, factors)

    def keep(self) -> None:
        """Bring the buffers to where they are kept."""
        if self.kept is None or self.velocity is None:
            return
        for name, buffer in self.kept.items():
            own = self.velocity.views[name]
            buffer.copy_(own) if self.order is None else buffer.index_copy_(0, self.order, own)


class LocalSgd:
    """One step of SGD in place on rows that have weights of their own.

    Args:
        weights: of the rows.
        velocity: their momentum buffers; None without momentum.
        recipe: of the step.
        fresh: whether the buffers are still zero.
        factors: ``(rows,)`` on the learning rate; None: 1.
    """

    def __init__(
        self,
        weights: ParameterRows,
        velocity: ParameterRows | None,
        recipe: Recipe,
        fresh: bool,
        factors: Tensor | None = None,
    ) -> None:
        self.weights, self.velocity, self.recipe, self.factors = weights, velocity, recipe, factors
        self.momentum = 0.0 if fresh else recipe.momentum
        self.decay = recipe.weight_decay

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """dy^T x goes straight into the weights (or the momentum buffer), by one batched product."""
        w, r = self.weights.views[name], self.recipe
        if self.velocity is None:
            if self.factors is not None:
                self._shrink(w)
                w.baddbmm_(_scaled(dy, self.factors).transpose(1, 2), x, alpha=-r.lr)
            else:
                w.baddbmm_(dy.transpose(1, 2), x, beta=1.0 - r.lr * r.weight_decay, alpha=-r.lr)
            return
        v = self.velocity.views[name].baddbmm_(dy.transpose(1, 2), x, beta=self.momentum)
        self._decay(w, v)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        w, r = self.weights.views[name], self.recipe
        if self.velocity is None:
            self._shrink(w)
            w.sub_(_scaled(gradient, self.factors), alpha=r.lr)
            return
        v = self.velocity.views[name]
        if self.momentum:
            v.mul_(self.momentum).add_(gradient)
        else:
            v.copy_(gradient)
        self._decay(w, v)

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """Running statistics know no learning rate, and have no momentum buffer that moves them."""
        self.weights.views[name].lerp_(value, momentum)

    def formula(self) -> tuple[ParameterRows, float, NDArray[np.float32]]:
        """Where all gradients of a step may go at once before `finish`: what is there times the second, plus the third
        ``(rows,)`` times gradient and decayed weight."""
        if self.velocity is not None:
            return self.velocity, self.momentum, np.ones(len(self.weights.numbers), np.float32)
        return self.weights, 1.0, rates_of(-self.recipe.lr, len(self.weights.numbers), self.factors)

    def finish(self) -> None:
        """With momentum: all weights move at once, when all gradients are known."""
        if self.velocity is None:
            return
        if self.factors is None:
            self.weights.numbers.sub_(self.velocity.numbers, alpha=self.recipe.lr)
        else:
            self.weights.numbers.addcmul_(self.velocity.numbers, self.factors.unsqueeze(1), value=-self.recipe.lr)

    def _shrink(self, w: Tensor) -> None:
        rate = self.recipe.lr * self.recipe.weight_decay
        if rate and self.factors is not None:
            w.mul_(_column(1.0 - rate * self.factors, w))
        elif rate:
            w.mul_(1.0 - rate)

    def _decay(self, w: Tensor, v: Tensor) -> None:
        if self.recipe.weight_decay:
            v.add_(w, alpha=self.recipe.weight_decay)


class StartGradients:
    """Rows whose weights stay where they begin, while the gradients of their steps add up.

    Args:
        weights: of the rows.
        out: name -> ``(rows, *shape)``, where the mean gradients go.
        recipe: of the steps.
        shares: ``(rows, steps)``, the share of each step in the mean.
        order: places of the rows in ``out``; None: as they are.
    """

    def __init__(
        self, weights: ParameterRows, out: Mapping[str, Tensor], recipe: Recipe, shares: Tensor, order: Tensor | None
    ) -> None:
        self.weights, self.out, self.recipe, self.shares, self.order = weights, out, recipe, shares, order
        self.sums, self.step = ParameterRows(torch.zeros_like(weights.numbers), weights.layout), 0

    def sink(self, active: int, factors: Tensor | None) -> GradientSum:
        """What takes the gradients of the next step of the first rows."""
        shares = self.shares[:active, self.step]
        self.step += 1
        return GradientSum(self.sums.first(active), self.weights.first(active), self.recipe.weight_decay, shares)

    def keep(self) -> None:
        """Bring the mean gradients to where they are wanted."""
        for name, room in self.out.items():
            own = self.sums.views[name]
            room.copy_(own) if self.order is None else room.index_copy_(0, self.order, own)


class GradientSum:
    """Adds each gradient, with weight decay, times a share of each row."""

    def __init__(self, sums: ParameterRows, weights: ParameterRows, decay: float, shares: Tensor) -> None:
        self.sums, self.weights, self.decay = sums, weights, decay
        self.shares = shares.to(sums.numbers.dtype)

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """The gradient dy^T x."""
        self.sums.views[name].baddbmm_(_scaled(dy, self.shares).transpose(1, 2), x)
        self._decay(name)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        self.sums.views[name].add_(_scaled(gradient, self.shares))
        self._decay(name)

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """Running statistics have no gradient."""

    def formula(self) -> tuple[ParameterRows, float, NDArray[np.float32]]:
        """As of `LocalSgd`."""
        return self.sums, 1.0, self.shares.numpy().astype(np.float32)

    def finish(self) -> None:
        """Nothing moves."""

    def _decay(self, name: str) -> None:
        if self.decay:
            self.sums.views[name].add_(_scaled(self.weights.views[name], self.shares), alpha=self.decay)


class FirstStep:
    """The update of a single step from shared weights: keep x what was there - (1 - keep) lr (gradient + decay w)."""

    def __init__(
        self,
        out: Tensor,
        start: Tensor,
        layout: Layout,
        recipe: Recipe,
        keep: float,
        factors: Tensor | None = None,
    ) -> None:
        self.recipe, self.keep, self.scale, self.factors = recipe, keep, 1.0 - keep, factors
        self.views, self.start = views(out, layout), views(start, layout)
        self.unwritten = set(self.views)

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """dy^T x is written where the update lies."""
        dy = _scaled(dy, self.factors)
        self.views[name].baddbmm_(dy.transpose(1, 2), x, beta=self.keep, alpha=-self.recipe.lr * self.scale)
        self._decay(name)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        self._add(name, _scaled(gradient, self.factors), -self.recipe.lr * self.scale)
        self._decay(name)

    def finish(self) -> None:
        """What no layer wrote (a buffer of a plug-in model) does not move."""
        for name in self.unwritten:
            self.views[name].mul_(self.keep) if self.keep else self.views[name].zero_()

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """The way from the old running statistic to the new one."""
        self._add(name, value - self._start(name), momentum * self.scale)
        self.unwritten.discard(name)

    def _add(self, name: str, value: Tensor, factor: float) -> None:
        if self.keep:
            self.views[name].mul_(self.keep).add_(value, alpha=factor)
        else:
            torch.mul(value, factor, out=self.views[name])

    def _decay(self, name: str) -> None:
        self.unwritten.discard(name)
        if self.recipe.weight_decay:
            factor = self.recipe.lr * self.recipe.weight_decay * self.scale
            if self.factors is None:  # rows of a cell share its weights: nothing need be copied
                start, view = self.start[name], self.views[name]
                view.unflatten(0, (len(start), -1)).sub_(start.unsqueeze(1), alpha=factor)
            else:
                self.views[name].sub_(_scaled(self._start(name), self.factors), alpha=factor)

    def _start(self, name: str) -> Tensor:
        return per_row(self.start[name], len(self.views[name]))


def rates_of(rate: float, rows: int, factors: Tensor | None) -> NDArray[np.float32]:
    """A rate of each row, ``(rows,)``, of which each has a factor or none."""
    same = np.full(rows, rate, np.float32)
    return same if factors is None else same * factors.numpy()


def _scaled(rows: Tensor, factors: Tensor | None) -> Tensor:
    """``(rows, ...)`` times a factor of each row."""
    return rows if factors is None else rows * _column(factors, rows)


def _column(factors: Tensor, like: Tensor) -> Tensor:
    return factors.view(-1, *[1] * (like.ndim - 1))
