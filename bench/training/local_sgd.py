"""Local SGD of all clients between two rounds, in lockstep.

FedSGD (one step a round) never makes a copy of the weights for each client: all rows of a cell share the global ones
and only their gradients differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training import softmax_regression
from flipbench.training.batches import Batches
from flipbench.training.flat_parameters import views
from flipbench.training.inputs import Inputs
from flipbench.training.layers.dropout import KEYS
from flipbench.training.layers.protocol import Sink
from flipbench.training.layers.stacked_model import Stacked
from flipbench.training.optimisers.kept_states import KeptStates
from flipbench.training.optimisers.local import Momentum
from flipbench.training.optimisers.row_steps import OptimiserRows, StepRule
from flipbench.training.optimizer import FirstStep, Recipe, SgdRows, StartGradients, rates_of
from flipbench.training.parameter_rows import ParameterRows

_OTHER_COPIES = 5  # weights, gradients, states and direction of another optimiser
_CACHE = 4 << 20  # bytes; HAM10000's MLP, 5 steps: 11 ms a step in pieces of 4 MB, 16.5 ms all 20 clients at once


@dataclass(frozen=True)
class LocalRound:
    """All that the clients of one round train with.

    Attributes:
        net: the stacked model.
        layout: of the vector.
        start: ``(cells, dim)``, the global weights.
        inputs: of the examples that batches index.
        batches: the examples of each step.
        recipe: of local SGD.
        momenta: ``(cells, clients, dim)``, of FedSGD (one step): filled in place with keep x momentum + (1 - keep) x
            update and returned, without the updates being written in between.
        keep: beta of the clients' momentum.
        buffers: ``(cells, clients, dim)``, the momentum buffers that clients kept: used and moved on in place.
        shifts: ``(cells, clients, dim)``, added to each gradient (SCAFFOLD); None: nothing is.
        statistics: names of running statistics, which no optimiser moves; needed where `plain` does not hold.
        kept: states of any other optimiser than plain SGD, of these clients: used and moved on; None: none are kept.
        at_start: whether the mean gradients at the start are wanted in place of updates.
    """

    net: Stacked
    layout: Layout
    start: Tensor
    inputs: Inputs
    batches: Batches
    recipe: Recipe
    momenta: Tensor | None = None
    keep: float = 0.0
    buffers: Tensor | None = None
    shifts: Tensor | None = None
    statistics: frozenset[str] = frozenset()
    kept: KeptStates | None = None
    at_start: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is SGD with or without momentum and nothing else, which has code of its own."""
        return self.recipe.plain and self.shifts is None and not self.at_start

    @property
    def one_step(self) -> bool:
        """Whether it is FedSGD without buffers that clients keep."""
        return self.batches.index.shape[2] == 1 and self.buffers is None and self.plain


@dataclass(frozen=True)
class _Piece:
    """Rows that are trained at once.

    Attributes:
        of: the round.
        start: ``(cells, dim)``, of the cells whose rows these are; rows of a cell stand side by side.
        batches: ``(rows, steps, batch)``.
        factors: ``(rows, steps)`` on the learning rate; None: 1.
        out: ``(rows, dim)``, where updates are written.
        buffers: ``(rows, dim)``, momentum buffers that clients kept; None: none.
        here: which of all rows these are.
    """

    of: LocalRound
    start: Tensor
    batches: Batches
    factors: Tensor | None
    out: Tensor
    buffers: Tensor | None
    here: slice


def train(work: LocalRound) -> Tensor:
    """Every client's update after its local steps.

    Returns:
        ``(cells, clients, dim)``: new minus old weights, or the momenta of these. A client without examples has an
        update of zero.

    Raises:
        IndexError: on the CPU, a batch asks for an example that there is not.
    """
    start, recipe = work.start, work.recipe
    cells, clients = work.batches.index.shape[:2]
    rows = cells * clients
    out = start.new_empty(rows, start.shape[1]) if work.momenta is None else work.momenta.view(rows, -1)
    factors = None if recipe.factors is None else recipe.factors.flatten(0, 1)
    if work.one_step and softmax_regression.serves(work.net.regression, work.inputs, work.batches, start):
        now = work.batches.map(lambda t: t.reshape(rows, *t.shape[3:]))
        rates = rates_of(-recipe.lr * (1.0 - work.keep), rows, None if factors is None else factors[:, 0])
        rows_out, decay = ParameterRows(out, work.layout), recipe.weight_decay
        _regress(work, now, ParameterRows(start, work.layout), rows_out, work.keep, rates, decay)
        return out.view(cells, clients, -1)
    batches = work.batches.map(lambda t: t.flatten(0, 1))
    buffers = None if work.buffers is None else work.buffers.view(rows, -1)
    pieces = [
        _Piece(
            work,
            start[owners],
            batches if here == slice(0, rows) else batches.map(lambda t, here=here: t[here]),  # type: ignore[misc]
            None if factors is None else factors[here],
            out[here],
            None if buffers is None else buffers[here],
            here,
        )
        for here, owners in _pieces(cells, clients, _width(work))
    ]
    if work.one_step:
        for piece in pieces:
            _one_step(piece)
    else:  # one room for all pieces: the next one finds it in the cache
        most = max(len(piece.out) for piece in pieces)
        weights = ParameterRows.zeros(most, work.layout, start)
        velocity = ParameterRows.zeros(most, work.layout, start) if recipe.momentum and work.plain else None
        for piece in pieces:
            _many_steps(piece, weights, velocity)
    return out.view(cells, clients, -1)


def gradients_at_start(work: LocalRound) -> Tensor:
    """Every client's gradient at the weights that it starts from, over all examples of its steps.

    Each batch counts by its examples (with `Recipe.summed`, where steps follow sums, equally); weight decay is part of
    it, clipping and FedProx are not. A step's batch statistics are its own, as in training.

    Returns:
        ``(cells, clients, dim)``; 0 for a client without examples, and for running statistics.
    """
    plain = replace(work.recipe, optimiser=None, clip=None, mu=0.0)
    return train(replace(work, recipe=plain, shifts=None, kept=None, buffers=None, momenta=None, at_start=True))


def _shares(batches: Batches, summed: bool) -> Tensor:
    """The share of each step in a row's gradient, ``(rows, steps)``."""
    if batches.counts is None:
        return torch.full(batches.index.shape[:2], 1.0 / batches.index.shape[1], device=batches.index.device)
    sizes = (batches.counts > 0).double() if summed else batches.counts.double()
    return sizes / sizes.sum(1, keepdim=True).clamp(min=1.0)


def _width(work: LocalRound) -> int | None:
    """Rows to train at once; None: all. Which ones train together changes no number, only the speed.

    On the CPU, rows that have weights of their own stay together in the processor's cache over all their steps; rows
    that share them are whole cells, whose inputs stay there from one product to the next.
    """
    start, known = work.start, work.net.width(work.start.device)
    if work.net.whole_cells:
        return min(known or work.batches.index.shape[1], work.batches.index.shape[1])
    if start.device.type != "cpu":
        return known
    if work.one_step:
        clients, batch = work.batches.index.shape[1], work.batches.index.shape[3]
        inputs = 0 if work.inputs.kept else batch * work.inputs.bytes_of_a_row  # those that are kept stay in one piece
        return known or max(clients, _CACHE // max(1, inputs))
    copies = 1 + (work.recipe.momentum > 0) if work.plain else _OTHER_COPIES
    bytes_of_a_row = 4 * start.shape[1] * copies
    return min(known or 1 << 30, max(1, _CACHE // bytes_of_a_row))


def _pieces(cells: int, clients: int, width: int | None) -> Iterator[tuple[slice, slice]]:
    """Rows ``cells x clients`` in pieces of whole cells, or of one cell; with each piece its cells."""
    if width is None or width >= clients:
        many = cells if width is None else width // clients
        for c in range(0, cells, many):
            last = min(c + many, cells)
            yield slice(c * clients, last * clients), slice(c, last)
        return
    for c in range(cells):
        for low in range(0, clients, width):
            yield slice(c * clients + low, c * clients + min(low + width, clients)), slice(c, c + 1)


def _one_step(piece: _Piece) -> None:
    """FedSGD: the update is written where it will lie."""
    work, out, keep = piece.of, piece.out, piece.of.keep
    now = piece.batches.map(lambda t: t[:, 0])
    idle = None if now.counts is None else (now.counts == 0).nonzero().squeeze(1)
    rest = None if idle is None else out[idle] * keep if keep else torch.zeros_like(out[idle])
    factors = None if piece.factors is None else piece.factors[:, 0]
    sink = FirstStep(out, piece.start, work.layout, work.recipe, keep, factors)
    _step(work, views(piece.start, work.layout), now, sink)
    sink.finish()
    if idle is not None and rest is not None:
        out[idle] = rest  # weight decay and batch statistics need examples too


def _many_steps(piece: _Piece, weights: ParameterRows, velocity: ParameterRows | None) -> None:
    """Local SGD on weights of the rows' own; what is left of them without the old ones is the update.

    Args:
        piece: the rows.
        weights: room for the weights of at least as many rows.
        velocity: room for their momentum buffers; None without momentum.
    """
    work, batches, factors = piece.of, piece.batches, piece.factors
    rows = len(batches.index)
    owners = torch.arange(rows, device=piece.start.device) // (rows // len(piece.start))
    order, counts = None, batches.counts
    if counts is not None:  # most steps first: the clients still at work are always a prefix
        order = (counts > 0).sum(1).argsort(descending=True, stable=True)
        batches, owners = batches.map(lambda t: t[order]), owners[order]
        factors = None if factors is None else factors[order]
    weights, old = weights.first(rows), views(piece.start, work.layout)
    for name, own in weights.views.items():
        own.copy_(old[name] if len(piece.start) == 1 else old[name][owners])
    rows_of = _rows(piece, weights, None if velocity is None else velocity.first(rows), order, batches)
    for step, (active, full) in enumerate(_at_work(batches)):
        if not active:
            break
        now = batches.map(lambda t, step=step, active=active: t[:active, step])  # type: ignore[misc]
        if full:
            now = replace(now, counts=None)
        working, sink = weights.first(active), rows_of.sink(active, None if factors is None else factors[:active, step])
        if softmax_regression.serves(work.net.regression, work.inputs, now, piece.start):
            _regress(work, now, working, *sink.formula(), decay=sink.decay)
        else:
            _step(work, working.views, now, sink)
        sink.finish()
    for name, update in views(piece.out, work.layout).items():
        own, base = weights.views[name], old[name] if len(piece.start) == 1 else old[name][owners]
        if order is None:
            torch.sub(own, base, out=update)
        else:
            update.index_copy_(0, order, own - base)
    rows_of.keep()


def _rows(
    piece: _Piece, weights: ParameterRows, velocity: ParameterRows | None, order: Tensor | None, batches: Batches
) -> SgdRows | OptimiserRows | StartGradients:
    """The rows of a piece with what moves their weights.

    Args:
        piece: the rows.
        weights: of the rows, as they begin.
        velocity: room for momentum buffers of plain SGD.
        order: places of the rows in the piece; None: as they are.
        batches: of the rows.
    """
    work, recipe = piece.of, piece.of.recipe
    if work.at_start:
        return StartGradients(weights, views(piece.out, work.layout), recipe, _shares(batches, recipe.summed), order)
    if work.plain:
        kept = None if piece.buffers is None else views(piece.buffers, work.layout)
        return SgdRows(weights, velocity, recipe, kept, order)
    optimiser = recipe.optimiser or Momentum(recipe.momentum, False)
    lr, decay = recipe.lr, recipe.weight_decay
    rule = StepRule(optimiser, recipe.name, lr, decay, recipe.clip, recipe.mu, work.statistics)
    shifts = None if work.shifts is None else work.shifts.flatten(0, 1)[piece.here]
    if shifts is not None and order is not None:
        shifts = shifts[order]
    made = OptimiserRows(rule, weights, shifts, work.layout)
    if work.kept is not None:
        made.resume(work.kept, piece.here, order)
    return made


def _at_work(work: Batches) -> list[tuple[int, bool]]:
    """Of each step how many rows have examples, and whether all their batches are full; asked once a round, as each
    question makes a GPU wait."""
    rows, steps, batch = work.index.shape
    if work.counts is None:
        return [(rows, True)] * steps
    some, full = (work.counts > 0).sum(0), (work.counts == batch).sum(0)
    return [(a, a == b) for a, b in torch.stack([some, full]).t().tolist()]


def _regress(
    work: LocalRound,
    now: Batches,
    weights: ParameterRows,
    out: ParameterRows,
    keep: float,
    rates: NDArray[np.float32],
    decay: float,
) -> None:
    """A step of softmax regression: ``out = keep out + rate (gradient + decay weight)``."""
    assert work.net.regression is not None
    decays = rates * np.float32(decay)
    tiny = np.float32(_tiny(torch.float32))
    rule = softmax_regression.Rule(np.float32(keep), rates, decays, work.recipe.summed, tiny)
    softmax_regression.step(work.net.regression, work.inputs, now, weights, out, rule)


def _step(work: LocalRound, parameters: dict[str, Tensor], now: Batches, sink: Sink) -> None:
    """One step of all rows: gather, forward, backward into the sink."""
    inputs, recipe = work.inputs, work.recipe
    rows, batch = now.index.shape
    index = now.index.reshape(-1)
    if now.draws is not None and recipe.change is not None:
        x = recipe.change(inputs.copy(index), now.draws.reshape(-1))  # new ones every time
    else:
        x = inputs.rows(index)
    if now.keys is not None:
        parameters = {**parameters, KEYS: now.keys}
    logits, backward = work.net(x.view(rows, batch, *inputs.shape), parameters, True, now.counts)
    backward(_loss_gradient(logits, now, recipe.summed), sink, False)


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, a tensor of its own."""
    if logits.device.type != "cpu":
        return torch.softmax(logits, dim=-1)
    # Of 950 rows of ten classes: 34 us, torch.softmax 191.
    shares = (logits - logits.amax(-1, keepdim=True)).exp_()
    return shares.div_(shares.sum(-1, keepdim=True))


def _tiny(dtype: torch.dtype) -> float:
    """Numbers below 1e-38 make a product of matrices six times as slow: probabilities that become such are none."""
    number = torch.finfo(dtype)
    return number.tiny / number.eps


def _loss_gradient(logits: Tensor, now: Batches, summed: bool) -> Tensor:
    """Gradient of each row's mean (or summed) cross-entropy: (softmax - one-hot) / examples; padding has none."""
    gradient, counts = _softmax(logits), now.counts
    F.threshold(gradient, _tiny(logits.dtype), 0.0, inplace=True)
    ones = gradient.new_full((1, 1, 1), -1.0).expand(*now.labels.shape, 1)
    gradient.scatter_add_(-1, now.labels.unsqueeze(-1), ones)
    if now.emphasis is not None:
        gradient.mul_(now.emphasis.unsqueeze(-1))
    if counts is None:
        return gradient if summed else gradient.mul_(1.0 / logits.shape[1])
    real = torch.arange(logits.shape[1], device=logits.device) < counts[:, None]
    share = real if summed else real / counts.clamp(min=1)[:, None]
    return gradient.mul_(share.to(gradient.dtype).unsqueeze(-1))
