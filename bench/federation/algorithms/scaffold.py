"""SCAFFOLD: control variates of clients and server (Karimireddy et al. 2020, Algorithm 1).

A local step is y <- y - lr (g(y) - c_i + c). A client then sends its update x_i = y - w and the change of its variate,

    option 1: change = g_i(w) - c_i                    (the mean gradient of its examples of the round, at w)
    option 2: change = -c - x_i / (lr |a_i|_1)         (that is c_i+ = c_i - c + (w - y) / (K lr) without momentum)

and the server moves w <- w + rate rule(x) and c <- c + n/N rule(change) for n of N clients in a round: a robust rule
stands where the means stand, once for each of the two (with a memory of its own for each).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, cohort_of_cell
from flipbench.aggregators.numerics.norms import lengths
from flipbench.federation.aggregation import Aggregation
from flipbench.federation.algorithms.choices import scaffold
from flipbench.federation.malicious_clients import UpdateAttacker

TENSORS = ("server", "clients", "root", "previous")  # of the state, cells in front


class Scaffold:
    """The control variates of a stack of cells.

    Args:
        chosen: the options.
        like: ``(cells, dim)``, the global weights.
        members: clients of the federation, N.
        learned: columns of what is learned; running statistics, which lie behind, have no variate.
        aggregation: of the changes.
        attackers: on the changes of each cell; None where there is none.
    """

    def __init__(
        self,
        chosen: scaffold,
        like: Tensor,
        members: int,
        learned: int,
        aggregation: Aggregation,
        attackers: Sequence[UpdateAttacker | None],
    ) -> None:
        self.chosen, self.members, self.learned = chosen, members, learned
        self.aggregation, self.attackers = aggregation, attackers
        self.server, self.previous = torch.zeros_like(like), torch.zeros_like(like)
        self.clients = like.new_zeros(len(like), members, like.shape[1])
        self.root = like.new_zeros(len(like), 1, like.shape[1])
        self.changes = like.new_zeros(len(like), 0, like.shape[1])  # of the round's clients
        self._scales = torch.zeros(0)  # lr |a_i|_1 of them
        self._next_root: Tensor | None = None

    def shifts(self, ids: Tensor | None) -> Tensor:
        """c - c_i of some clients ``(cells, clients)``, or of the server's own training; as many rows."""
        own = self.root if ids is None else self.clients.gather(1, self._places(ids))
        return self.server.unsqueeze(1) - own

    def trained(self, ids: Tensor, updates: Tensor, scales: Tensor, gradients: Callable[[], Tensor]) -> None:
        """Note the changes of the round's clients, and move their variates.

        A client without a step, or whose change is not finite, keeps its variate.

        Args:
            ids: ``(cells, clients)``.
            updates: ``(cells, clients, dim)``.
            scales: lr |a_i|_1, ``(cells, clients)`` float64.
            gradients: gives g_i(w), ``(cells, clients, dim)``, for option 1.
        """
        places = self._places(ids)
        own = self.clients.gather(1, places)
        self._scales = scales
        self.changes = self._changes(updates, scales, own, gradients)
        usable = torch.isfinite(self.changes).all(-1, keepdim=True)
        self.clients.scatter_(1, places, torch.where(usable, own + self.changes, own))

    def root_change(self, update: Tensor, scales: Tensor, gradients: Callable[[], Tensor]) -> Tensor:
        """The change of the server's own variate, ``(cells, 1, dim)``, which the end of the round adds.

        Args:
            update: ``(cells, 1, dim)``, of training on its own examples.
            scales, gradients: as of `trained`.
        """
        change = self._changes(update, scales, self.root, gradients)
        self._next_root = torch.where(torch.isfinite(change).all(-1, keepdim=True), self.root + change, self.root)
        return change

    def aggregate(
        self, sent: Tensor, cohort: Cohort, r: int, attacked: Sequence[int], root: Callable[[], Tensor] | None
    ) -> None:
        """Aggregate the changes, and move the server's variate.

        Args:
            sent: ``(cells, clients, dim)``, the updates after the attack.
            cohort: of the round.
            r: the round.
            attacked: cells whose malicious clients attack updates in this round.
            root: gives the server's own change, ``(cells, dim)``, to rules that ask; None: it has no examples.
        """
        of_changes = replace(cohort, previous=self.previous, model=self.server, trusted=root or cohort.trusted)
        changes = self._attacked(sent, of_changes, r, attacked)
        answer, _ = self.aggregation.update(changes, of_changes, lengths(changes).cpu())
        self.previous = answer
        self.server = self.server + (changes.shape[1] / self.members) * answer
        if self._next_root is not None:
            self.root, self._next_root = self._next_root, None

    def _attacked(self, sent: Tensor, cohort: Cohort, r: int, attacked: Sequence[int]) -> Tensor:
        """The changes as they are sent."""
        if not attacked or self.chosen.malicious == "honest":
            return self.changes
        out = self.changes.clone()
        for s in attacked:
            attacker = self.attackers[s]
            assert attacker is not None
            if self.chosen.malicious == "attacked":
                alone = cohort_of_cell(cohort, (len(out),), s)
                out[s] = attacker.sent(self.changes[s], alone, r, self.aggregation.question)
                continue
            rows = torch.tensor([c in attacker.malicious for c in cohort.clients[s].tolist()], device=out.device)
            scales = self._scales[s]
            steps = torch.where(scales > 0, scales, scales.max())  # one without examples makes as many as others
            if bool(rows.any()) and bool(steps.max() > 0):
                out[s, rows] = self._second(sent[s], steps, self.server[s])[rows]
        return out

    def _changes(self, updates: Tensor, scales: Tensor, own: Tensor, gradients: Callable[[], Tensor]) -> Tensor:
        if self.chosen.option == 1:
            out = gradients() - own
            out[..., self.learned :] = 0.0
        else:
            out = self._second(updates, scales, self.server.unsqueeze(1))
        return torch.where((scales > 0).unsqueeze(-1), out, torch.zeros_like(out))

    def _second(self, updates: Tensor, scales: Tensor, server: Tensor) -> Tensor:
        """-c - x / (lr |a|_1), of learned columns."""
        rates = (1.0 / scales.clamp(min=1e-300)).unsqueeze(-1)
        out = -server - (updates.double() * rates).to(updates.dtype)
        out[..., self.learned :] = 0.0
        return out

    def _places(self, ids: Tensor) -> Tensor:
        return ids.to(self.clients.device).unsqueeze(-1).expand(*ids.shape, self.clients.shape[2])

    def state_of(self, s: int) -> dict[str, Any]:
        """All that moves in one cell."""
        attacker = self.attackers[s]
        memories = {"rule": self.aggregation.memory, "attacker": None if attacker is None else attacker.memory}
        return {name: getattr(self, name)[s] for name in TENSORS} | memories

    def restore(self, s: int, kept: dict[str, Any]) -> None:
        """The reverse of `state_of`.

        Raises:
            ValueError, KeyError: it is of another federation.
        """
        for name in TENSORS:
            put(getattr(self, name)[s], kept[name], name)
        if kept["rule"] is not None:
            self.aggregation.memory = kept["rule"]
        if (attacker := self.attackers[s]) is not None:
            attacker.memory = kept["attacker"]


def put(own: Tensor, kept: Tensor, name: str) -> None:
    """A tensor of a checkpoint to its place.

    Raises:
        ValueError: it is of another shape or type.
    """
    if own.shape != kept.shape or own.dtype != kept.dtype:
        raise ValueError(f"{name} has shape {tuple(kept.shape)}, needs {tuple(own.shape)}")
    own.copy_(kept)
