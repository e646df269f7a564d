"""States of optimisers that clients keep from one of their rounds to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flipbench.training.optimisers.contract import State


@dataclass
class KeptStates:
    """Of some clients of each cell.

    Attributes:
        t: ``(cells, clients)`` int64, steps that each client has made.
        state: tensors ``(cells, clients, ...)`` by name; empty before any client has made a step.
    """

    t: Tensor
    state: State = field(default_factory=dict)

    @classmethod
    def none(cls, cells: int, clients: int, device: torch.device) -> KeptStates:
        """Of clients that have made no step."""
        return cls(torch.zeros(cells, clients, dtype=torch.int64, device=device))

    def of(self, ids: Tensor) -> KeptStates:
        """A copy of some clients' states; ``ids`` is ``(cells, some)``."""
        rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
        return KeptStates(self.t[rows, ids], {name: value[rows, ids] for name, value in self.state.items()})

    def put(self, ids: Tensor, some: KeptStates) -> None:
        """The reverse of `of`: the states that some clients have now."""
        rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
        self._make_room(some.state, 2)
        self.t[rows, ids] = some.t
        for name, value in some.state.items():
            self.state[name][rows, ids] = value

    def rows(self, here: slice, order: Tensor | None) -> tuple[Tensor, State]:
        """Steps and state of rows ``cells x clients``, copied.

        Args:
            here: which.
            order: in which order; None: as they are.
        """
        flat = {"": self.t, **self.state}
        some = {name: value.flatten(0, 1)[here] for name, value in flat.items()}
        ordered = {name: value.clone() if order is None else value[order] for name, value in some.items()}
        return ordered.pop(""), ordered

    def put_rows(self, here: slice, order: Tensor | None, t: Tensor, state: State) -> None:
        """The reverse of `rows`."""
        self._make_room(state, 1)
        given = {"": t, **state}
        for name, room in {"": self.t, **self.state}.items():
            rows = room.flatten(0, 1)[here]  # a view: the tensors are contiguous
            rows.copy_(given[name]) if order is None else rows.index_copy_(0, order, given[name])

    def state_of(self, s: int) -> dict[str, Any]:
        """What is kept of one cell."""
        return {"t": self.t[s], "state": {name: value[s] for name, value in self.state.items()}}

    def restore(self, s: int, kept: dict[str, Any]) -> None:
        """The reverse of `state_of`."""
        self.t[s] = kept["t"]
        self._make_room({name: value.to(self.t.device) for name, value in kept["state"].items()}, 1)
        for name, value in kept["state"].items():
            self.state[name][s] = value

    def _make_room(self, like: State, leading: int) -> None:
        """Zeros for tensors like these without so many leading dimensions, before the first step."""
        for name, value in like.items():
            if name not in self.state:
                self.state[name] = value.new_zeros(*self.t.shape, *value.shape[leading:])
