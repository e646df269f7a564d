"""All rows at once by `torch.func.vmap`, with float buffers as state beside the parameters.

Rows of one call have equally many examples. Where an example's logits and gradients do not depend on the others of its
batch and nothing is drawn, batches are filled up instead, so that one call serves all rows; `executors.choice` tries
whether that is so. The rows of one cell stand together in a call, and no others: kernels for many rows may give other
bits than those for few. In evaluation rows go one after the other, as in `loop`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbench.training.executors.all_rows import AllRows
from flipbench.training.executors.held_tensors import send_statistics
from flipbench.training.layers.dropout import KEYS
from flipbench.training.layers.protocol import Backward, Parameters, Sink, per_row


@dataclass(frozen=True)
class Vmapped(AllRows):
    """Any module that `torch.func.vmap` can run.

    Attributes:
        module: as of `OfModule`.
        padded: whether rows with fewer examples are filled up; else rows of equally many go together.
    """

    padded: bool = False

    name = "vmap"

    def trained(self, x: Tensor, p: Parameters, counts: Tensor | None) -> tuple[Tensor, Backward]:
        """As `OfModule`."""
        groups = _groups(None if self.padded else counts, x.shape[0], x.shape[1], x.device)
        own = {name: per_row(t, len(x)).detach() for name, t in p.items()}
        parts = [self._part(x, own, rows, number) for rows, number in groups]
        first = parts[0].logits
        logits = first.new_zeros(*x.shape[:2], first.shape[-1])
        for part in parts:
            logits[part.rows, : part.number] = part.logits.detach()
        return logits, _Pass(parts, {name: own[name] for name in self.held.statistics}).back

    def _part(self, x: Tensor, own: dict[str, Tensor], rows: Tensor, number: int) -> _Part:
        """The forward pass of rows that have the same number of examples."""
        # Copies: a sink changes weights in place, and a module may write into buffers and into its input.
        given = {name: t[rows] for name, t in own.items()}
        keys = given.pop(KEYS) if KEYS in given else torch.zeros_like(rows)
        leaves = {name: given[name].requires_grad_() for name in self.held.learned}

        def one(a: Tensor, tensors: dict[str, Tensor], key: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            with self.stand_ins.standing(key):
                return self.held.call(tensors, a)

        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            logits, buffers = torch.func.vmap(one)(x[rows, :number], given, keys)
        return _Part(rows, number, logits, leaves, {name: t.detach() for name, t in buffers.items()})


@dataclass(frozen=True)
class _Part:
    """What the forward pass of some rows gave.

    Attributes:
        rows: ``(some,)`` int64, which ones.
        number: of examples of each.
        logits: ``(some, number, classes)``, with their graph.
        leaves: parameters, ``(some, *shape)``.
        buffers: float buffers afterwards, ``(some, *shape)``.
    """

    rows: Tensor
    number: int
    logits: Tensor
    leaves: dict[str, Tensor]
    buffers: dict[str, Tensor]


@dataclass(frozen=True)
class _Pass:
    """The backward pass; ``before`` are the float buffers of all rows, ``(rows, *shape)``."""

    parts: list[_Part]
    before: dict[str, Tensor]

    def back(self, dy: Tensor, sink: Sink, need_dx: bool) -> None:
        """As `layers.protocol.Backward`; the gradient of the input is asked of layers alone."""
        assert not need_dx
        gradients: dict[str, Tensor] = {}
        for part in self.parts:
            found: tuple[Tensor | None, ...] = ()
            if part.logits.requires_grad:
                slope = dy[part.rows, : part.number]
                found = torch.autograd.grad(part.logits, list(part.leaves.values()), slope, allow_unused=True)
            for name, g in zip(part.leaves, found, strict=False):
                if g is not None:  # what forward does not use has none, so that weight decay leaves it alone too
                    gradients.setdefault(name, g.new_zeros(len(dy), *g.shape[1:]))[part.rows] = g
        for name, g in gradients.items():
            sink.plain(name, g)
        after = {name: t.clone() for name, t in self.before.items()}
        for part in self.parts:
            for name, t in part.buffers.items():
                after[name][part.rows] = t
        send_statistics(self.before, after, sink)


def _groups(counts: Tensor | None, rows: int, batch: int, device: torch.device) -> list[tuple[Tensor, int]]:
    """Rows with equally many examples, and how many; those without any are left out."""
    if counts is None:
        return [(torch.arange(rows, device=device), batch)]
    return [((counts == number).nonzero().squeeze(1), number) for number in counts.unique().tolist() if number]
