"""The server's step by an optimiser of its own, on the rule's update as a gradient of opposite sign."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.errors import UserError
from flipbench.plugins import guard
from flipbench.training.optimisers.contract import State, Step, check_answer, check_state


class ServerSteps:
    """Steps of the global models of a stack, with the optimiser's state.

    Running statistics are moved by the update itself: they are no weights with a gradient.

    Args:
        optimiser: as `training.optimisers.contract.Optimiser`.
        ref: names it.
        rate: learning rate of the server.
        layout: of the model's vector.
        learned: columns of what is learned; running statistics lie behind.
        cells: of the stack.
    """

    def __init__(self, optimiser: Any, ref: str, rate: float, layout: Layout, learned: int, cells: int) -> None:
        self.optimiser, self.ref, self.rate, self.learned = optimiser, ref, rate, learned
        self.layout = {name: place for name, place in layout.items() if place[0].stop <= learned}
        self.t = torch.zeros(cells, dtype=torch.int64)
        self.state: State | None = None

    def moved(self, weights: Tensor, update: Tensor) -> Tensor:
        """The new weights.

        Args:
            weights, update: ``(cells, dim)``.

        Raises:
            UserError: the optimiser's answer has a wrong form, or is not finite.
        """
        w, x, name = weights[:, : self.learned], update[:, : self.learned], guard.name_of(self.ref)
        with guard.foreign(self.optimiser, self.ref) as call:
            if self.state is None:
                made = check_state(self.optimiser.init(call.lend("the weights", w), self.layout), len(w), name)
                self.state = {key: call.own(value) for key, value in made.items()}
            self.t = self.t + 1
            lent = call.lend("the weights", w), call.lend("the gradients", -x)
            state = {key: value.clone() for key, value in self.state.items()}
            step = Step(self.t.to(w.device), self.layout)
            answer = self.optimiser.step(*lent, state, step)
            direction, new = check_answer(answer, w, self.state, name)
            direction = call.own(direction)
            self.state = {key: call.own(value) for key, value in new.items()}
        if not bool(torch.isfinite(direction).all()):
            raise UserError(f"server optimiser {name} answered a direction that is not finite")
        out = weights + update
        out[:, : self.learned] = w - self.rate * direction
        return out

    def state_of(self, s: int) -> dict[str, Any] | None:
        """What is kept of one cell; None before the first step."""
        if self.state is None:
            return None
        return {"t": int(self.t[s]), "state": {key: value[s] for key, value in self.state.items()}}

    def restore(self, s: int, kept: dict[str, Any] | None, device: torch.device) -> None:
        """The reverse of `state_of`."""
        if kept is None:
            return
        if self.state is None:
            self.state = {
                key: torch.zeros(len(self.t), *value.shape, dtype=value.dtype, device=device)
                for key, value in kept["state"].items()
            }
        self.t[s] = kept["t"]
        for key, value in self.state.items():
            value[s] = kept["state"][key].to(device)
