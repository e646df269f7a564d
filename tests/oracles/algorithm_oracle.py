"""FedProx, SCAFFOLD, FedNova and server optimisers as their papers write them down: loops over clients in float64.

Who holds what and which examples make a batch are the bench's, as in `federation_oracle`; all else is worked out here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.federation.batch_sampling import BatchStream, participants
from flipbench.federation.population import Population
from flipbench.federation.task import Task
from flipbench.spec.cell import Cell


def of_papers(cell: Cell, rule: Any, people: Population, task: Task, net: nn.Module) -> Tensor:
    """The global weights after all rounds, float64, from those of ``net``."""
    stream, roster = BatchStream(cell, people.parts, people.labels), participants(cell)
    w = flat(net)
    control, variates = torch.zeros_like(w), {c: torch.zeros_like(w) for c in range(cell.members)}
    m, v, turns = torch.zeros_like(w), torch.full_like(w, 1e-6), [0] * cell.members
    for r in range(1, cell.rounds + 1):
        ids = list(range(cell.members)) if roster is None else roster[r - 1]
        labels = people.flipped if r in people.attack_rounds else people.labels
        updates, changes, norms = [], [], []
        for c in ids:
            index, counts = stream.round([c], [turns[c]])
            batches = [
                index[0, k] if counts is None else index[0, k, : int(counts[0, k])] for k in range(index.shape[1])
            ]
            batches = [rows for rows in batches if len(rows)]
            y, buffer, speeds, speed = w.clone(), torch.zeros_like(w), 0.0, 0.0
            for k, rows in enumerate(batches):
                clock = r - 1 if cell.schedule_clock == "round" else k
                rate = cell.learning_rate * (0.5 ** (clock // 2) if cell.schedule != "constant" else 1.0)
                g = gradient(net, y, task, rows, labels)
                if cell.algorithm.startswith("fedprox"):
                    g = g + 0.5 * (y - w)
                if cell.clip_gradient is not None:
                    g = g * min(1.0, cell.clip_gradient / (float(g.norm()) + 1e-6))
                if cell.algorithm.startswith("scaffold"):
                    g = g - variates[c] + control
                buffer = cell.momentum * buffer + g + cell.weight_decay * y
                nesterov = "nesterov" in cell.optimiser
                y = y - rate * (g + cell.weight_decay * y + cell.momentum * buffer if nesterov else buffer)
                speed = cell.momentum * speed + 1.0
                speeds += rate * (1.0 + cell.momentum * speed if nesterov else speed)
            turns[c] += 1
            updates.append(y - w)
            norms.append(speeds)
            change = torch.zeros_like(w)
            if batches and cell.algorithm == "scaffold":
                change = -control + (w - y) / speeds
            elif batches and cell.algorithm.startswith("scaffold"):
                each = [gradient(net, w, task, rows, labels) * len(rows) for rows in batches]
                change = sum(each) / sum(map(len, batches)) + cell.weight_decay * w - variates[c]
            variates[c] = variates[c] + change
            changes.append(change)
        sizes = [len(people.parts[c]) for c in ids]
        shares = [n / sum(sizes) for n in sizes]
        if cell.algorithm == "fednova":
            tau = sum(p * a for p, a in zip(shares, norms, strict=True))
            updates = [x / a if a else x for x, a in zip(updates, norms, strict=True)]
            update = tau * rule(updates, shares)
        else:
            update = rule(updates, shares)
        control = control + len(ids) / cell.members * rule(changes, shares)
        if cell.server_optimiser == "sgd":
            w = w + cell.server_learning_rate * update
            continue
        beta1, beta2 = {"adam": (0.9, 0.99), "yogi(beta2=0.5)": (0.9, 0.5), "adagrad": (0.0, 0.0)}[
            cell.server_optimiser
        ]
        m = beta1 * m + (1 - beta1) * update
        if cell.server_optimiser == "adam":
            v = beta2 * v + (1 - beta2) * update**2
        elif cell.server_optimiser == "adagrad":
            v = v + update**2
        else:
            v = v - (1 - beta2) * update**2 * torch.sign(v - update**2)
        w = w + cell.server_learning_rate * m / (v.sqrt() + 0.001)
    return w


def flat(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def gradient(net: nn.Module, at: Tensor, task: Task, rows: Tensor, labels: Tensor) -> Tensor:
    """Of the mean loss of some examples."""
    place = 0
    for p in net.parameters():
        p.data = at[place : place + p.numel()].view(p.shape).clone()
        place += p.numel()
    loss = F.cross_entropy(net(task.train[rows].double()), labels[rows])
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))])


def weighted(vectors: list[Tensor], shares: list[float]) -> Tensor:
    return sum((p * x for p, x in zip(shares, vectors, strict=True)), torch.zeros_like(vectors[0]))


def middle(vectors: list[Tensor], shares: list[float]) -> Tensor:
    """The median of an odd number."""
    return torch.stack(vectors).median(0).values
