"""One row after the other: whatever trains in PyTorch trains here, and every other executor must give what this gives.

A row's forward pass sees its real examples alone. Random numbers of functions (``F.dropout``, ``torch.rand``, attention
with dropout) come from torch's generator, which is seeded by the row's key (cell, round, client and step) and left
as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbench.training.executors.held_tensors import send_statistics
from flipbench.training.executors.of_module import OfModule
from flipbench.training.layers.dropout import KEYS
from flipbench.training.layers.protocol import Backward, Parameters, Sink, no_backward

AT_ONCE = 1 << 22  # numbers of the examples that are evaluated at once
_SEEDS = (1 << 63) - 1  # torch's generator takes no negative ones


@dataclass(frozen=True)
class Loop(OfModule):
    """Any module, called once for each row.

    Attributes:
        module: as of `OfModule`.
    """

    name = "loop"
    random = True  # whether a forward pass draws may depend on its input
    whole_cells = False

    def width(self, device: torch.device) -> int | None:
        """One row: more would need their graphs at the same time, and be no faster."""
        return 1

    def trained(self, x: Tensor, p: Parameters, counts: Tensor | None) -> tuple[Tensor, Backward]:
        """As `OfModule`."""
        rows, batch = x.shape[:2]
        numbers = [batch] * rows if counts is None else counts.tolist()
        keys = p[KEYS]
        seeds = (keys & _SEEDS).tolist()
        answers: list[_Answer | None] = []
        with _generators_kept(x.device):
            for r, number in enumerate(numbers):
                own = {n: t[r * len(t) // rows] for n, t in p.items() if n != KEYS}
                torch.manual_seed(seeds[r])
                answers.append(self._answer(x[r, :number], own, keys[r]) if number else None)
        logits = _padded([None if a is None else a.logits.detach() for a in answers], batch)
        return logits, _Pass(answers, p, rows).back

    def predicted(self, x: Tensor, p: Parameters) -> tuple[Tensor, Backward]:
        """As `OfModule`; some examples of a row at a time."""
        rows, some = len(x), max(1, AT_ONCE // max(1, x[0, :1].numel()))
        out = []
        with _generators_kept(x.device), torch.no_grad():
            for r in range(rows):
                own = {n: t[r * len(t) // rows] for n, t in p.items() if n != KEYS}
                out.append(torch.cat([self._answer(part, own, None).logits for part in x[r].split(some)]))
        return torch.stack(out), no_backward

    def _answer(self, x: Tensor, own: dict[str, Tensor], key: Tensor | None) -> _Answer:
        """The forward pass of one row."""
        # Copies: a sink changes weights in place, and a module may write into buffers and into its input.
        given = {name: t.detach().clone() for name, t in own.items()}
        leaves = {} if key is None else {name: self.held.leaf(name, given[name]) for name in self.held.learned}
        with torch.set_grad_enabled(key is not None), self.stand_ins.standing(key):
            logits, buffers = self.held.call(given, x.clone())
        return _Answer(logits, leaves, {name: t.detach() for name, t in buffers.items()})


@dataclass(frozen=True)
class _Answer:
    """What one row's forward pass gave.

    Attributes:
        logits: with their graph.
        leaves: parameters of the row, at the end of the graph.
        buffers: float buffers afterwards.
    """

    logits: Tensor
    leaves: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def gradients(self, dy: Tensor) -> dict[str, Tensor]:
        """Of the parameters that the logits depend on."""
        if not self.logits.requires_grad:
            return {}
        given = torch.autograd.grad(self.logits, list(self.leaves.values()), dy, allow_unused=True)
        return {name: g for name, g in zip(self.leaves, given, strict=True) if g is not None}


@dataclass(frozen=True)
class _Pass:
    """The backward pass of some rows, of which those without examples have no answer."""

    answers: list[_Answer | None]
    parameters: Parameters
    rows: int

    def back(self, dy: Tensor, sink: Sink, need_dx: bool) -> None:
        """As `layers.protocol.Backward`; the gradient of the input is asked of layers alone."""
        assert not need_dx
        found = [{} if a is None else a.gradients(dy[r, : len(a.logits)]) for r, a in enumerate(self.answers)]
        for name in dict.fromkeys(name for one in found for name in one):
            like = next(one[name] for one in found if name in one)
            sink.plain(name, torch.stack([one.get(name, torch.zeros_like(like)) for one in found]))
        before: dict[str, Tensor] = {}
        after: dict[str, Tensor] = {}
        for name in next((a.buffers for a in self.answers if a is not None), {}):
            t = self.parameters[name]
            before[name] = t.repeat_interleave(self.rows // len(t), 0)
            moved = [before[name][r] if a is None else a.buffers[name] for r, a in enumerate(self.answers)]
            after[name] = torch.stack(moved)
        send_statistics(before, after, sink)


def _padded(logits: list[Tensor | None], batch: int) -> Tensor:
    """``(rows, batch, classes)``, zero where there is no example; at least one row has some."""
    like = next(t for t in logits if t is not None)
    out = like.new_zeros(len(logits), batch, like.shape[-1])
    for into, own in zip(out, logits, strict=True):
        if own is not None:
            into[: len(own)] = own
    return out


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    """torch's global generators are afterwards what they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
