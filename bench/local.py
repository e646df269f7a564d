"""What clients do between two rounds: local SGD, in lockstep.

FedSGD (one step a round) never makes a copy of the weights for each client: all rows of a cell share the global ones
and only their gradients differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aggregators.contract import Layout
from bench.layout import views
from bench.lockstep import Stacked

_CACHE = 4 << 20  # bytes; HAM10000's MLP, 5 steps: 11 ms a step in pieces of 4 MB, 16.5 ms all 20 clients at once


@dataclass(frozen=True)
class Recipe:
    """Local training: w <- w - lr (momentum buffer of the gradient of the mean loss + weight_decay w)."""

    lr: float
    momentum: float
    weight_decay: float


@dataclass(frozen=True)
class Batches:
    """What each client's steps of one round are made of.

    Attributes:
        index: ``(cells, clients, steps, batch)`` int64, rows of the training set; padding is 0.
        labels: the same shape, the labels trained on (flipped or not).
        counts: ``(cells, clients, steps)`` int64, real examples of each batch; None: all batches are full.
    """

    index: Tensor
    labels: Tensor
    counts: Tensor | None


def merge(indices: list[Tensor], counts: list[Tensor | None], labels: list[Tensor], device: torch.device) -> Batches:
    """Batches of several cells in one tensor, padded where cells differ in steps or batch size.

    Args:
        indices: for each cell ``(clients, steps, batch)`` int64, rows of the training set.
        counts: for each ``(clients, steps)``, real examples of each batch; None: all are full.
        labels: for each the shape of its indices, the labels trained on.
        device: where the batches go.
    """
    steps, batch = max(i.shape[1] for i in indices), max(i.shape[2] for i in indices)
    even = all(i.shape[1:] == (steps, batch) for i in indices)
    if even and all(c is None for c in counts):
        return Batches(torch.stack(indices).to(device), torch.stack(labels).to(device), None)

    def pad(t: Tensor) -> Tensor:
        return F.pad(t, (0, batch - t.shape[2], 0, steps - t.shape[1]))

    full = [c if c is not None else torch.full(i.shape[:2], i.shape[2]) for i, c in zip(indices, counts, strict=True)]
    real = [F.pad(c, (0, steps - c.shape[1])) for c in full]
    return Batches(
        torch.stack([pad(i) for i in indices]).to(device),
        torch.stack([pad(y) for y in labels]).to(device),
        torch.stack(real).to(device),
    )


def train(
    net: Stacked,
    layout: Layout,
    start: Tensor,
    data: Tensor,
    batches: Batches,
    recipe: Recipe,
    momenta: Tensor | None = None,
    keep: float = 0.0,
) -> Tensor:
    """Every client's update after its local steps.

    Args:
        net: the stacked model.
        layout: of the vector.
        start: ``(cells, dim)``, the global weights.
        data: ``(examples, *shape)``, the training inputs that batches index.
        batches: the examples of each step.
        recipe: of local SGD.
        momenta: ``(cells, clients, dim)``, of FedSGD (one step): filled in place with keep x momentum + (1 - keep) x
            update and returned, without the updates being written in between.
        keep: beta of the clients' momentum.

    Returns:
        ``(cells, clients, dim)``: new minus old weights, or the momenta of these. A client without examples has an
        update of zero.
    """
    cells, clients, steps, batch = batches.index.shape
    rows = cells * clients
    index = batches.index.reshape(rows, steps, batch)
    labels = batches.labels.reshape(rows, steps, batch)
    counts = None if batches.counts is None else batches.counts.reshape(rows, steps)
    out = start.new_empty(rows, start.shape[1]) if momenta is None else momenta.view(rows, -1)
    pieces = list(_pieces(cells, clients, _width(net, start, steps, recipe)))
    if steps > 1:  # one room for all pieces: the next one finds it in the cache
        most = max(here.stop - here.start for here, _ in pieces)
        benches = Bench.of(layout, most, start), Bench.of(layout, most, start) if recipe.momentum else None
    for here, whose in pieces:
        some = None if counts is None else counts[here]
        if steps == 1:
            _one_step(net, layout, start[whose], data, index[here, 0], labels[here, 0], some, recipe, out[here], keep)
        else:
            _many_steps(net, layout, start[whose], data, index[here], labels[here], some, recipe, out[here], *benches)
    return out.view(cells, clients, -1)


def _width(net: Stacked, start: Tensor, steps: int, recipe: Recipe) -> int | None:
    """Rows to train at once; None: all. Which ones train together changes no number, only the speed.

    On the CPU, rows that have weights of their own stay together in the processor's cache over all their steps.
    """
    if start.device.type != "cpu" or steps == 1:
        return net.width(start.device)
    bytes_of_a_row = 4 * start.shape[1] * (2 if recipe.momentum else 1)
    return min(net.width(start.device) or 1 << 30, max(1, _CACHE // bytes_of_a_row))


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
    data: Tensor,
    index: Tensor,
    labels: Tensor,
    counts: Tensor | None,
    recipe: Recipe,
    out: Tensor,
    keep: float,
) -> None:
    """FedSGD: the update is written where it will lie, ``(rows, dim)``."""
    now = None if counts is None else counts[:, 0]
    idle = None if now is None else (now == 0).nonzero().squeeze(1)
    rest = None if idle is None else out[idle] * keep if keep else torch.zeros_like(out[idle])
    sink = FirstStep(out, start, layout, recipe, keep)
    _step(net, views(start, layout), data, index, labels, now, sink)
    sink.finish()
    if idle is not None and rest is not None:
        out[idle] = rest  # weight decay and batch statistics need examples too


def _many_steps(
    net: Stacked,
    layout: Layout,
    start: Tensor,
    data: Tensor,
    index: Tensor,
    labels: Tensor,
    counts: Tensor | None,
    recipe: Recipe,
    out: Tensor,
    weights: Bench,
    velocity: Bench | None,
) -> None:
    """Local SGD on weights of the rows' own; what is left of them without the old ones is the update."""
    rows, steps, batch = index.shape
    each = rows // len(start)
    whose = torch.arange(rows, device=start.device) // each
    order = None
    if counts is not None:  # most steps first: the clients still at work are always a prefix
        order = (counts > 0).sum(1).argsort(descending=True, stable=True)
        index, labels, counts, whose = index[order], labels[order], counts[order], whose[order]
    weights, old = weights.first(rows), views(start, layout)
    for name, own in weights.views.items():
        own.copy_(old[name] if len(start) == 1 else old[name][whose])
    for step in range(steps):
        active = rows if counts is None else int((counts[:, step] > 0).sum())
        if not active:
            break
        now = None if counts is None else counts[:active, step]
        if now is not None and bool((now == batch).all()):
            now = None
        working = weights.first(active)
        sink = LocalSgd(working, None if velocity is None else velocity.first(active), recipe, step == 0)
        _step(net, working.views, data, index[:active, step], labels[:active, step], now, sink)
        sink.finish()
    for name, update in views(out, layout).items():
        own, base = weights.views[name], old[name] if len(start) == 1 else old[name][whose]
        if order is None:
            torch.sub(own, base, out=update)
        else:
            update.index_copy_(0, order, own - base)


@dataclass(frozen=True)
class Bench:
    """Where rows are worked on: every parameter of every row begins on a cache line of its own.

    A model's own vector has odd lengths, and products on tensors that begin anywhere are a quarter slower.

    Attributes:
        flat: ``(rows, places)``; what lies between two parameters is zero.
        views: name -> ``(rows, *shape)``, views of it.
    """

    flat: Tensor
    views: dict[str, Tensor]

    @classmethod
    def of(cls, layout: Layout, rows: int, like: Tensor) -> Bench:
        """Zeros for so many rows."""
        line = 64 // like.element_size()
        edges = [0]
        for place, _ in layout.values():
            edges.append(edges[-1] + -(-(place.stop - place.start) // line) * line)
        flat = like.new_zeros(rows, edges[-1])
        parts = zip(layout.items(), edges, strict=False)
        return cls(flat, {n: flat[:, e : e + p.stop - p.start].view(rows, *shape) for (n, (p, shape)), e in parts})

    def first(self, rows: int) -> Bench:
        """The first rows."""
        if rows == len(self.flat):
            return self
        return Bench(self.flat[:rows], {n: v[:rows] for n, v in self.views.items()})


def _step(
    net: Stacked,
    parameters: dict[str, Tensor],
    data: Tensor,
    index: Tensor,
    labels: Tensor,
    counts: Tensor | None,
    sink: FirstStep | LocalSgd,
) -> None:
    """One step of all rows: gather, forward, backward into the sink."""
    rows, batch = index.shape
    x = data.index_select(0, index.reshape(-1)).view(rows, batch, *data.shape[1:])
    logits, backward = net(x, parameters, True, counts)
    backward(_loss_gradient(logits, labels, counts), sink, False)


def _loss_gradient(logits: Tensor, labels: Tensor, counts: Tensor | None) -> Tensor:
    """Gradient of each row's mean cross-entropy: (softmax - one-hot) / examples; padding has none."""
    gradient = torch.softmax(logits, dim=-1)
    gradient.scatter_add_(-1, labels.unsqueeze(-1), gradient.new_full((1, 1, 1), -1.0).expand(*labels.shape, 1))
    if counts is None:
        return gradient.mul_(1.0 / logits.shape[1])
    real = torch.arange(logits.shape[1], device=logits.device) < counts[:, None]
    return gradient.mul_((real / counts.clamp(min=1)[:, None]).to(gradient.dtype).unsqueeze(-1))


class LocalSgd:
    """One step of SGD in place on rows that have weights of their own.

    Args:
        weights: of the rows.
        velocity: their momentum buffers; None without momentum.
        recipe: of the step.
        fresh: whether the buffers are still zero.
    """

    def __init__(self, weights: Bench, velocity: Bench | None, recipe: Recipe, fresh: bool) -> None:
        self.weights, self.velocity, self.recipe = weights, velocity, recipe
        self.momentum = 0.0 if fresh else recipe.momentum

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """dy^T x goes straight into the weights (or the momentum buffer), by one batched product."""
        w, r = self.weights.views[name], self.recipe
        if self.velocity is None:
            w.baddbmm_(dy.transpose(1, 2), x, beta=1.0 - r.lr * r.weight_decay, alpha=-r.lr)
            return
        v = self.velocity.views[name].baddbmm_(dy.transpose(1, 2), x, beta=self.momentum)
        self._decay(w, v)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        w, r = self.weights.views[name], self.recipe
        if self.velocity is None:
            if r.weight_decay:
                w.mul_(1.0 - r.lr * r.weight_decay)
            w.sub_(gradient, alpha=r.lr)
            return
        v = self.velocity.views[name]
        if self.momentum:
            v.mul_(self.momentum).add_(gradient)
        else:
            v.copy_(gradient)
        self._decay(w, v)

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """Running statistics know no learning rate, and have no momentum buffer that moves them."""
        self.weights.views[name].lerp_(value, momentum)

    def finish(self) -> None:
        """With momentum: all weights move at once, when all gradients are known."""
        if self.velocity is not None:
            self.weights.flat.sub_(self.velocity.flat, alpha=self.recipe.lr)

    def _decay(self, w: Tensor, v: Tensor) -> None:
        if self.recipe.weight_decay:
            v.add_(w, alpha=self.recipe.weight_decay)


class FirstStep:
    """The update of a single step from shared weights: keep x what was there - (1 - keep) lr (gradient + decay w)."""

    def __init__(self, out: Tensor, start: Tensor, layout: Layout, recipe: Recipe, keep: float) -> None:
        self.recipe, self.keep, self.scale = recipe, keep, 1.0 - keep
        self.views, self.start = views(out, layout), views(start, layout)
        self.unwritten = set(self.views)

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """dy^T x is written where the update lies."""
        self.views[name].baddbmm_(dy.transpose(1, 2), x, beta=self.keep, alpha=-self.recipe.lr * self.scale)
        self._decay(name)

    def plain(self, name: str, gradient: Tensor) -> None:
        """A gradient as a tensor."""
        self._add(name, gradient, -self.recipe.lr * self.scale)
        self._decay(name)

    def finish(self) -> None:
        """What no layer wrote (a buffer of a plug-in model) does not move."""
        for name in self.unwritten:
            self.views[name].mul_(self.keep) if self.keep else self.views[name].zero_()

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """The way from the old running statistic to the new one."""
        self._add(name, value - self._start(name), momentum * self.scale)
        self.unwritten.discard(name)

    def _add(self, name: str, value: Tensor, factor: float) -> None:
        if self.keep:
            self.views[name].mul_(self.keep).add_(value, alpha=factor)
        else:
            torch.mul(value, factor, out=self.views[name])

    def _decay(self, name: str) -> None:
        self.unwritten.discard(name)
        if self.recipe.weight_decay:
            factor = self.recipe.lr * self.recipe.weight_decay * self.scale
            self.views[name].sub_(self._start(name), alpha=factor)

    def _start(self, name: str) -> Tensor:
        start = self.start[name]
        return start.repeat_interleave(self.views[name].shape[0] // start.shape[0], dim=0)


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
