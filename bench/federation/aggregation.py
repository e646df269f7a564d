"""The only call into an aggregator: updates that are not finite are left out before it, and its answer is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort
from flipbench.aggregators.validation import all_finite
from flipbench.federation.malicious_clients import without_trace
from flipbench.plugins import guard


class BadUpdateError(RuntimeError):
    """A rule returned something that cannot be applied, or changed its inputs."""


class Aggregation:
    """A rule, and what it remembers of the rounds so far.

    Args:
        rule: the aggregator.
        name: of it, for messages.
    """

    def __init__(self, rule: Any, name: str) -> None:
        self.rule, self.name = rule, name
        self.memory: Any = None  # of a rule that has one, from the first round on

    @property
    def question(self) -> Callable[[Tensor, Cohort], Tensor]:
        """The rule for an attack that asks it: asking moves no memory."""
        return without_trace(self.rule, self.memory, self._called)

    def update(self, updates: Tensor, cohort: Cohort, norms: Tensor) -> tuple[Tensor, list[int]]:
        """The rule's update of a round.

        Args:
            updates: ``(cells, clients, dim)``.
            cohort: of the round.
            norms: ``(cells, clients)``, lengths of the updates before they were clipped.

        Returns:
            ``(cells, dim)``, and for each cell how many updates were left out because they are not finite.

        Raises:
            BadUpdateError: the rule's answer has the wrong shape or type, is not finite, or its inputs were changed.
            Infeasible: the rule's conditions do not hold.
        """
        if all_finite(norms):
            return self._asked(updates, cohort), [0] * len(updates)
        finite = torch.isfinite(updates).all(-1).cpu()  # a norm that overflows is no proof: the elements are
        if bool(finite.all()):
            return self._asked(updates, cohort), [0] * len(updates)
        if self.memory is not None and len(updates) > 1:
            raise BadUpdateError("updates that are not finite reached a rule with memory within a stack")
        answers = [self._without(updates, cohort, s, finite[s]) for s in range(len(updates))]
        return torch.stack(answers), (~finite).sum(1).tolist()

    def _without(self, updates: Tensor, cohort: Cohort, s: int, keep: Tensor) -> Tensor:
        """One cell's update from the clients whose updates are finite; f shrinks by those left out."""
        if not bool(keep.any()):
            return updates.new_zeros(updates.shape[2])
        rows = keep.nonzero().squeeze(1).to(updates.device)
        weights = cohort.weights[s : s + 1, rows]
        total = weights.sum(1, keepdim=True)
        some = replace(
            cohort,
            byzantine=max(0, cohort.byzantine - int((~keep).sum())),
            weights=torch.where(total > 0, weights / total.clamp(min=1e-30), 1.0 / len(rows)),
            clients=cohort.clients[s : s + 1, rows],
            previous=cohort.previous[s : s + 1],
            model=cohort.model[s : s + 1],
            seeds=cohort.seeds[s : s + 1],
            trusted=lambda: cohort.trusted()[s : s + 1],
        )
        return self._asked(updates[s : s + 1, rows], some)[0]

    def _asked(self, updates: Tensor, cohort: Cohort) -> Tensor:
        """The rule's answer, checked."""
        rule, name, version = self.rule, self.name, updates._version
        if hasattr(rule, "init"):
            if self.memory is None:
                self.memory = self._called(rule.init, updates, cohort)
            update, self.memory = self._called(rule, updates, cohort, self.memory)
        else:
            update = self._called(rule, updates, cohort)
        wanted = (updates.shape[0], updates.shape[2])
        if not isinstance(update, Tensor) or update.shape != wanted:
            came = tuple(update.shape) if isinstance(update, Tensor) else type(update).__name__
            raise BadUpdateError(f"{name} must return a tensor of shape (*cells, dim) = {wanted}, got {came}")
        if updates._version != version:
            raise BadUpdateError(f"{name} changed the updates that it was given; work on a copy (updates.clone())")
        if update.dtype != updates.dtype or update.device != updates.device:
            raise BadUpdateError(
                f"{name} must return {updates.dtype} on {updates.device}, got {update.dtype} on {update.device}"
            )
        if not all_finite(update):
            raise BadUpdateError(
                f"{name} returned an update that is not finite in round {cohort.round}, from finite updates"
            )
        # A view of a row would change when clients move on (momenta are updated in place).
        shared = update.untyped_storage().data_ptr() == updates.untyped_storage().data_ptr()
        return update.detach().clone() if shared or not guard.is_ours(rule) else update

    def _called(self, function: Callable[..., Any], updates: Tensor, cohort: Cohort, *memory: Any) -> Any:
        """The answer of the rule, or of its ``init``; a plug-in is given copies, and what it changes is refused."""
        with guard.foreign(function, self.name, BadUpdateError) as call:
            return function(call.lend("the updates", updates), call.lend("cohort", cohort), *memory)
