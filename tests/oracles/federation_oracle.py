"""The federation as one would write it down: a loop over clients in float64, PyTorch's own model, loss and optimiser.

Who holds what, who is malicious and which examples make a batch are the bench's (`populate`, `BatchStream`): they have
tests of their own. Learning rates, losses, buffers, images, masks, norms and weights are worked out here once more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.federation.batch_sampling import BatchStream, participants
from flipbench.federation.population import Population, generator
from flipbench.federation.task import Task
from flipbench.spec.cell import Cell
from flipbench.spec.seeds import named_seed
from flipbench.training import flat_parameters as vectors
from flipbench.training import models, schedules
from flipbench.training.initialisation import default

M64 = (1 << 64) - 1


def naive(
    cell: Cell,
    people: Population,
    task: Task,
    make: Callable[..., nn.Module],
    schedule: Callable[[int, int], float] = schedules.constant,
    *,
    initialise: Any = default,
    weigh: Callable[[list[int], list[int]], list[float]] | None = None,
    padding: int | None = None,
) -> list[list[int]]:
    """FedAvg of static label flips; the last round's confusion matrix.

    Args:
        cell: its facts.
        people: its population.
        task: the data.
        make: ``(shape, classes) -> model``.
        schedule: of the learning rate.
        initialise: draws the weights.
        weigh: labels that a client trains on and the true labels of the N -> weight of each class; None: 1.
        padding: of ``crop(flip=0.5)``; None: no augmentation.
    """
    net = models.build(make, task.shape, task.classes, named_seed(cell.seed, "weights"), initialise)
    net = nn.Sequential(*(Masked(i, m) if "Dropout" in type(m).__name__ else m for i, m in enumerate(net))).double()
    stream, roster = BatchStream(cell, people.parts, people.labels), participants(cell)
    everybodys = people.labels[torch.cat(people.parts[: cell.clients])].tolist()
    turns, made, shared = [0] * cell.members, [0] * cell.members, 0
    buffers: dict[int, list[Tensor]] = {}
    memory: dict[int, Tensor] = {}
    velocity: Any = 0.0
    for r in range(1, cell.rounds + 1):
        ids = list(range(cell.members)) if roster is None else roster[r - 1]
        labels = people.flipped if r in people.attack_rounds else people.labels
        sent, sizes = [], []
        for c in ids:
            index, counts = stream.round([c], [turns[c]])
            mine = copy.deepcopy(net).train()
            weights = None if weigh is None else torch.tensor(weigh(labels[people.parts[c]].tolist(), everybodys))
            own = buffers.get(c) if cell.optimiser_state == "kept" else None
            own = [torch.zeros_like(p) for p in mine.parameters()] if own is None else own
            used = index.numel() if counts is None else int(counts.sum())
            pictures = changes(used, padding or 0, generator(cell.seed, "augmentation of batches", c, turns[c]))
            for step in range(index.shape[1]):
                rows = index[0, step] if counts is None else index[0, step, : int(counts[0, step])]
                if not len(rows):
                    continue
                clock = {
                    "round": r - 1,
                    "participation": turns[c],
                    "local_step": step,
                    "client_step": made[c],
                    "shared_step": shared,
                }[cell.schedule_clock]
                lr = cell.learning_rate * schedule(cell.schedule_start + clock, cell.rounds)
                made[c], shared = made[c] + 1, shared + 1
                x = task.train[rows if people.source is None else people.source[rows]].double()
                if padding is not None:
                    assert task.black is not None
                    x = cropped(x, padding, pictures[: len(x)], float(task.black.flatten()[0]))
                    pictures = pictures[len(x) :]
                for place, layer in enumerate(mine):
                    if isinstance(layer, Masked):
                        layer.key = key_of(cell.seed, c, turns[c], step, place)
                losses = F.cross_entropy(mine(x), labels[rows], reduction="none")
                if weights is not None:
                    losses = losses * weights[labels[rows]]
                mine.zero_grad()
                (losses.sum() if cell.reduction == "sum" else losses.sum() / len(rows)).backward()
                with torch.no_grad():
                    for p, v in zip(mine.parameters(), own, strict=True):
                        assert p.grad is not None
                        v.mul_(cell.momentum).add_(p.grad + cell.weight_decay * p)
                        p -= lr * v
            turns[c], buffers[c] = turns[c] + 1, own
            delta = flat(mine) - flat(net)
            if cell.client_momentum:
                old = memory.get(c, torch.zeros_like(delta))
                delta = memory[c] = cell.client_momentum * old + (1 - cell.client_momentum) * delta
            if cell.clip_update is not None and float(delta.norm()) > cell.clip_update:
                delta = delta * cell.clip_update / delta.norm()
            if cell.noise_multiplier and cell.noise_at == "client":
                delta = delta + cell.noise_multiplier * cell.clip_update * normal(
                    len(delta), cell, "client noise", c, r
                )
            sent.append(delta)
            sizes.append(len(people.parts[c]) if cell.client_weights == "examples" else 1)
        update = sum(n / sum(sizes) * d for n, d in zip(sizes, sent, strict=True))
        if cell.noise_multiplier and cell.noise_at == "server":
            most = heaviest(cell, [len(p) for p in people.parts])
            update = update + cell.noise_multiplier * cell.clip_update * most * normal(
                len(update), cell, "server noise", r
            )
        velocity = cell.server_momentum * velocity + update
        place = 0
        for p in net.parameters():
            p.data += cell.server_learning_rate * velocity[place : place + p.numel()].view(p.shape)
            place += p.numel()
    seen, truth = (task.test, task.test_labels) if cell.evaluate_on == "test" else untrained(cell, people, task)
    guess = net.eval()(seen.double()).argmax(1)
    matrix = [[0] * task.classes for _ in range(task.classes)]
    for true, predicted in zip(truth.tolist(), guess.tolist(), strict=True):
        matrix[true][predicted] += 1
    return matrix


def untrained(cell: Cell, people: Population, task: Task) -> tuple[Tensor, Tensor]:
    """The training examples that neither a client of the N nor the server trains on, with their true labels."""
    used = {int(row) for part in (*people.parts[: cell.clients], people.root) for row in part}
    number = len(people.labels) if people.source is None else int(people.source.max()) + 1
    left = torch.tensor([row for row in range(min(number, len(task.train))) if row not in used])
    return task.train[left], people.labels[left]


def normal(number: int, cell: Cell, purpose: str, *which: int) -> Tensor:
    """Standard normal numbers of one purpose, in float64."""
    return torch.randn(number, generator=generator(cell.seed, purpose, *which)).double()


def heaviest(cell: Cell, sizes: list[int]) -> float:
    """The largest weight that any client has in any set of clients that a round may have."""
    if cell.client_weights == "equal":
        return 1 / cell.per_round
    return max(n / sum(some) for some in combinations(sizes, cell.per_round) for n in some)


def flat(net: nn.Module) -> Tensor:
    """All parameters in one vector, in the order in which `flipbench.training.flat_parameters` has them."""
    assert not any(b.is_floating_point() for b in net.buffers())
    assert len(vectors.layout_of(net)) == len(list(net.parameters()))
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def changes(number: int, padding: int, draws: torch.Generator) -> list[tuple[int, bool]]:
    """Where each image is cut, and whether it is mirrored."""
    places = torch.randint((2 * padding + 1) ** 2, (number,), generator=draws).tolist()
    mirrored = torch.rand(number, generator=draws, dtype=torch.float64) < 0.5
    return list(zip(places, mirrored.tolist(), strict=True))


def cropped(x: Tensor, padding: int, drawn: list[tuple[int, bool]], black: float) -> Tensor:
    """Each image padded, cut and perhaps mirrored, one after the other."""
    height, width = x.shape[2:]
    out = []
    for image, (place, turned) in zip(x, drawn, strict=True):
        top, left = divmod(place, 2 * padding + 1)
        one = F.pad(image, (padding,) * 4, value=black)[:, top : top + height, left : left + width]
        out.append(one.flip(-1) if turned else one)
    return torch.stack(out)


class Masked(nn.Module):
    """Dropout by splitmix64, in Python's own whole numbers."""

    def __init__(self, place: int, layer: nn.Module) -> None:
        super().__init__()
        self.share, self.whole, self.key = layer.p, isinstance(layer, nn.Dropout2d), 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = x.shape[:2] if self.whole else x.shape
        keep = []
        for i in range(shape.numel()):
            u = (finished((self.key + (i + 1) * 0x9E3779B97F4A7C15) & M64) >> 11) / 2**53
            keep.append(0.0 if u < self.share else 1 / (1 - self.share))
        mask = torch.tensor(keep, dtype=x.dtype).view(*shape, *[1] * (x.ndim - len(shape)))
        return x * mask


def key_of(seed: int, client: int, turn: int, step: int, layer: int) -> int:
    """Key of one layer's mask in one step."""
    base = named_seed(seed, "dropout of batches", client, turn)
    step_key = finished((base + (step + 1) * 0x9E3779B97F4A7C15) & M64)
    return finished((step_key + named_seed(0, f"dropout {layer}.")) & M64)


def finished(z: int) -> int:
    """The finaliser of splitmix64."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & M64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & M64
    return z ^ (z >> 31)
