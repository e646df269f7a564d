"""Attacks within a round: labels chosen against the current model, and updates of malicious clients replaced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.attacks.contract import LabelContext, UpdateContext, declares
from flipbench.federation.population import Population, generator
from flipbench.plugins import guard
from flipbench.spec.cell import Cell

_TRIAL_BYTES = 1 << 23  # of stacked updates that a rule is asked about at once: they stay in the cache


class BadAttackError(RuntimeError):
    """An attack returned something that cannot be sent or trained on."""


@dataclass
class Relabeller:
    """Asks a dynamic attack for the labels of a round's examples, and counts what it changes.

    Attributes:
        cell: the attacked cell.
        population: of the cell.
        classes: L.
        asked: client -> number of examples that the attack was asked about so far.
        changed: client -> number of them with another label than the true one.
    """

    cell: Cell
    population: Population
    classes: int
    asked: dict[int, int]
    changed: dict[int, int]

    def labels(self, clients: list[int], index: Tensor, r: int, scores: Callable[[Tensor], Tensor]) -> Tensor:
        """Labels ``(clients, steps, batch)`` of a round's batches.

        Args:
            clients: ids of the clients in this round.
            index: rows of the training set, of the same shape.
            r: the round.
            scores: rows of the training set -> logits ``(rows, L)`` of the current global model.

        Raises:
            BadAttackError: labels of a wrong shape or out of range.
        """
        population, attack = self.population, self.population.chain.labels
        assert population.dynamic is not None
        out = population.flipped[index]
        for i, client in enumerate(clients):
            chosen = population.dynamic[index[i]]
            rows = index[i][chosen]
            if not len(rows):
                continue
            true = population.labels[rows]
            draws = generator(self.cell.seed, "dynamic labels", client, r)
            context = LabelContext(self.classes, population.labels, draws, scores=scores(rows).cpu())
            with guard.foreign(attack, self.cell.attack, BadAttackError) as call:
                new = call.own(attack(call.lend("the labels", true), call.lend("context", context)).labels)
            if new.shape != true.shape or not bool(((new >= 0) & (new < self.classes)).all()):
                raise BadAttackError(
                    f"attack {self.cell.attack} must give {len(true)} labels from 0 to {self.classes - 1}, "
                    f"got shape {tuple(new.shape)}, values {new.unique().tolist()[:20]}"
                )
            out[i][chosen] = new
            self.asked[client] = self.asked.get(client, 0) + len(rows)
            self.changed[client] = self.changed.get(client, 0) + int((new != true).sum())
        return out


@dataclass
class UpdateAttacker:
    """An attack on the updates of one cell, with its memory.

    Attributes:
        cell: the attacked cell.
        attack: an update attack.
        malicious: ids of the malicious clients.
        memory: of an attack with memory; None before its first round.
        purpose: of its random numbers.
    """

    cell: Cell
    attack: Any
    malicious: frozenset[int]
    memory: Any = None
    purpose: str = "update attack"

    def sent(self, updates: Tensor, cohort: Cohort, r: int, ask: Callable[[Tensor, Cohort], Tensor]) -> Tensor:
        """The updates of one cell's clients in a round, those of malicious clients replaced.

        Args:
            updates: ``(clients, dim)``, as local training gave them.
            cohort: of this cell alone, without leading dimensions.
            r: the round.
            ask: the rule: updates ``(trials, clients, dim)`` and a cohort of as many cells give ``(trials, dim)``.

        Raises:
            BadAttackError: the attack's answer has a wrong shape or type, or its inputs were changed.
            Infeasible: no client of the round is honest, or the attack's own conditions do not hold.
        """
        clients = cohort.clients.tolist()
        malicious_rows = torch.tensor([c in self.malicious for c in clients], device=updates.device)
        if not bool(malicious_rows.any()):
            return updates  # client sampling left all malicious clients out of this round
        if bool(malicious_rows.all()):
            raise Infeasible(
                f"attack {self.cell.attack} needs an honest client in every attacked round; "
                f"all {len(malicious_rows)} clients of round {r} are malicious"
            )
        finite = torch.isfinite(torch.linalg.vector_norm(updates, dim=1))
        honest_rows = ~malicious_rows & finite  # a diverged client is no example to learn from
        if not bool(honest_rows.any()):
            return updates
        trained, honest = updates[malicious_rows], updates[honest_rows]
        context = UpdateContext(
            honest,
            torch.cat([cohort.weights[honest_rows], cohort.weights[malicious_rows]]),
            cohort.previous,
            cohort.layout,
            r,
            generator(self.cell.seed, self.purpose, r),
            clients=torch.cat([cohort.clients[honest_rows], cohort.clients[malicious_rows]]),
        )
        if declares(self.attack, "adaptive"):
            context = replace(context, aggregate=lambda c: _try(c, updates, malicious_rows, cohort, ask))
        versions = trained._version, honest._version
        if hasattr(self.attack, "init"):
            if self.memory is None:
                self.memory = self._called(self.attack.init, trained, context)
            answer, self.memory = self._called(self.attack, trained, context, self.memory)
        else:
            answer = self._called(self.attack, trained, context)
        if (trained._version, honest._version) != versions:
            raise BadAttackError(
                f"{self._name} changed the updates that it was given; work on a copy (updates.clone())"
            )
        self._check(answer, trained)
        out = updates.clone()
        out[malicious_rows] = answer
        return out

    def _called(self, function: Callable[..., Any], updates: Tensor, context: UpdateContext, *memory: Any) -> Any:
        """The answer of the attack, or of its ``init``; a plug-in is given copies, and what it changes is refused."""
        with guard.foreign(function, self.cell.attack, BadAttackError) as call:
            return function(call.lend("the updates", updates), call.lend("context", context), *memory)

    @property
    def _name(self) -> str:
        return f"attack {self.cell.attack}"

    def _check(self, answer: Any, trained: Tensor) -> None:
        if not isinstance(answer, Tensor) or answer.shape not in (trained.shape, trained.shape[1:]):
            actual = str(tuple(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
            wanted = f"updates of shape (malicious, dim) = {tuple(trained.shape)}"
            raise BadAttackError(f"{self._name} must return {wanted}, got {actual}")
        if answer.dtype != trained.dtype or answer.device != trained.device:
            actual, wanted = f"{answer.dtype} on {answer.device}", f"{trained.dtype} on {trained.device}"
            raise BadAttackError(f"{self._name} must return {wanted}, got {actual}")


def _try(
    candidates: Tensor, updates: Tensor, malicious_rows: Tensor, cohort: Cohort, ask: Callable[..., Tensor]
) -> Tensor:
    """The rule's answer to each candidate ``(trials, malicious, dim)``, as many at once as fit."""
    size = min(len(candidates), max(1, _TRIAL_BYTES // max(1, updates.numel() * updates.element_size())))
    room = updates.expand(size, *updates.shape).clone()  # the honest rows are copied once
    answers = []
    for batch in candidates.split(size):
        stacked = room[: len(batch)]
        stacked[:, malicious_rows] = batch

        def spread(t: Tensor, trials: int = len(batch)) -> Tensor:
            return t.expand(trials, *t.shape)

        trial = replace(
            cohort,
            weights=spread(cohort.weights),
            clients=spread(cohort.clients),
            previous=spread(cohort.previous),
            model=spread(cohort.model),
            seeds=spread(cohort.seeds),
            trusted=lambda: spread(cohort.trusted()),
        )
        answers.append(ask(stacked, trial))
    return torch.cat(answers)


def without_trace(rule: Any, state: Any, call: Callable[..., Any]) -> Callable[[Tensor, Cohort], Tensor]:
    """The rule as a function that leaves its memory as it is; a rule with memory is applied to one trial at a time.

    Args:
        rule: the aggregator.
        state: its memory before the round (None: none yet), of this cell alone.
        call: calls the rule, or its ``init``, with what follows.
    """

    def ask(updates: Tensor, cohort: Cohort) -> Tensor:
        if not hasattr(rule, "init"):
            answer: Tensor = call(rule, updates, cohort)
            return answer
        answers = []
        for i in range(len(updates)):
            trial = replace(
                cohort,
                weights=cohort.weights[i : i + 1],
                clients=cohort.clients[i : i + 1],
                previous=cohort.previous[i : i + 1],
                model=cohort.model[i : i + 1],
                seeds=cohort.seeds[i : i + 1],
                trusted=lambda: cohort.trusted()[:1],
            )
            sent = updates[i : i + 1]
            memory = call(rule.init, sent, trial) if state is None else copy.deepcopy(state)
            answers.append(call(rule, sent, trial, memory)[0])
        return torch.cat(answers)

    return ask
