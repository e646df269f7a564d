"""Local training of a round, prepared: batches with labels, example weights and draws, and learning rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.federation.batch_sampling import BatchStream
from flipbench.federation.malicious_clients import Relabeller
from flipbench.federation.population import Population, generator
from flipbench.plugins import guard
from flipbench.spec.cell import Cell
from flipbench.spec.seeds import named_seed
from flipbench.training.augmentation import none
from flipbench.training.batches import Batches
from flipbench.training.layers.counter_rng import step_keys
from flipbench.training.losses import cross_entropy
from flipbench.training.optimisers import local
from flipbench.training.optimizer import Recipe

Schedule = Callable[[int, int], float]
_ROOT = "root batches"


@dataclass(frozen=True)
class Habits:
    """Settings of local training that all clients share, beyond the numbers of a cell.

    Attributes:
        schedule: ``(t, rounds) -> factor on the learning rate``, t from `Cell.schedule_start`.
        loss: one of `training.losses`.
        augment: one of `training.augmentation`.
        black: ``(channels, height, width)``, a black image at the data's pixel scale; needed by an augmentation.
        dropout: whether the model draws random numbers (`Batches.keys`).
        optimiser: of local steps: one of `training.optimisers.local`, or a plug-in's.
        mu: of FedProx; 0: there is none.
    """

    schedule: Schedule
    loss: Any = field(default_factory=cross_entropy)
    augment: Any = field(default_factory=none)
    black: Tensor | None = None
    dropout: bool = False
    optimiser: Any = field(default_factory=local.sgd)
    mu: float = 0.0


class Work:
    """Batches and learning rates of one cell's clients, and of the server's training on its own examples."""

    def __init__(self, cell: Cell, population: Population, classes: int, habits: Habits) -> None:
        self.cell, self.population, self.classes, self.habits = cell, population, classes, habits
        self.stream = BatchStream(cell, population.parts, population.labels)
        self.root = BatchStream(cell, (population.root,), population.labels, _ROOT)
        rows = torch.cat(population.parts[: cell.clients])
        self._counts = torch.bincount(population.labels[rows], minlength=classes)
        self._weights: dict[tuple[int, bool], Tensor | None] = {}  # (client, attack on) -> (L,)
        self._frozen: Tensor | None = None  # draws of each training example

    def drawn(self, clients: list[int], turns: list[int]) -> Batches:
        """Examples, augmentation and dropout of a round, which depend on the seed alone; labels are not set yet."""
        return self._drawn(self.stream, clients, turns)

    def of_round(
        self,
        drawn: Batches,
        clients: list[int],
        r: int,
        relabeller: Relabeller | None,
        scores: Callable[[Tensor], Tensor],
    ) -> Batches:
        """Drawn batches with the labels and example weights of the round.

        Args:
            drawn: from `drawn`, of this cell or of another one with its seed.
            clients: ids of the clients in this round.
            r: the round.
            relabeller: of a dynamic attack; None: labels do not depend on the model.
            scores: rows of the training set -> logits of the current global model, for a dynamic attack.
        """
        p, index = self.population, drawn.index
        on = r in p.attack_rounds
        if on and relabeller is not None:
            labels = relabeller.labels(clients, index, r, scores)
        else:
            labels = _at(p.flipped if on else p.labels, index)
        moved = p.moved if on and p.moved is not None else p.source
        rows = index if moved is None else _at(moved, index)
        return Batches(rows, labels, drawn.counts, self._emphasis(clients, labels, on), drawn.draws, drawn.keys)

    def of_root(self, r: int) -> Batches:
        """Batches of the server, which trains like one client that takes part in every round."""
        drawn = self._drawn(self.root, [0], [r - 1])
        batches = replace(drawn, labels=self.population.labels[drawn.index])
        counts = torch.bincount(self.population.labels[self.population.root], minlength=self.classes)
        weights = self._loss_weights(counts)
        return batches if weights is None else replace(batches, emphasis=weights[batches.labels])

    def factors(self, clients: list[int], turns: list[int]) -> Tensor:
        """Factors on the learning rate, ``(clients, steps)``, of a cell whose schedule does not count rounds.

        Args:
            clients: ids of the clients in this round.
            turns: for every client of the cell, the number of rounds it has taken part in before.
        """
        with guard.foreign(self.habits.schedule, self.cell.schedule):
            return self._factors(clients, turns)

    def _factors(self, clients: list[int], turns: list[int]) -> Tensor:
        steps = [self.stream.steps(c) for c in clients]
        before = 0  # steps of all clients so far
        if self.cell.schedule_clock == "shared_step":
            before = sum(turn * self.stream.steps(c) for c, turn in enumerate(turns) if turn)
        out = torch.ones(len(clients), max(1, *steps))
        for i, (client, own) in enumerate(zip(clients, steps, strict=True)):
            out[i, :own] = self._rates(turns[client], own, before)
            before += own
        return out

    def root_factors(self, r: int) -> Tensor:
        """`factors` of the server, ``(1, steps)``; it takes part in every round."""
        steps = self.root.steps(0)
        with guard.foreign(self.habits.schedule, self.cell.schedule):
            return self._rates(r - 1, steps, (r - 1) * steps).unsqueeze(0)

    def _rates(self, turn: int, steps: int, before: int) -> Tensor:
        """Factors of the steps of one client's round."""
        starts = {"participation": turn, "local_step": 0, "client_step": turn * steps, "shared_step": before}
        start = self.cell.schedule_start + starts[self.cell.schedule_clock]
        if self.cell.schedule_clock == "participation":
            return torch.full((steps,), self.habits.schedule(start, self.cell.rounds))
        return torch.tensor([self.habits.schedule(start + j, self.cell.rounds) for j in range(steps)])

    def _drawn(self, stream: BatchStream, clients: list[int], turns: list[int]) -> Batches:
        index, counts = stream.round(clients, turns)
        keys = None
        if self.habits.dropout:
            purpose = f"dropout of {stream.purpose}"
            seeds = [named_seed(self.cell.seed, purpose, *pair) for pair in zip(clients, turns, strict=True)]
            keys = step_keys(torch.tensor(seeds), index.shape[1])
        draws = self._draws(stream.purpose, clients, turns, index, counts)
        return Batches(index, index, counts, None, draws, keys)

    def _draws(
        self, purpose: str, clients: list[int], turns: list[int], index: Tensor, counts: Tensor | None
    ) -> Tensor | None:
        """Random draws of the augmentation, one for each example: the shape of index."""
        if not hasattr(self.habits.augment, "draw"):
            return None
        with guard.foreign(self.habits.augment, self.cell.augmentation):
            return self._augmented(purpose, clients, turns, index, counts)

    def _augmented(
        self, purpose: str, clients: list[int], turns: list[int], index: Tensor, counts: Tensor | None
    ) -> Tensor:
        augment, source = self.habits.augment, self.population.source
        if augment.frozen:
            if self._frozen is None:
                rows = len(self.population.labels) if source is None else int(source.max()) + 1
                self._frozen = augment.draw(rows, generator(self.cell.seed, "augmentation of examples"))
            return self._frozen[index if source is None else source[index]]
        out = torch.zeros_like(index)
        places = torch.arange(index.shape[2])
        for i, pair in enumerate(zip(clients, turns, strict=True)):
            draws = generator(self.cell.seed, f"augmentation of {purpose}", *pair)
            if counts is None:
                out[i] = augment.draw(index[i].numel(), draws).view_as(index[i])
            else:  # one draw a real example, so that padding changes nothing
                out[i][places < counts[i][:, None]] = augment.draw(int(counts[i].sum()), draws)
        return out

    def _emphasis(self, clients: list[int], labels: Tensor, on: bool) -> Tensor | None:
        """The weight of each example in the loss, the shape of labels."""
        weights = [self._class_weights(c, on) for c in clients]
        if all(w is None for w in weights):
            return None
        ones = torch.ones(self.classes)
        each = (ones if w is None else w for w in weights)
        return torch.stack([w[own] for w, own in zip(each, labels, strict=True)])

    def _class_weights(self, client: int, on: bool) -> Tensor | None:
        """``(L,)``, the loss's weights of the classes for one client; None: all 1."""
        if (client, on) not in self._weights:
            p = self.population
            own = (p.flipped if on else p.labels)[p.parts[client]]
            counts = torch.bincount(own, minlength=self.classes)
            self._weights[client, on] = self._loss_weights(counts)
        return self._weights[client, on]

    def _loss_weights(self, counts: Tensor) -> Tensor | None:
        """The weights that the loss gives the classes, from the examples of each that a client trains on."""
        loss = self.habits.loss
        with guard.foreign(loss, self.cell.loss) as call:
            weights = loss.weights(counts, call.lend("the counts of all clients", self._counts))
        return None if weights is None else call.own(weights)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]``, in half the time."""
    return values.index_select(0, index.reshape(-1)).view(index.shape)


def recipe(cell: Cell, habits: Habits, r: int, factors: Sequence[Tensor], device: torch.device) -> Recipe:
    """Settings of local training in one round of a stack of cells.

    Args:
        cell: any cell of the stack; they share what is read here.
        habits: of the stack.
        r: the round.
        factors: for each cell ``(clients, steps)``; empty: the schedule counts rounds.
        device: of the factors in the result.
    """
    augment = habits.augment
    black = habits.black if habits.black is None or guard.is_ours(augment) else habits.black.clone()
    change = partial(augment.apply, black=black) if hasattr(augment, "apply") else None
    lr, padded = cell.learning_rate, None
    if factors:
        steps = max(f.shape[1] for f in factors)
        padded = torch.stack([torch.nn.functional.pad(f, (0, steps - f.shape[1])) for f in factors]).to(device)
    else:
        with guard.foreign(habits.schedule, cell.schedule):
            lr *= habits.schedule(cell.schedule_start + r - 1, cell.rounds)
    return Recipe(
        lr,
        cell.momentum,
        cell.weight_decay,
        cell.reduction == "sum",
        padded,
        change,
        local.of_cell(habits.optimiser, cell.momentum),
        guard.name_of(cell.optimiser),
        cell.clip_gradient,
        habits.mu,
    )
