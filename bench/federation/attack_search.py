"""What adaptive label attacks learn before a federation begins: a clean model's confusion, and trials of label maps.

Both are federations of the same code, with the cell's own seed, clients and batches, measured on training examples
with their true labels. Nothing here sees test data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import Found, LabelFlip, Trials
from flipbench.errors import UserError
from flipbench.federation.federation import Federation, run
from flipbench.federation.population import Partition, generator, populate
from flipbench.federation.task import Parts, Task
from flipbench.federation.trial_checkpoint import TrialLog
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_FIELDS, USUAL
from flipbench.training import evaluation

_PROXY = 5000  # training examples that a trial is measured on
_STACK = 8  # trials at once


def confusion(cell: Cell, labels: Tensor, partition: Partition, task: Task, parts: Parts) -> Tensor:
    """How a clean federation's model spreads the training examples of each class over the classes.

    Args:
        cell: that runs; the rule, the attack and the malicious clients do not enter.
        labels: ``(examples,)`` int64, true.
        partition: deals the training set.
        task: the data.
        parts: model, schedule and FedAvg.

    Returns:
        ``(L, L)`` float64: rows true, mean predicted probability of each class; a class without examples is uniform.
    """
    clean = clean_of(cell)
    population = populate(clean, labels, task.classes, partition, None)
    federation = Federation([clean], [population], task, parts)
    for r in range(1, clean.rounds + 1):
        federation.round(r)
    total = torch.zeros(task.classes, task.classes, dtype=torch.float64)
    for x, y in zip(task.train[: len(labels)].split(1024), labels.split(1024), strict=True):
        logits = evaluation.scores(federation.net, federation.layout, federation.weights[0], x)
        total.index_add_(0, y, F.softmax(logits.double(), dim=1).cpu())
    counts = torch.bincount(labels, minlength=task.classes).unsqueeze(1)
    return torch.where(counts > 0, total / counts.clamp(min=1), 1.0 / task.classes)


_PLAIN = {name: USUAL[name] for name in (*ATTACK_FIELDS, "aggregator")}
_PLAIN |= {"malicious_count": 0, "declared_byzantine": 0}


def clean_of(cell: Cell) -> Cell:
    """The FedAvg federation that a clean model comes from: one for all rules, attacks and malicious fractions."""
    return replace(
        cell,
        clients_per_round=None if cell.per_round >= cell.clients else cell.clients_per_round,
        evaluate_every=cell.rounds,
        evaluate_last=1,
        **_PLAIN,
    )


def search(
    cell: Cell,
    labels: Tensor,
    partition: Partition,
    task: Task,
    parts: Parts,
    chain: Chain,
    confusion_of_clean: Callable[[], Tensor],
    alone: bool,
    log: TrialLog | None = None,
) -> Found:
    """What the cell's adaptive label attack finds in its trials.

    Args:
        cell: whose attack searches.
        labels: ``(examples,)`` int64, true.
        partition: deals the training set.
        task: the data.
        parts: model, schedule and the rule that it faces.
        chain: the attack; what it does elsewhere than on labels it does in the trials too.
        confusion_of_clean: for flips that ask for it.
        alone: whether the rule cannot be asked about a stack of cells.
        log: remembers trials; None: they are run again when a worker dies.

    Raises:
        UserError: it answers something else than `Found`.
    """
    more: dict[str, Any] = {"sybil_data": parts.sybil_data}
    population = populate(cell, labels, task.classes, partition, replace(chain, labels=None), **more)
    held = torch.cat([population.parts[c] for c in population.malicious])
    proxy = _proxy(cell, labels, task)

    def run_trials(flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        answers = []
        size = 1 if alone else _STACK
        for low in range(0, len(flips), size):
            side_by_side = partial(run_stack, few := flips[low : low + size], rounds)
            answers += side_by_side() if log is None else log.answers(few, rounds, side_by_side)
        return answers

    def run_stack(flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        trial = _shorter(cell, rounds)
        chains = [replace(chain, labels=flip) for flip in flips]
        populations = [
            populate(trial, labels, task.classes, partition, c, confusion=confusion_of_clean, **more) for c in chains
        ]
        ends = run([trial] * len(populations), populations, proxy, parts)
        return [torch.tensor(result["confusion"][-1]) for result, _ in ends]

    counts = torch.bincount(population.labels[held], minlength=task.classes)
    trials = Trials(task.classes, counts, run_trials, cell.rounds, generator(cell.seed, "search"))
    answer = chain.labels.search(trials)
    if not isinstance(answer, Found):
        raise UserError(f"attack {cell.attack}: search must return attacks.Found, got {type(answer).__name__}")
    return answer


def _shorter(cell: Cell, rounds: int) -> Cell:
    """The cell with fewer rounds, evaluated at the end; an attack that would begin later begins at once."""
    changes: dict[str, Any] = {"rounds": rounds, "evaluate_every": rounds, "evaluate_last": 1}
    if cell.attack_start > rounds:
        changes |= {"attack_start": 1, "attack_stop": None}
    return replace(cell, **changes)


def _proxy(cell: Cell, labels: Tensor, task: Task) -> Task:
    """The task with some training examples in the place of the test images."""
    rows = torch.randperm(len(labels), generator=generator(cell.seed, "proxy"))[:_PROXY].sort().values
    device = task.train.device
    seen = task.train[rows.to(device)]
    return replace(task, test=seen, test_labels=labels[rows].to(device), stamped_test=None, stamped_labels=None)
