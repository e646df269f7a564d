"""Who takes part in a round, and which examples each client trains on, as functions of the cell's seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.federation.population import generator
from flipbench.spec.cell import Cell
from flipbench.spec.seeds import named_seed


class BatchStream:
    """Which examples each client trains on, as a pure function of (client, how often it has taken part).

    With ``local_steps`` a client reads full batches from an endless sequence of shuffled passes over its examples, or
    draws each batch anew (``sampling``); with ``local_epochs`` each round makes whole passes, the last batch of a pass
    being smaller or left out. A full batch is not shuffled. Nothing depends on the rule, the attack or other clients;
    balanced batches depend on the true labels.
    """

    def __init__(self, cell: Cell, parts: tuple[Tensor, ...], labels: Tensor, purpose: str = "batches") -> None:
        self.cell, self.parts, self.labels, self.purpose = cell, parts, labels, purpose
        self.sizes = [len(p) for p in parts]
        self._pass: dict[int, tuple[int, Tensor]] = {}  # client -> the shuffled pass used last
        self._flat: tuple[Any, Any, Any] | None = None  # keys of the clients; ends and rows of the parts in one array
        self._classes: dict[
            int, tuple[Tensor, Tensor, Tensor]
        ] = {}  # client -> rows by class, where each begins, sizes

    def round(self, clients: list[int], turns: list[int]) -> tuple[Tensor, Tensor | None]:
        """The batches of one round.

        Args:
            clients: ids of the clients in the round.
            turns: for each, how many rounds it has taken part in before.

        Returns:
            ``(clients, steps, batch)`` int64 rows of the population's labels (padding 0), and the number of real
            examples of each batch ``(clients, steps)``, or None where all are full.
        """
        cell = self.cell
        sizes = [self.sizes[c] for c in clients]
        if cell.local_steps is not None and cell.batch_size != "full":
            return self._steps(clients, turns, cell.local_steps, cell.batch_size)
        batch = max(1, max(sizes)) if cell.batch_size == "full" else cell.batch_size
        passes = cell.local_steps or cell.epochs or 1  # a full batch is a pass
        per_pass = max(1, max(self._per_pass(n, batch) for n in sizes))
        index = torch.zeros(len(clients), passes * per_pass, batch, dtype=torch.int64)
        counts = torch.zeros(len(clients), passes * per_pass, dtype=torch.int64)
        for i, (client, turn) in enumerate(zip(clients, turns, strict=True)):
            own = self._per_pass(sizes[i], batch)
            if not own:
                continue
            used = min(sizes[i], own * batch)
            sizes_of_batches = torch.full((own,), batch)
            sizes_of_batches[-1] = used - (own - 1) * batch
            for k in range(passes):
                padded = torch.zeros(own * batch, dtype=torch.int64)
                padded[:used] = self._pass_over(client, turn * passes + k)[:used]
                index[i, k * own : (k + 1) * own] = padded.view(own, batch)
                counts[i, k * own : (k + 1) * own] = sizes_of_batches
        return index, None if bool((counts == batch).all()) else counts

    def steps(self, client: int) -> int:
        """Optimiser steps that a client makes in each of its rounds."""
        n, cell = self.sizes[client], self.cell
        if cell.local_steps is not None:
            return cell.local_steps if n else 0
        batch = max(1, n) if cell.batch_size == "full" else cell.batch_size
        return (cell.epochs or 1) * self._per_pass(n, batch)

    def _per_pass(self, examples: int, batch: int) -> int:
        """Batches of a pass."""
        return examples // batch if self.cell.drop_last else -(-examples // batch)

    def _steps(self, clients: list[int], turns: list[int], steps: int, batch: int) -> tuple[Tensor, Tensor | None]:
        """Batches of a fixed number of steps."""
        if self.cell.sampling == "independent":
            return self._independent(clients, turns, steps, batch)
        draw = self._span if self.cell.sampling == "passes" else self._balanced
        rows = [draw(c, t, steps, batch) for c, t in zip(clients, turns, strict=True)]
        real = [batch if self.sizes[c] else 0 for c in clients]
        counts = None if min(real) == batch else torch.tensor([[n] * steps for n in real])
        return torch.stack(rows).view(len(clients), steps, batch), counts

    def _span(self, client: int, turn: int, steps: int, batch: int) -> Tensor:
        """The next examples of the client's endless sequence of shuffled passes."""
        length, n = steps * batch, self.sizes[client]
        start = turn * length
        if not n:
            return torch.zeros(length, dtype=torch.int64)
        pieces, position = [], start
        while position < start + length:
            number, offset = divmod(position, n)
            piece = self._shuffled(client, number)[offset : offset + start + length - position]
            pieces.append(piece)
            position += len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _independent(
        self, clients: list[int], turns: list[int], steps: int, batch: int
    ) -> tuple[Tensor, Tensor | None]:
        """Batches drawn anew, each without replacement; padded where a client has fewer examples."""
        from flipbench.federation import sampling_kernels  # the compiler is loaded on first use

        if self._flat is None:
            keys = [named_seed(self.cell.seed, self.purpose, c) for c in range(len(self.parts))]
            ends = np.cumsum([0, *self.sizes])
            self._flat = np.array(keys, np.uint64), ends, torch.cat(self.parts).numpy()
        index = np.zeros((len(clients), steps, batch), np.int64)
        sampling_kernels.distinct(*self._flat, np.array(clients), np.array(turns), index)
        sizes = [self.sizes[c] for c in clients]
        if min(sizes) >= batch:
            return torch.from_numpy(index), None
        return torch.from_numpy(index), torch.tensor([[min(batch, n)] * steps for n in sizes])

    def _balanced(self, client: int, turn: int, steps: int, batch: int) -> Tensor:
        """For each place in a batch a class that the client has, then an example of it."""
        rows = self.parts[client]
        if not len(rows):
            return torch.zeros(steps * batch, dtype=torch.int64)
        if client not in self._classes:
            sizes = torch.bincount(self.labels[rows])
            sizes = sizes[sizes > 0]
            self._classes[client] = rows[self.labels[rows].argsort(stable=True)], sizes.cumsum(0) - sizes, sizes
        ordered, begin, sizes = self._classes[client]
        draws = self._draws(client, turn)
        which = torch.randint(len(sizes), (steps * batch,), generator=draws)
        inside = (torch.rand(steps * batch, generator=draws, dtype=torch.float64) * sizes[which]).long()
        return ordered[begin[which] + inside]

    def _draws(self, client: int, turn: int) -> torch.Generator:
        return generator(self.cell.seed, self.purpose, client, turn)

    def _pass_over(self, client: int, number: int) -> Tensor:
        """Pass ``number``, shuffled unless it is one batch: its order does not matter."""
        return self.parts[client] if self.cell.batch_size == "full" else self._shuffled(client, number)

    def _shuffled(self, client: int, number: int) -> Tensor:
        """Pass ``number`` over a client's examples."""
        kept = self._pass.get(client)
        if kept is None or kept[0] != number:
            rows = self.parts[client]
            order = torch.randperm(len(rows), generator=self._draws(client, number))
            kept = self._pass[client] = (number, rows[order])
        return kept[1]


def participants(cell: Cell) -> list[list[int]] | None:
    """Who takes part in each round, ascending; None: all clients in every round."""
    if cell.per_round == cell.members:
        return None
    return [
        sorted(torch.randperm(cell.members, generator=generator(cell.seed, "sampling", r))[: cell.per_round].tolist())
        for r in range(1, cell.rounds + 1)
    ]
