"""What global models are evaluated on: the test set, or of each cell the examples that its own clients hold out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.federation.population import Population
from flipbench.federation.task import Task
from flipbench.training import evaluation
from flipbench.training.layers.stacked_model import Stacked

Confusions = tuple[Tensor, Tensor | None]  # (cells, L, L + 1): of true examples; of stamped ones where there are any


def on_test(net: Stacked, layout: Layout, weights: Tensor, task: Task) -> Confusions:
    """Confusion matrices of the global models ``(cells, dim)`` on the test set, and on its stamped images."""
    own, stamped = evaluation.confusion(net, layout, weights, task.test, task.test_labels, task.classes).cpu(), None
    if task.stamped_test is not None and task.stamped_labels is not None:
        given = task.stamped_test, task.stamped_labels
        stamped = evaluation.confusion(net, layout, weights, *given, task.classes).cpu()
    return own, stamped


def on_held_out(
    net: Stacked, layout: Layout, weights: Tensor, task: Task, populations: Sequence[Population]
) -> Confusions:
    """The same of each cell on what its clients hold out, with the true labels; the test set is not used.

    Every cell of a stack holds out examples of its own, so each is evaluated alone.
    """
    own, stamped = [], []
    for s, population in enumerate(populations):
        rows = population.held_out
        labels, model = population.labels[rows], (net, layout, weights[s : s + 1].clone())
        own.append(_of(model, task, rows, labels))
        if task.stamped_eligible is not None:
            there = task.stamped_eligible[rows]
            stamped.append(_of(model, task, rows[there] + len(task.stamped_eligible), labels[there]))
    return torch.cat(own), torch.cat(stamped) if stamped else None


def _of(model: tuple[Stacked, Layout, Tensor], task: Task, rows: Tensor, labels: Tensor) -> Tensor:
    device = task.train.device
    return evaluation.confusion(*model, task.train[rows.to(device)], labels.to(device), task.classes).cpu()
