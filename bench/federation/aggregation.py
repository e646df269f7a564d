"""The only call into an aggregator: updates that are not finite are left out before it, and its answer is checked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Always, Cohort, Infeasible, unheard
from flipbench.aggregators.validation import all_finite
from flipbench.federation.malicious_clients import without_trace
from flipbench.plugins import guard
from flipbench.system import memory_peak


class BadUpdateError(RuntimeError):
    """A rule returned something that cannot be applied, or changed its inputs."""


class BadKeptError(ValueError):
    """What a rule told is no list of clients; the text says what was needed and what came."""


class KeptClients:
    """What a rule tells of one round.

    Args:
        cells: of the stack.
        clients: of the round, with those whose updates are not finite.
    """

    def __init__(self, cells: int, clients: int) -> None:
        self.cells, self.clients = cells, clients
        self._told: list[list[int] | None] = [None] * cells

    def __call__(self, kept: Any, cell: int | None = None) -> None:
        """Take what the rule kept.

        Args:
            kept: ``(cells, clients)`` bool; of one cell ``(clients,)``.
            cell: which one; None: all.

        Raises:
            BadKeptError: another shape or type.
        """
        wanted = (self.clients,) if cell is not None else (self.cells, self.clients)
        if not isinstance(kept, Tensor) or tuple(kept.shape) != wanted or kept.dtype != torch.bool:
            came = f"{kept.dtype} of shape {tuple(kept.shape)}" if isinstance(kept, Tensor) else type(kept).__name__
            raise BadKeptError(f"tell_kept needs torch.bool of shape (*cells, clients) = {wanted}, got {came}")
        rows = kept.detach().int().cpu().tolist()
        if cell is None:
            self._told = rows
        else:
            self._told[cell] = rows

    def of_cell(self, s: int) -> list[int] | None:
        """1 for each client of a cell that was kept, 0 for the others; None where the rule told nothing."""
        return self._told[s]

    def among(self, s: int, rows: Tensor) -> Callable[..., None]:
        """Takes what the rule kept of some clients of a cell; the others were left out.

        Args:
            s: the cell, which the rule sees as a stack of one.
            rows: ``(clients,)`` bool, those that it sees.
        """
        return partial(self._of_some, s, rows)

    def _of_some(self, s: int, rows: Tensor, kept: Any, cell: int | None = None) -> None:
        some = KeptClients(1, int(rows.sum()))
        some(kept, cell)
        every = torch.zeros(self.clients, dtype=torch.bool)
        every[rows.cpu()] = torch.tensor(some.of_cell(0), dtype=torch.bool)
        self(every, s)


def _alone(cohort: Cohort, s: int) -> Cohort:
    """The cohort of one cell of a stack, as that of a stack of one."""
    return replace(
        cohort,
        weights=cohort.weights[s : s + 1],
        clients=cohort.clients[s : s + 1],
        previous=cohort.previous[s : s + 1],
        model=cohort.model[s : s + 1],
        seeds=cohort.seeds[s : s + 1],
        trusted=lambda: cohort.trusted()[s : s + 1],
    )


class Aggregation:
    """A rule, and what it remembers of the rounds so far.

    Args:
        rule: the aggregator.
        name: of it, for messages.
    """

    def __init__(self, rule: Any, name: str) -> None:
        self.rule, self.name = rule, name
        self.memory: Any = None  # of a rule that has one, from the first round on
        self.kept = KeptClients(0, 0)  # which clients the rule says it kept, of the last round
        self.peak: int | None = None  # bytes that one call holds at its peak beside the updates, for one cell
        self._unmeasured = self._first = True

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
        self.kept = KeptClients(*updates.shape[:2])
        if self._unmeasured and guard.is_ours(self.rule) and all_finite(norms):
            name = (self.name, updates.shape[1:], updates.dtype, str(updates.device), cohort.byzantine)
            self.peak, self._unmeasured = memory_peak.once(name, lambda: self._peak_of_ours(updates, cohort)), False
        cohort = replace(cohort, tell_kept=self.kept)
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
            _alone(cohort, s),
            byzantine=max(0, cohort.byzantine - int((~keep).sum())),
            weights=torch.where(total > 0, weights / total.clamp(min=1e-30), 1.0 / len(rows)),
            clients=cohort.clients[s : s + 1, rows],
            tell_kept=self.kept.among(s, keep),
        )
        return self._asked(updates[s : s + 1, rows], some)[0]

    def _peak_of_ours(self, updates: Tensor, cohort: Cohort) -> int | None:
        """Bytes of a shipped rule's call at its peak, by questions about the stack's first cell that leave no trace."""
        one = replace(_alone(cohort, 0), tell_kept=unheard)
        with suppress(Infeasible):  # no root data: what the server trains is no memory of the rule
            one = replace(one, trusted=Always(cohort.trusted()[:1]))
        try:
            known = copy.deepcopy(self.memory)
            memory = [known] if known is not None else []
            if hasattr(self.rule, "init") and known is None:
                memory = [self.rule.init(updates[:1], one)]
            self.rule(updates[:1], one, *copy.deepcopy(memory))  # loads what it needs: kernels, modules
            return memory_peak.measured(lambda: self.rule(updates[:1], one, *memory), updates.device)[1]
        except Infeasible:
            return None

    def _asked(self, updates: Tensor, cohort: Cohort) -> Tensor:
        """The rule's answer, checked."""
        rule, name, version = self.rule, self.name, updates._version
        if hasattr(rule, "init"):
            if self.memory is None:
                self.memory = self._called(rule.init, updates, cohort)
            update, self.memory = self._measured(updates, cohort, self.memory)
        else:
            update = self._measured(updates, cohort)
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

    def _measured(self, updates: Tensor, cohort: Cohort, *memory: Any) -> Any:
        """The rule's answer. Of a plug-in, which is asked nothing else, the memory of its second answer is measured.

        With the first it may load modules, or compile.
        """
        first, self._first = self._first, False
        if first or not self._unmeasured or guard.is_ours(self.rule):
            return self._called(self.rule, updates, cohort, *memory)
        self._unmeasured = False

        @wraps(self.rule)
        def measured(*given: Any) -> Any:
            answer, peak = memory_peak.measured(lambda: self.rule(*given), updates.device)
            self.peak = None if peak is None else peak // len(updates)
            return answer

        return self._called(measured, updates, cohort, *memory)

    def _called(self, function: Callable[..., Any], updates: Tensor, cohort: Cohort, *memory: Any) -> Any:
        """The answer of the rule, or of its ``init``; a plug-in is given copies, and what it changes is refused."""
        with guard.foreign(function, self.name, BadUpdateError) as call:
            lent = call.lend("the updates", updates), call.lend("cohort", cohort)
            try:
                return function(*lent, *memory)
            except BadKeptError as error:
                raise BadUpdateError(f"{self.name}: {error}") from error
