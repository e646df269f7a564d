"""What an optimiser is: a state for each row, and a step that turns gradients into a direction.

Rows are models: one a client in local training, one a cell at the server. The bench moves the weights,

    w <- w - rate (direction),

so that schedules, learning rates of single clients and weight decay work with every optimiser alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.errors import UserError

State = dict[str, Tensor]  # each (rows, ...)


@dataclass(frozen=True)
class Step:
    """What an optimiser is told of a step, beside weights and gradients.

    Attributes:
        t: ``(rows,)`` int64, the number of this step since the state of the row was made, from 1.
        layout: name -> (columns, shape) of each parameter; a column of none is padding, whose gradient is 0.
    """

    t: Tensor
    layout: Layout


@runtime_checkable
class Optimiser(Protocol):
    """A frozen dataclass whose fields are its options.

    A class attribute ``decoupled = True`` asks for weight decay apart from the gradient, w <- w - rate decay w, as in
    AdamW; without it the decayed weights are part of the gradients.
    """

    def init(self, weights: Tensor, layout: Layout, /) -> State:
        """The state of rows before their first step.

        Args:
            weights: ``(rows, columns)``.
            layout: as in `Step`.

        Returns:
            Tensors by name, each with the rows in front; empty without a state.
        """

    def step(self, weights: Tensor, gradients: Tensor, state: State, step: Step, /) -> tuple[Tensor, State]:
        """One step of all rows; each depends on itself alone.

        Args:
            weights, gradients: ``(rows, columns)``.
            state: of these rows.
            step: the rest.

        Returns:
            The direction, ``(rows, columns)``, and the new state with the names, shapes and types of the old one.
        """


def is_decoupled(optimiser: Any) -> bool:
    """Whether weight decay is kept apart from the gradients."""
    return bool(getattr(optimiser, "decoupled", False))


def check_state(state: Any, rows: int, name: str) -> State:
    """The state that an optimiser made.

    Raises:
        UserError: it is something else than tensors with a row each.
    """
    wanted = f"a dictionary of tensors, each with {rows} rows in front"
    if not isinstance(state, dict):
        raise UserError(f"optimiser {name}: init must return {wanted}, got {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.shape[:1] != (rows,):
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise UserError(f"optimiser {name}: init must return {wanted}, got {key!r} of {what}")
    return state


def check_answer(answer: Any, weights: Tensor, state: State, name: str) -> tuple[Tensor, State]:
    """Direction and state that an optimiser answered.

    Raises:
        UserError: of another form, shape or type.
    """
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise UserError(f"optimiser {name}: step must return (direction, state), got {type(answer).__name__}")
    direction, new = answer
    if not isinstance(direction, Tensor) or direction.shape != weights.shape or direction.dtype != weights.dtype:
        what = f"{direction.dtype} {tuple(direction.shape)}" if isinstance(direction, Tensor) else type(direction)
        wanted = f"{weights.dtype} {tuple(weights.shape)}"
        raise UserError(f"optimiser {name}: the direction must be like the weights, {wanted}, got {what}")
    if new.keys() != state.keys():
        wanted = ", ".join(state) or "nothing"
        raise UserError(f"optimiser {name}: init made a state of {wanted}, and step answers {', '.join(new) or 'none'}")
    for key, value in new.items():
        own = state[key]
        if not isinstance(value, Tensor) or value.shape != own.shape or value.dtype != own.dtype:
            what = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            wanted = f"{own.dtype} {tuple(own.shape)}"
            raise UserError(f"optimiser {name}: {key} of the state must stay {wanted}, got {what}")
    return direction.detach(), {key: value.detach() for key, value in new.items()}


def bias(beta: float, t: Tensor) -> Tensor:
    """``1 - beta^t`` of each row, ``(rows, 1)`` float64."""
    return 1.0 - torch.tensor(beta, dtype=torch.float64, device=t.device) ** t.double().unsqueeze(1)
