"""Rounds for the checks of update attacks, and the question to the attack: what do the malicious clients send?

Rounds are drawn from seeds of their own, smallest first: one malicious and one honest client, honest updates that are
all the same, and vectors as long as a model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.attacks.contract import UpdateContext
from flipbench.conformance.attack_cases import Attack
from flipbench.conformance.cases import Broken, Unusable, layout, raised

_SIZES = ((1, 1, 1), (1, 1, 12), (2, 1, 12), (3, 2, 12), (8, 2, 12), (12, 8, 40))  # honest, malicious, dim
_LONG = (7, 2)
_DIM = 100_000  # as long as a small network
_DIM_OF_SEARCHES = 5_000  # an adaptive attack asks the rule many times


@dataclass(frozen=True)
class Round:
    """One round as an update attack sees it.

    Attributes:
        updates: ``(malicious, dim)``, what the malicious clients would send honestly.
        context: what else the attack may know; its generator and its rule are made anew for every question.
        seed: of the generator.
        note: what is special about it.
        asked: filled by the rule whenever it is asked.
    """

    updates: Tensor
    context: UpdateContext
    seed: int = 0
    note: str = ""
    asked: list[str] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        m, d = self.updates.shape
        text = f"{len(self.context.honest)} honest, {m} malicious, d = {d}, round {self.context.round}"
        return f"{text}, {self.note}" if self.note else text

    def fresh(self, adaptive: bool) -> UpdateContext:
        """The context with a generator of its own, and the rule (the median) where the attack may ask it."""
        rule: Callable[[Tensor], Tensor] = self._median if adaptive else self._refuse
        return replace(self.context, generator=torch.Generator().manual_seed(self.seed), aggregate=rule)

    def _refuse(self, candidates: Tensor) -> Tensor:
        self.asked.append("refused")
        return UpdateContext(
            **{f.name: getattr(self.context, f.name) for f in fields(UpdateContext) if f.name != "aggregate"}
        ).aggregate(candidates)

    def _median(self, candidates: Tensor) -> Tensor:
        wanted = self.updates.shape
        if not isinstance(candidates, Tensor) or candidates.ndim != 3 or candidates.shape[1:] != wanted:
            came = tuple(candidates.shape) if isinstance(candidates, Tensor) else type(candidates).__name__
            raise Broken(
                str(self),
                f"asked context.aggregate about {came} where (trials, malicious, dim) = "
                f"(trials, {wanted[0]}, {wanted[1]}) was needed",
            )
        self.asked.append("answered")
        honest = self.context.honest.expand(len(candidates), *self.context.honest.shape)
        return torch.cat([honest, candidates.to(honest)], 1).median(1).values


def draw(
    honest: int, malicious: int, dim: int, *, seed: int = 0, number: int = 2, apart: float = 0.01, note: str = ""
) -> Round:
    """A round of updates that agree in part, as updates do, float32."""
    g = torch.Generator().manual_seed(1_000_003 * seed + 1009 * honest + 101 * malicious + dim + number)
    common = 0.02 * torch.randn(dim, generator=g)
    sent = common + apart * torch.randn(honest + malicious, dim, generator=g)
    weights = 1 + 0.2 * torch.rand(honest + malicious, generator=g)
    context = UpdateContext(
        honest=sent[:honest].clone(),
        weights=weights / weights.sum(),
        previous=common + 0.005 * torch.randn(dim, generator=g),
        layout=layout(dim),
        round=number,
        generator=g,
    )
    return Round(sent[honest:].clone(), context, seed, note)


def rounds(attack: Attack) -> list[Round]:
    """The rounds that the attack takes, smallest first; it may call one infeasible, with the numbers.

    Raises:
        Broken: it takes none of them.
    """
    taken, reason = [], ""
    for case in _all_rounds():
        try:
            ask(attack, case)
        except Infeasible as error:
            reason = str(error)
        except Broken:  # a finding of the checks, not of this question
            taken.append(case)
        else:
            taken.append(case)
    if not any(len(case.updates) > 1 for case in taken):
        raise Broken(attack.name, f"calls every round infeasible: {reason}")
    return taken


def long(attack: Attack, **more: Any) -> Round:
    """A round with vectors as long as a model's (shorter for an attack that asks the rule many times)."""
    return draw(*_LONG, _DIM_OF_SEARCHES if attack.declares("adaptive") else _DIM, **more)


def _all_rounds() -> Iterator[Round]:
    for sizes in _SIZES:
        yield draw(*sizes)
    first = draw(3, 2, 12, number=1, note="no update before it")
    yield replace(first, context=replace(first.context, previous=torch.zeros(12)))
    for sizes in ((2, 1, 12), (8, 2, 12)):
        case = draw(*sizes, note="all honest updates the same")
        same = case.context.honest[:1].expand(sizes[0], -1).clone()
        yield replace(case, context=replace(case.context, honest=same))
    still = draw(3, 2, 12, note="all updates zero")
    yield replace(
        still,
        updates=torch.zeros(2, 12),
        context=replace(still.context, honest=torch.zeros(3, 12), previous=torch.zeros(12)),
    )


def ask(attack: Attack, case: Round, state: Any = None) -> tuple[Tensor, Any]:
    """The attack's answer to a round and its memory after it (None without one); a memory starts afresh by default.

    Raises:
        Infeasible: as the attack says.
        Broken: it raised something else, asked a rule that it may not, or answered no tensor of the updates' shape.
    """
    call: Any = attack.call
    context = case.fresh(attack.declares("adaptive"))
    case.asked.clear()
    problem: Exception | None = None
    answer: Any = None
    try:
        if attack.remembers:
            state = call.init(case.updates, context) if state is None else state
            answer = call(case.updates, context, state)
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise TypeError(f"an attack with memory answers (updates, state), got {type(answer).__name__}")
            answer, state = answer
        else:
            answer = call(case.updates, context)
    except (Broken, Infeasible):
        raise
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        problem = error
    where = f"{attack.name}, {case}"
    if "refused" in case.asked:
        raise Broken(
            where,
            "asks context.aggregate, the rule that it faces, without declaring it",
            "the attack knows more than the tables say",
            "declare it (adaptive = True as an attribute of the function or class), or attack without asking",
        )
    if problem is not None:
        raise Unusable(where, raised(problem), "the attack stops the experiment with an error of its own") from problem
    if not isinstance(answer, Tensor) or answer.shape != case.updates.shape:
        came = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise Unusable(where, f"answered {came} where (malicious, dim) = {tuple(case.updates.shape)} was needed")
    return answer.detach(), state


def cast(case: Round, kind: torch.dtype) -> Round:
    """The same round in another type."""
    context = case.context
    other = replace(
        context, honest=context.honest.to(kind), weights=context.weights.to(kind), previous=context.previous.to(kind)
    )
    return replace(case, updates=case.updates.to(kind), context=other, asked=[])


def tensors(case: Round) -> dict[str, Tensor]:
    """What an attack must leave as it was, by name."""
    context = case.context
    return {
        "the malicious clients' own updates": case.updates,
        "context.honest": context.honest,
        "context.weights": context.weights,
        "context.previous": context.previous,
    }
