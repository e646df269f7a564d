"""What clients send after their local steps, and what they keep for their next round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.federation.algorithms.normalised import effective_steps, normalised
from flipbench.federation.algorithms.scaffold import Scaffold, put
from flipbench.spec.cell import Cell
from flipbench.spec.training_choices import FEDNOVA, name_of
from flipbench.training.batches import Batches
from flipbench.training.inputs import Inputs
from flipbench.training.layers.stacked_model import Stacked
from flipbench.training.local_sgd import LocalRound, gradients_at_start, train
from flipbench.training.optimisers.kept_states import KeptStates
from flipbench.training.optimizer import Recipe

_TENSORS = ("momenta", "buffers")  # of the state, cells in front


@dataclass(frozen=True)
class Trained:
    """The model that is trained.

    Attributes:
        net: stacked.
        layout: of its vector.
        statistics: names of running statistics in it, which lie behind all that is learned.
    """

    net: Stacked
    layout: Layout
    statistics: frozenset[str]

    @property
    def learned(self) -> int:
        """Columns of the vector that are learned."""
        ends = [place.stop for name, (place, _) in self.layout.items() if name not in self.statistics]
        return max(ends, default=0)


class LocalUpdates:
    """Local training of a stack's clients by the cells' algorithm, with momenta and optimiser states that they keep.

    Args:
        cell: any cell of the stack; they share what is read here.
        model: that is trained.
        like: ``(cells, dim)``, the global weights.
        plain: whether local steps are SGD, with or without momentum, and nothing else.
        variates: of SCAFFOLD; None: the algorithm is another one.
    """

    def __init__(self, cell: Cell, model: Trained, like: Tensor, plain: bool, variates: Scaffold | None) -> None:
        self.cell, self.model, self.variates = cell, model, variates
        self.nova = name_of(cell.algorithm) == FEDNOVA
        cells, dim = like.shape
        kept = cell.optimiser_state == "kept"
        self.momenta = like.new_zeros(cells, cell.members if cell.client_momentum else 0, dim)
        self.buffers = like.new_zeros(cells, cell.members if kept and plain and cell.momentum else 0, dim)
        self.kept = KeptStates.none(cells, cell.members, like.device) if kept and not plain else None
        self.tau: Tensor | None = None  # of FedNova, of the last round's clients

    def of_clients(
        self, start: Tensor, ids: Tensor, inputs: Inputs, batches: Batches, recipe: Recipe, shares: Tensor
    ) -> Tensor:
        """What the clients of a round send, ``(cells, clients, dim)``.

        Args:
            start: ``(cells, dim)``, the global weights.
            ids: ``(cells, clients)``.
            inputs, batches, recipe: of `LocalRound`.
            shares: ``(cells, clients)``, weights of the clients.
        """
        work = self._work(start, inputs, batches, recipe, ids)
        updates = self._with_momentum(work, ids)
        if self.variates is not None:
            self.variates.trained(ids, updates, self._scales(work), lambda: gradients_at_start(work))
        if self.nova:
            steps = effective_steps(batches, recipe)
            self.tau = (steps * shares.to(steps)).sum(1)
            updates = normalised(updates, steps, self.tau, self.model.learned)
        return updates

    def of_root(self, start: Tensor, inputs: Inputs, batches: Batches, recipe: Recipe) -> Tensor:
        """The server's own update, ``(cells, dim)``: it trains as a client does.

        Args:
            start, inputs, batches, recipe: as of `of_clients`.
        """
        update = train(self._work(start, inputs, batches, recipe, None))
        if self.nova and self.tau is not None:
            update = normalised(update, effective_steps(batches, recipe), self.tau, self.model.learned)
        return update.squeeze(1)

    def change_of_root(self, start: Tensor, inputs: Inputs, batches: Batches, recipe: Recipe) -> Tensor:
        """SCAFFOLD: the change of the server's own control variate, ``(cells, dim)``."""
        assert self.variates is not None
        work = self._work(start, inputs, batches, recipe, None)
        change = self.variates.root_change(train(work), self._scales(work), lambda: gradients_at_start(work))
        return change.squeeze(1)

    def _work(self, start: Tensor, inputs: Inputs, batches: Batches, recipe: Recipe, ids: Tensor | None) -> LocalRound:
        shifts = None if self.variates is None else self.variates.shifts(ids)
        model = self.model
        return LocalRound(
            model.net, model.layout, start, inputs, batches, recipe, shifts=shifts, statistics=model.statistics
        )

    @staticmethod
    def _scales(work: LocalRound) -> Tensor:
        """Learning rate times effective steps, ``(cells, clients)`` float64."""
        return work.recipe.lr * effective_steps(work.batches, work.recipe)

    def _with_momentum(self, work: LocalRound, ids: Tensor) -> Tensor:
        """The updates, or with client momentum m <- beta m + (1 - beta) update."""
        beta, all_take_part = self.cell.client_momentum, ids.shape[1] == self.cell.members
        if beta and all_take_part and work.one_step and not self.buffers.shape[1]:
            return train(replace(work, momenta=self.momenta, keep=beta))
        updates = self._with_kept_states(work, ids, all_take_part)
        if not beta:
            return updates
        if all_take_part:
            return self.momenta.lerp_(updates, 1.0 - beta)
        place = self._places(ids)
        sent = self.momenta.gather(1, place).lerp_(updates, 1.0 - beta)
        self.momenta.scatter_(1, place, sent)
        return sent

    def _with_kept_states(self, work: LocalRound, ids: Tensor, all_take_part: bool) -> Tensor:
        """The updates; states of the optimiser that the clients keep are used and moved on."""
        if self.kept is not None:
            known = ids.to(work.start.device)
            own = self.kept.of(known)
            updates = train(replace(work, kept=own))
            self.kept.put(known, own)
            return updates
        if not self.buffers.shape[1]:
            return train(work)
        buffers = self.buffers if all_take_part else self.buffers.gather(1, self._places(ids))
        updates = train(replace(work, buffers=buffers))
        if not all_take_part:
            self.buffers.scatter_(1, self._places(ids), buffers)
        return updates

    def _places(self, ids: Tensor) -> Tensor:
        dim = self.momenta.shape[2]
        return ids.to(self.momenta.device).unsqueeze(-1).expand(*ids.shape, dim)

    def state_of(self, s: int) -> dict[str, Any]:
        """All that moves in one cell."""
        state: dict[str, Any] = {name: getattr(self, name)[s] for name in _TENSORS}
        state["kept"] = None if self.kept is None else self.kept.state_of(s)
        state["variates"] = None if self.variates is None else self.variates.state_of(s)
        return state

    def restore(self, s: int, state: dict[str, Any]) -> None:
        """The reverse of `state_of`.

        Raises:
            ValueError, KeyError: it is of another federation.
        """
        for name in _TENSORS:
            put(getattr(self, name)[s], state[name], name)
        if self.kept is not None:
            self.kept.restore(s, state["kept"])
        if self.variates is not None:
            self.variates.restore(s, state["variates"])
