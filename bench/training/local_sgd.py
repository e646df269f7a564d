"""What clients do between two rounds: local SGD, in lockstep.

FedSGD (one step a round) never makes a copy of the weights for each client: all rows of a cell share the global ones
and only their gradients differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training import softmax_regression
from flipbench.training.flat_parameters import views
from flipbench.training.inputs import Inputs
from flipbench.training.layers.dropout import KEYS
from flipbench.training.layers.stacked_model import Linear, Stacked
from flipbench.training.optimizer import Bench, FirstStep, LocalSgd, Recipe, rates_of

_CACHE = 4 << 20  # bytes; HAM10000's MLP, 5 steps: 11 ms a step in pieces of 4 MB, 16.5 ms all 20 clients at once


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


def train(
    net: Stacked,
    layout: Layout,
    start: Tensor,
    inputs: Inputs,
    batches: Batches,
    recipe: Recipe,
    momenta: Tensor | None = None,
    keep: float = 0.0,
    buffers: Tensor | None = None,
) -> Tensor:
    """Every client's update after its local steps.

    Args:
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

    Returns:
        ``(cells, clients, dim)``: new minus old weights, or the momenta of these. A client without examples has an
        update of zero.
    """
    cells, clients, steps, batch = batches.index.shape
    rows, one_step = cells * clients, steps == 1 and buffers is None
    out = start.new_empty(rows, start.shape[1]) if momenta is None else momenta.view(rows, -1)
    factors = None if recipe.factors is None else recipe.factors.flatten(0, 1)
    if one_step and net.regression is not None and softmax_regression.serves(net.regression, inputs, batches, start):
        now = batches.map(lambda t: t.reshape(rows, *t.shape[3:]))
        rates = rates_of(-recipe.lr * (1.0 - keep), rows, None if factors is None else factors[:, 0])
        places = softmax_regression.Rows.of(start, layout), softmax_regression.Rows.of(out, layout)
        _regress(net.regression, inputs, now, recipe, rates, *places, keep)
        return out.view(cells, clients, -1)
    work = batches.map(lambda t: t.flatten(0, 1))
    kept = None if buffers is None else buffers.view(rows, -1)
    needed = 0 if inputs.kept else batch * inputs.bytes_of_a_row  # those that are kept stay in one piece
    pieces = list(_pieces(cells, clients, _width(net, start, needed, clients, one_step, recipe)))
    if not one_step:  # one room for all pieces: the next one finds it in the cache
        most = max(here.stop - here.start for here, _ in pieces)
        benches = Bench.of(layout, most, start), Bench.of(layout, most, start) if recipe.momentum else None
    for here, whose in pieces:
        some = work if len(pieces) == 1 else work.map(lambda t, here=here: t[here])  # type: ignore[misc]
        scales = None if factors is None else factors[here]
        if one_step:
            _one_step(net, layout, start[whose], inputs, some, recipe, scales, out[here], keep)
        else:
            own = None if kept is None else kept[here]
            _many_steps(net, layout, start[whose], inputs, some, recipe, scales, out[here], own, *benches)
    return out.view(cells, clients, -1)


def _width(net: Stacked, start: Tensor, inputs: int, clients: int, one_step: bool, recipe: Recipe) -> int | None:
    """Rows to train at once; None: all. Which ones train together changes no number, only the speed.

    On the CPU, rows that have weights of their own stay together in the processor's cache over all their steps; rows
    that share them are whole cells, whose inputs (so many bytes a row) stay there from one product to the next.
    """
    known = net.width(start.device)
    if start.device.type != "cpu":
        return known
    if one_step:
        return known or max(clients, _CACHE // max(1, inputs))
    bytes_of_a_row = 4 * start.shape[1] * (2 if recipe.momentum else 1)
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


def _one_step(
    net: Stacked,
    layout: Layout,
    start: Tensor,
    inputs: Inputs,
    work: Batches,
    recipe: Recipe,
    factors: Tensor | None,
    out: Tensor,
    keep: float,
) -> None:
    """FedSGD: the update is written where it will lie, ``(rows, dim)``."""
    now = work.map(lambda t: t[:, 0])
    idle = None if now.counts is None else (now.counts == 0).nonzero().squeeze(1)
    rest = None if idle is None else out[idle] * keep if keep else torch.zeros_like(out[idle])
    sink = FirstStep(out, start, layout, recipe, keep, None if factors is None else factors[:, 0])
    _step(net, views(start, layout), inputs, now, recipe, sink)
    sink.finish()
    if idle is not None and rest is not None:
        out[idle] = rest  # weight decay and batch statistics need examples too


def _many_steps(
    net: Stacked,
    layout: Layout,
    start: Tensor,
    inputs: Inputs,
    work: Batches,
    recipe: Recipe,
    factors: Tensor | None,
    out: Tensor,
    kept: Tensor | None,
    weights: Bench,
    velocity: Bench | None,
) -> None:
    """Local SGD on weights of the rows' own; what is left of them without the old ones is the update."""
    rows = len(work.index)
    whose = torch.arange(rows, device=start.device) // (rows // len(start))
    order, counts = None, work.counts
    if counts is not None:  # most steps first: the clients still at work are always a prefix
        order = (counts > 0).sum(1).argsort(descending=True, stable=True)
        work, whose = work.map(lambda t: t[order]), whose[order]
        factors = None if factors is None else factors[order]
    weights, old = weights.first(rows), views(start, layout)
    for name, own in weights.views.items():
        own.copy_(old[name] if len(start) == 1 else old[name][whose])
    memory = None if kept is None or velocity is None else (views(kept, layout), velocity.first(rows))
    if memory is not None:
        for name, own in memory[1].views.items():
            own.copy_(memory[0][name] if order is None else memory[0][name][order])
    for step, (active, full) in enumerate(_at_work(work)):
        if not active:
            break
        now = work.map(lambda t, step=step, active=active: t[:active, step])  # type: ignore[misc]
        if full:
            now = replace(now, counts=None)
        working = weights.first(active)
        rates = None if factors is None else factors[:active, step]
        fresh = step == 0 and memory is None
        sink = LocalSgd(working, None if velocity is None else velocity.first(active), recipe, fresh, rates)
        if net.regression is not None and softmax_regression.serves(net.regression, inputs, now, start):
            out_rows, keep, own_rates = sink.formula()
            _regress(net.regression, inputs, now, recipe, own_rates, working.rows, out_rows, keep)
        else:
            _step(net, working.views, inputs, now, recipe, sink)
        sink.finish()
    for name, update in views(out, layout).items():
        own, base = weights.views[name], old[name] if len(start) == 1 else old[name][whose]
        if order is None:
            torch.sub(own, base, out=update)
        else:
            update.index_copy_(0, order, own - base)
    if memory is not None:
        for name, buffer in memory[0].items():
            own = memory[1].views[name]
            buffer.copy_(own) if order is None else buffer.index_copy_(0, order, own)


def _at_work(work: Batches) -> list[tuple[int, bool]]:
    """Of each step how many rows have examples, and whether all their batches are full; asked once a round, as each
    question makes a GPU wait."""
    rows, steps, batch = work.index.shape
    if work.counts is None:
        return [(rows, True)] * steps
    some, full = (work.counts > 0).sum(0), (work.counts == batch).sum(0)
    return [(a, a == b) for a, b in torch.stack([some, full]).t().tolist()]


def _regress(
    layer: Linear,
    inputs: Inputs,
    now: Batches,
    recipe: Recipe,
    rates: NDArray[np.float32],
    weights: softmax_regression.Rows,
    out: softmax_regression.Rows,
    keep: float,
) -> None:
    """A step of softmax regression: ``out = keep out + rate (gradient + decay weight)``."""
    decays, tiny = rates * np.float32(recipe.weight_decay), _tiny(torch.float32)
    softmax_regression.step(layer, inputs, now, weights, out, keep, rates, decays, tiny, recipe.summed)


def _step(
    net: Stacked,
    parameters: dict[str, Tensor],
    inputs: Inputs,
    now: Batches,
    recipe: Recipe,
    sink: FirstStep | LocalSgd,
) -> None:
    """One step of all rows: gather, forward, backward into the sink."""
    rows, batch = now.index.shape
    index = now.index.reshape(-1)
    if now.draws is not None and recipe.change is not None:
        x = recipe.change(inputs.copy(index), now.draws.reshape(-1))  # new ones every time
    else:
        x = inputs.rows(index)
    if now.keys is not None:
        parameters = {**parameters, KEYS: now.keys}
    logits, backward = net(x.view(rows, batch, *inputs.shape), parameters, True, now.counts)
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


@torch.no_grad()
def confusion(net: Stacked, layout: Layout, weights: Tensor, data: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Confusion matrices of the cells' global models.

    Args:
        net: the stacked model.
        layout: of the vector.
        weights: ``(cells, dim)``.
        data: ``(examples, *shape)`` test inputs.
        labels: ``(examples,)`` int64, the true test labels.
        classes: L.

    Returns:
        ``(cells, L, L)`` int64, rows true, columns predicted.
    """
    cells = weights.shape[0]
    parameters = views(weights, layout)
    total = torch.zeros(cells, classes * classes, dtype=torch.int64, device=data.device)
    for x, y in zip(data.split(1024), labels.split(1024), strict=True):
        logits, _ = net(x.unsqueeze(0).expand(cells, *x.shape), parameters, False, None)
        place = y.unsqueeze(0) * classes + logits.argmax(-1)  # (cells, examples)
        total.scatter_add_(1, place, torch.ones_like(place))
    return total.view(cells, classes, classes)


@torch.no_grad()
def scores(net: Stacked, layout: Layout, weights: Tensor, data: Tensor) -> Tensor:
    """Logits ``(examples, L)`` that one model ``(dim,)`` gives ``(examples, *shape)``."""
    logits, _ = net(data.unsqueeze(0), views(weights.unsqueeze(0), layout), False, None)
    return logits.squeeze(0)
