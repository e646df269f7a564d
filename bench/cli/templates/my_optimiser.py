"""my_optimiser: the sign of a running mean of gradients (signSGD with momentum)."""

import dataclasses

import torch

from flipbench.aggregators.contract import Layout
from flipbench.training.optimisers.contract import State, Step


@dataclasses.dataclass(frozen=True)
class my_optimiser:  # noqa: N801 - named like a function
    """m <- beta m + (1 - beta) g; the direction is sign(m). The learning rate is a field of the cell."""

    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:  # a user's mistake
            raise ValueError(f"my_optimiser needs a beta from 0 to below 1, got {self.beta}")

    def init(self, weights: torch.Tensor, layout: Layout, /) -> State:
        """The state of each model: tensors by name, with the rows in front; empty without a state."""
        return {"m": torch.zeros_like(weights)}

    def step(
        self, weights: torch.Tensor, gradients: torch.Tensor, state: State, step: Step, /
    ) -> tuple[torch.Tensor, State]:
        """The direction, and the new state; weights and gradients are (rows, columns), one row a client."""
        m = self.beta * state["m"] + (1 - self.beta) * gradients  # each row from itself alone
        return torch.sign(m), {"m": m}
