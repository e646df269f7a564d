"""What adaptive label attacks learn before a federation begins: a clean model's confusion, and trials of label maps.

Both are federations of the same code, with the cell's own seed, clients and batches, measured on training examples
with their true labels. Nothing here sees test data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import Found, LabelFlip, Trials
from flipbench.errors import UserError
from flipbench.federation.checkpoints.trials import TrialLog
from flipbench.federation.federation import Federation, run
from flipbench.federation.population import Partition, Population, generator, populate
from flipbench.federation.task import Parts, Task
from flipbench.plugins import guard
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_FIELDS, USUAL
from flipbench.training import evaluation

_NO_STAMPS: dict[str, Any] = dict.fromkeys(("stamped_test", "stamped_labels", "stamped_eligible"))
_PROXY = 5000  # training examples that a trial is measured on
_STACK = 8  # trials at once


def confusion(
    cell: Cell, labels: Tensor, partition: Partition, task: Task, parts: Parts, owners: Tensor | None = None
) -> Tensor:
    """How a clean federation's model spreads the training examples of each class over the classes.

    Args:
        cell: the attacked cell; its rule, attack and malicious clients do not enter.
        labels: ``(examples,)`` int64, true.
        partition: deals the training set.
        task: the data.
        parts: model, schedule and FedAvg.
        owners: ``(examples,)`` int64, the natural client of each; None: there are none.

    Returns:
        ``(L, L)`` float64: rows true, mean predicted probability of each class over the examples that have a prediction
        (`training.evaluation`: finite logits); a class without any is uniform.
    """
    clean = clean_of(cell)
    population = populate(clean, labels, task.classes, partition, None, owners=owners)
    federation = Federation([clean], [population], task, parts)
    for r in range(1, clean.rounds + 1):
        federation.round(r)
    total, counts = torch.zeros(task.classes, task.classes, dtype=torch.float64), torch.zeros(task.classes, 1).long()
    for x, y in zip(task.train[: len(labels)].split(1024), labels.split(1024), strict=True):
        logits = evaluation.scores(federation.net, federation.layout, federation.weights[0], x)
        known = torch.isfinite(logits).all(1)
        own = y[known.cpu()]
        total.index_add_(0, own, F.softmax(logits[known].double(), dim=1).cpu())
        counts += torch.bincount(own, minlength=task.classes).unsqueeze(1)
    return torch.where(counts > 0, total / counts.clamp(min=1), 1.0 / task.classes)


_PLAIN = {name: USUAL[name] for name in (*ATTACK_FIELDS, "aggregator", "evaluate_on")}
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


@dataclass(frozen=True)
class Search:
    """The search of one cell's adaptive label attack.

    Attributes:
        cell: the attacked cell.
        labels: ``(examples,)`` int64, true.
        partition: deals the training set.
        task: the data.
        parts: model, schedule and the rule that the attack faces.
        chain: the attack; what it does elsewhere than on labels it does in the trials too.
        confusion: of a clean model, for flips that ask for it.
        owners: ``(examples,)`` int64, the natural client of each; None: there are none.
        log: remembers trials; None: they are run again when a worker process dies.
    """

    cell: Cell
    labels: Tensor
    partition: Partition
    task: Task
    parts: Parts
    chain: Chain
    confusion: Callable[[], Tensor]
    owners: Tensor | None = None
    log: TrialLog | None = None

    def run(self) -> Found:
        """What the attack finds in its trials.

        Raises:
            UserError: it answers something else than `Found`.
        """
        population = self._population(self.cell, None)
        rows = torch.cat([population.parts[c] for c in population.malicious])
        counts = torch.bincount(population.labels[rows], minlength=self.task.classes)
        draws = generator(self.cell.seed, "search")
        trials = Trials(self.task.classes, counts, self._trials, self.cell.rounds, draws)
        with guard.foreign(self.chain.labels, self.cell.attack):
            answer = self.chain.labels.search(trials)
        if not isinstance(answer, Found):
            got = type(answer).__name__
            raise UserError(f"attack {self.cell.attack}: search must return flipbench.attacks.Found, got {got}")
        return answer

    def _population(self, cell: Cell, flip: LabelFlip | None) -> Population:
        chain = replace(self.chain, labels=flip)
        more: dict[str, Any] = {"confusion": self.confusion, "sybil_data": self.parts.sybil_data}
        more["owners"] = self.owners
        return populate(cell, self.labels, self.task.classes, self.partition, chain, **more)

    def _trials(self, flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        """The confusion that each flip leaves after some rounds."""
        size = 1 if hasattr(self.parts.rule, "init") else _STACK  # a rule with memory serves one cell at a time
        answers = []
        for low in range(0, len(flips), size):
            stack = flips[low : low + size]
            compute = partial(self._stack, stack, rounds)
            answers += compute() if self.log is None else self.log.answers(stack, rounds, compute)
        return answers

    def _stack(self, flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        """The same of a few flips, side by side."""
        trial = _shorter(self.cell, rounds)
        populations = [self._population(trial, flip) for flip in flips]
        ends = run([trial] * len(flips), populations, self._proxy, self.parts)
        return [_last(result) for result, _ in ends]

    @cached_property
    def _proxy(self) -> Task:
        """The task with some training examples in the place of the test images."""
        rows = torch.randperm(len(self.labels), generator=generator(self.cell.seed, "proxy"))[:_PROXY].sort().values
        device = self.task.train.device
        images, labels = self.task.train[rows.to(device)], self.labels[rows].to(device)
        return replace(self.task, test=images, test_labels=labels, **_NO_STAMPS)


def _last(result: Mapping[str, Any]) -> Tensor:
    """The confusion of the last round: ``(L, L)``, or ``(L, L + 1)`` where some images have no prediction."""
    counts = torch.tensor(result["confusion"][-1])
    none = [] if result["no_prediction"] is None else result["no_prediction"][-1]
    return torch.cat([counts, torch.tensor(none).unsqueeze(1)], 1) if any(none) else counts


def _shorter(cell: Cell, rounds: int) -> Cell:
    """The cell with fewer rounds, evaluated at the end on what its task has in the place of the test images.

    An attack that would begin later begins at once.
    """
    changes: dict[str, Any] = {"rounds": rounds, "evaluate_every": rounds, "evaluate_last": 1, "evaluate_on": "test"}
    if cell.attack_start > rounds:
        changes |= {"attack_start": 1, "attack_stop": None}
    return replace(cell, **changes)
