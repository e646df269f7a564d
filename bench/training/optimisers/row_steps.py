"""Steps of rows by any optimiser: gradients are gathered first, then all weights of a row move at once.

A step adds up, in this order,

    g       the gradient of the loss, with FedProx plus mu (w - start)
    clip    g min(1, clip / (|g| + 1e-6)), as `torch.nn.utils.clip_grad_norm_`
    shift   g + shift, SCAFFOLD's control variates
    decay   g + weight_decay w, unless the optimiser keeps decay apart

and the optimiser makes a direction of it. What a step's layers gave no gradient for does not move, as in PyTorch.
Running statistics are moved by the statistics of batches, never by the optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.aggregators.numerics.norms import lengths
from flipbench.training.flat_parameters import views
from flipbench.training.optimisers.contract import State, Step, check_answer, check_state, is_decoupled
from flipbench.training.optimisers.kept_states import KeptStates
from flipbench.training.parameter_rows import ParameterRows

_SMALL = 1e-6  # of clip_grad_norm_


@dataclass(frozen=True)
class StepRule:
    """How gradients become steps, the same for all rows of a round.

    Attributes:
        optimiser: as `contract.Optimiser`.
        name: of it, for messages.
        lr: of all rows and steps.
        weight_decay: of the weights.
        clip: norm to which a longer gradient of a step is scaled down; None: none is.
        mu: of FedProx; 0: none.
        statistics: names of running statistics, which lie behind all that is learned.
    """

    optimiser: Any
    name: str
    lr: float
    weight_decay: float
    clip: float | None
    mu: float
    statistics: frozenset[str]


class OptimiserRows:
    """Rows with weights of their own that step by an optimiser.

    Args:
        rule: of the steps.
        weights: of the rows, as they begin.
        shifts: ``(rows, dim)``, added to each gradient; None: 0.
        layout: of the shifts.
    """

    def __init__(self, rule: StepRule, weights: ParameterRows, shifts: Tensor | None, layout: Layout) -> None:
        self.rule, self.weights = rule, weights
        rows = len(weights.numbers)
        first = [weights.start(name) for name in weights.layout if name in rule.statistics]
        self.learned = min(first, default=weights.numbers.shape[1])
        self.layout = {name: place for name, place in weights.layout.items() if name not in rule.statistics}
        self.gradients = ParameterRows(torch.zeros_like(weights.numbers), weights.layout)
        self.anchor = weights.numbers[:, : self.learned].clone() if rule.mu else None
        self.shifts = None
        if shifts is not None:
            self.shifts = ParameterRows(torch.zeros_like(weights.numbers), weights.layout)
            for name, own in views(shifts, layout).items():
                self.shifts.views[name].copy_(own)
        self.t = torch.zeros(rows, dtype=torch.int64, device=weights.numbers.device)
        made = rule.optimiser.init(self._lent(weights.numbers[:, : self.learned]), dict(self.layout))
        self.state: State = check_state(made, rows, rule.name)
        if not _ours(rule.optimiser):
            self.state = {name: value.detach().clone() for name, value in self.state.items()}
        self._kept: tuple[KeptStates, slice, Tensor | None] | None = None

    def resume(self, kept: KeptStates, here: slice, order: Tensor | None) -> None:
        """Go on from kept states; rows that have made no step before begin anew.

        Args:
            kept: of all rows.
            here: which of them these are.
            order: in which order; None: as they are.
        """
        self._kept = kept, here, order
        self.t, state = kept.rows(here, order)
        went = self.t > 0
        for name, value in state.items():
            self.state[name][went] = value[went]

    def keep(self) -> None:
        """Bring the states to where they are kept."""
        if self._kept is not None:
            kept, here, order = self._kept
            kept.put_rows(here, order, self.t, self.state)

    def sink(self, active: int, factors: Tensor | None) -> OptimiserStep:
        """What takes the gradients of one step of the first rows.

        Args:
            active: how many.
            factors: ``(active,)`` on the learning rate; None: 1.
        """
        return OptimiserStep(self, active, factors)

    def _lent(self, tensor: Tensor) -> Tensor:
        """For an optimiser of a plug-in a copy: it must not hold what training moves."""
        return tensor if _ours(self.rule.optimiser) else tensor.clone()


class OptimiserStep:
    """One step of the first rows of some; takes gradients, and moves the weights when it is finished."""

    decay = 0.0  # what gathers gradients elsewhere adds no decay

    def __init__(self, of: OptimiserRows, active: int, factors: Tensor | None) -> None:
        self.of, self.active, self.factors = of, active, factors
        self.weights, self.gradients = of.weights.first(active), of.gradients.first(active)
        self.written: set[str] = set()

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """The gradient dy^T x."""
        self.gradients.views[name].baddbmm_(dy.transpose(1, 2), x, beta=0.0)
        self.written.add(name)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        self.gradients.views[name].copy_(gradient)
        self.written.add(name)

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """Running statistics know no optimiser."""
        self.weights.views[name].lerp_(value, momentum)

    def formula(self) -> tuple[ParameterRows, float, NDArray[np.float32]]:
        """Where all gradients of a step may go at once before `finish`."""
        self.written.update(self.of.layout)
        return self.gradients, 0.0, np.ones(self.active, np.float32)

    def finish(self) -> None:
        """Move the weights."""
        of, rule, end = self.of, self.of.rule, self.of.learned
        w, g = self.weights.numbers[:, :end], self.gradients.numbers[:, :end]
        still = [name for name in of.layout if name not in self.written]
        for name in still:
            self.gradients.views[name].zero_()
        if of.anchor is not None:
            g.add_(w - of.anchor[: self.active], alpha=rule.mu)
        if rule.clip is not None:
            g.mul_((rule.clip / (lengths(g) + _SMALL)).clamp(max=1.0).to(g).unsqueeze(1))
        if of.shifts is not None:
            g.add_(of.shifts.numbers[: self.active, :end])
        rates = torch.full((self.active,), rule.lr, dtype=w.dtype, device=w.device)
        if self.factors is not None:
            rates = rates * self.factors.to(w.dtype)
        apart = is_decoupled(rule.optimiser)
        if not apart:
            self._decay_gradients()
        direction = self._direction(w, g, still)
        if apart:
            self._decay_weights(rates)
        w.sub_(direction * rates.unsqueeze(1))

    def _decay_gradients(self) -> None:
        if self.of.rule.weight_decay:
            for name in self.written:
                self.gradients.views[name].add_(self.weights.views[name], alpha=self.of.rule.weight_decay)

    def _decay_weights(self, rates: Tensor) -> None:
        if self.of.rule.weight_decay:
            shares = 1.0 - rates * self.of.rule.weight_decay
            for name in self.written:
                weight = self.weights.views[name]
                weight.mul_(shares.view(-1, *[1] * (weight.ndim - 1)))

    def _direction(self, w: Tensor, g: Tensor, still: list[str]) -> Tensor:
        """What the optimiser makes of gradients; its state is moved on."""
        of, rule, active = self.of, self.of.rule, self.active
        of.t[:active] += 1
        direction: Tensor
        step, state = Step(of.t[:active], of.layout), {name: value[:active] for name, value in of.state.items()}
        if _ours(rule.optimiser):
            direction, _ = rule.optimiser.step(w, g, state, step)  # in place
        else:
            lent = {name: value.clone() for name, value in state.items()}
            answer = rule.optimiser.step(w.clone(), g.clone(), lent, Step(step.t.clone(), dict(of.layout)))
            direction, new = check_answer(answer, w, state, rule.name)
            for name, value in state.items():
                value.copy_(new[name])
            direction = direction.clone().masked_fill_(_padding(of.layout, direction), 0.0)
        if still:  # parameters without a gradient
            direction = direction.clone()
            for name in still:
                direction[:, of.layout[name][0]] = 0.0
        return direction


def _ours(optimiser: Any) -> bool:
    return type(optimiser).__module__.startswith("flipbench.")


def _padding(layout: Layout, like: Tensor) -> Tensor:
    """``(columns,)`` bool: columns of no parameter."""
    padding = torch.ones(like.shape[1], dtype=torch.bool, device=like.device)
    for place, _ in layout.values():
        padding[place] = False
    return padding
