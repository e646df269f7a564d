"""Malicious clients within a round: their labels chosen against the current model, their updates replaced."""

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
from flipbench.spec.cell import Cell

_TRIAL_BYTES = 1 << 23  # of stacked updates that a rule is asked about at once: they stay in the cache


class BadAttackError(RuntimeError):
    """An attack returned something that cannot be sent or trained on."""


@dataclass
class Relabeller:
    """The labels that a dynamic attack gives the examples of a round; counts what it changed.

    Attributes:
        cell: its facts.
        population: of the cell.
        classes: L.
        asked: examples that it was asked about, by client.
        changed: of them, those that got another label.
    """

    cell: Cell
    population: Population
    classes: int
    asked: dict[int, int]
    changed: dict[int, int]

    def labels(self, clients: list[int], index: Tensor, r: int, scores: Callable[[Tensor], Tensor]) -> Tensor:
        """Labels ``(clients, steps, batch)`` of a round's batches.

        Args:
            clients: who takes part.
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
            new = attack(true, context).labels
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
        cell: its facts.
        attack: the attack.
        malicious: ids of the malicious clients.
        memory: of an attack that has one.
    """

    cell: Cell
    attack: Any
    malicious: frozenset[int]
    memory: Any = None

    def sent(self, updates: Tensor, cohort: Cohort, r: int, ask: Callable[[Tensor, Cohort], Tensor]) -> Tensor:
        """What the clients of one cell send in a round.

        Args:
            updates: ``(clients, dim)``, what they would send honestly (or after a flip of labels).
            cohort: of this cell alone, without leading dimensions.
            r: the round.
            ask: the rule, ``(trials, clients, dim)`` and a cohort of as many cells to ``(trials, dim)``.

        Raises:
            BadAttackError: the attack's answer has a wrong shape or type, or its inputs were changed.
            Infeasible: no client of the round is honest, or the attack's own conditions do not hold.
        """
        bad = torch.tensor([int(c) in self.malicious for c in cohort.clients.tolist()], device=updates.device)
        if not bool(bad.any()):
            return updates  # client sampling left all malicious clients out of this round
        if bool(bad.all()):
            raise Infeasible(
                f"attack {self.cell.attack} needs an honest client in every attacked round; "
                f"all {len(bad)} clients of round {r} are malicious"
            )
        good = ~bad & torch.isfinite(torch.linalg.vector_norm(updates, dim=1))  # a client that diverged is no model
        if not bool(good.any()):
            return updates
        mine, honest = updates[bad], updates[good]
        context = UpdateContext(
            honest,
            torch.cat([cohort.weights[good], cohort.weights[bad]]),
            cohort.previous,
            cohort.layout,
            r,
            generator(self.cell.seed, "update attack", r),
            clients=torch.cat([cohort.clients[good], cohort.clients[bad]]),
        )
        if declares(self.attack, "adaptive"):
            context = replace(context, aggregate=lambda c: _asked(c, updates, bad, cohort, ask))
        versions = mine._version, honest._version
        if hasattr(self.attack, "init"):
            if self.memory is None:
                self.memory = self.attack.init(mine, context)
            answer, self.memory = self.attack(mine, context, self.memory)
        else:
            answer = self.attack(mine, context)
        if (mine._version, honest._version) != versions:
            raise BadAttackError(
                f"{self._name} changed the updates that it was given; work on a copy (updates.clone())"
            )
        self._check(answer, mine)
        out = updates.clone()
        out[bad] = answer
        return out

    @property
    def _name(self) -> str:
        return f"attack {self.cell.attack}"

    def _check(self, answer: Any, mine: Tensor) -> None:
        if not isinstance(answer, Tensor) or answer.shape not in (mine.shape, mine.shape[1:]):
            came = str(tuple(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
            wanted = f"updates of shape (malicious, dim) = {tuple(mine.shape)}"
            raise BadAttackError(f"{self._name} must return {wanted}, got {came}")
        if answer.dtype != mine.dtype or answer.device != mine.device:
            came, wanted = f"{answer.dtype} on {answer.device}", f"{mine.dtype} on {mine.device}"
            raise BadAttackError(f"{self._name} must return {wanted}, got {came}")


def _asked(candidates: Tensor, updates: Tensor, bad: Tensor, cohort: Cohort, ask: Callable[..., Tensor]) -> Tensor:
    """The rule's answer to each candidate ``(trials, malicious, dim)``, as many at once as fit."""
    size = min(len(candidates), max(1, _TRIAL_BYTES // max(1, updates.numel() * updates.element_size())))
    room = updates.expand(size, *updates.shape).clone()  # the honest rows are copied once
    answers = []
    for some in candidates.split(size):
        many = room[: len(some)]
        many[:, bad] = some

        def spread(t: Tensor, trials: int = len(some)) -> Tensor:
            return t.expand(trials, *t.shape)

        trial = replace(
            cohort,
            weights=spread(cohort.weights),
            clients=spread(cohort.clients),
            previous=spread(cohort.previous),
            seeds=spread(cohort.seeds),
            trusted=lambda: spread(cohort.trusted()),
        )
        answers.append(ask(many, trial))
    return torch.cat(answers)


def without_trace(rule: Any, state: Any) -> Callable[[Tensor, Cohort], Tensor]:
    """The rule as a question: asking moves no memory. A rule with memory is asked about one trial at a time.

    Args:
        rule: the aggregator.
        state: its memory before the round (None: none yet), of this cell alone.
    """

    def ask(updates: Tensor, cohort: Cohort) -> Tensor:
        if not hasattr(rule, "init"):
            answer: Tensor = rule(updates, cohort)
            return answer
        answers = []
        for i in range(len(updates)):
            one = replace(
                cohort,
                weights=cohort.weights[i : i + 1],
                clients=cohort.clients[i : i + 1],
                previous=cohort.previous[i : i + 1],
                seeds=cohort.seeds[i : i + 1],
                trusted=lambda: cohort.trusted()[:1],
            )
            mine = updates[i : i + 1]
            memory = rule.init(mine, one) if state is None else copy.deepcopy(state)
            answers.append(rule(mine, one, memory)[0])
        return torch.cat(answers)

    return ask
