"""The batches of a round: which examples, with which labels, each client's local steps train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Batches:
    """What each client's steps of one round are made of; with fewer leading dimensions those of some rows or one step.

    Attributes:
        index: ``(cells, clients, steps, batch)`` int64, rows of the training set; padding is 0.
        labels: the same shape, the labels trained on (flipped or not).
        counts: ``(cells, clients, steps)`` int64, real examples of each batch; None: all batches are full.
        emphasis: the shape of index, float32: the weight of each example in the loss; None: 1.
        draws: the shape of index, int64: what augmentation does to each example; None: nothing.
        keys: ``(cells, clients, steps)`` int64, of the dropout of each batch; None: the model has none.
    """

    index: Tensor
    labels: Tensor
    counts: Tensor | None
    emphasis: Tensor | None = None
    draws: Tensor | None = None
    keys: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Batches:
        """The same of every tensor that there is."""

        def of(t: Tensor | None) -> Tensor | None:
            return None if t is None else change(t)

        some = of(self.counts), of(self.emphasis), of(self.draws), of(self.keys)
        return Batches(change(self.index), change(self.labels), *some)


def merge(given: Sequence[Batches], device: torch.device) -> Batches:
    """Batches of several cells in one, padded where cells differ in steps or batch size.

    Args:
        given: of each cell, without a dimension of cells.
        device: where they go.
    """
    if len(given) == 1:
        return given[0].map(lambda t: t.unsqueeze(0).to(device))
    steps, batch = max(g.index.shape[1] for g in given), max(g.index.shape[2] for g in given)
    even = all(g.index.shape[1:] == (steps, batch) for g in given)

    def joined(tensors: list[Tensor | None]) -> Tensor | None:
        if tensors[0] is None:
            return None
        return torch.stack([_padded(t, steps, batch) for t in tensors if t is not None]).to(device)

    if even and all(g.counts is None for g in given):
        counts: list[Tensor | None] = [None]
    else:
        counts = [torch.full(g.index.shape[:2], g.index.shape[2]) if g.counts is None else g.counts for g in given]
    index, labels = joined([g.index for g in given]), joined([g.labels for g in given])
    assert index is not None
    assert labels is not None
    rest = (joined([getattr(g, name) for g in given]) for name in ("emphasis", "draws", "keys"))
    return Batches(index, labels, joined(counts), *rest)


def _padded(t: Tensor, steps: int, batch: int) -> Tensor:
    """``(clients, steps[, batch])`` with zeros behind."""
    short = (0, batch - t.shape[2]) if t.ndim == 3 else ()
    more = (*short, 0, steps - t.shape[1])
    return F.pad(t, more) if any(more) else t
