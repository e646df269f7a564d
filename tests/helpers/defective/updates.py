"""Attacks on updates, and searches, with a defect each, the property that must find it, and words it must say."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flipbench.attacks.contract import Found, Trials, UpdateContext
from flipbench.attacks.labels.label_flip import mirrored
from tests.helpers.defective.flips import middle_keeps_its_name


def negated(updates: Tensor, context: UpdateContext, /) -> Tensor:
    """Nothing is wrong with it."""
    return -context.honest.double().mean(0).to(updates).expand_as(updates)


def mutates_honest(updates: Tensor, context: UpdateContext, /) -> Tensor:
    context.honest.mul_(-1)
    return context.honest.mean(0).expand_as(updates).clone()


def mutates_previous(updates: Tensor, context: UpdateContext, /) -> Tensor:
    context.previous.numpy()[0] += 1
    return -updates


def asks_for_determinism(updates: Tensor, context: UpdateContext, /) -> Tensor:
    torch.set_deterministic_debug_mode("error")
    return -updates


def mutates_updates(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return updates.neg_()


def sends_nan(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return torch.full_like(updates, torch.nan)


def divides_by_the_spread(updates: Tensor, context: UpdateContext, /) -> Tensor:
    mean = context.honest.mean(0)
    apart = context.honest.std(0, unbiased=False)  # 0 where all agree
    return ((updates - mean) / apart).clamp(-3, 3) * apart - mean


def one_row_only(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return -context.honest.mean(0)


def in_float32(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return -updates.float()


def draws_from_torch(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return torch.randn_like(updates)


def draws_from_numpy(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return torch.from_numpy(np.random.randn(*updates.shape)).to(updates)


def peeks_at_the_rule(updates: Tensor, context: UpdateContext, /) -> Tensor:
    worst = -10 * context.honest.mean(0).expand_as(updates)
    return worst if float(context.aggregate(worst.unsqueeze(0)).norm()) > 0 else -worst


def peeks_and_hides_it(updates: Tensor, context: UpdateContext, /) -> Tensor:
    with suppress(ValueError):
        context.aggregate(updates.unsqueeze(0))
    return -updates


def claims_to_be_adaptive(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return -updates


claims_to_be_adaptive.adaptive = True  # type: ignore[attr-defined]


def asks_about_a_matrix(updates: Tensor, context: UpdateContext, /) -> Tensor:
    context.aggregate(updates)
    return -updates


asks_about_a_matrix.adaptive = True  # type: ignore[attr-defined]


def sends_its_own(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return updates


def needs_two_honest(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return (context.honest[0] - 2 * context.honest[1]).expand_as(updates)


_SENT: list[Tensor] = []


def remembers_by_itself(updates: Tensor, context: UpdateContext, /) -> Tensor:
    _SENT.append(context.honest.mean().reshape(1))
    return -updates * (1 + len(_SENT))


def variance_by_subtraction(updates: Tensor, context: UpdateContext, /) -> Tensor:
    mean = context.honest.mean(0)
    spread = (context.honest.square().mean(0) - mean.square()).clamp(min=0).sqrt()
    return (mean - 1.5 * spread).expand_as(updates)


@dataclass(frozen=True)
class Grudge:
    """A memory that is changed in place."""

    place = "updates"

    def init(self, updates: Tensor, context: UpdateContext, /) -> Tensor:
        return torch.zeros_like(updates)

    def __call__(self, updates: Tensor, context: UpdateContext, state: Tensor, /) -> tuple[Tensor, Tensor]:
        state += updates
        return -state.clone(), state


@dataclass(frozen=True)
class Diary:
    """Memory kept in the attack, not in the state."""

    pages: list[Tensor] = field(default_factory=list)

    def init(self, updates: Tensor, context: UpdateContext, /) -> int:
        self.pages.clear()
        return 0

    def __call__(self, updates: Tensor, context: UpdateContext, state: int, /) -> tuple[Tensor, int]:
        self.pages.append(context.honest.mean(0))
        return -torch.stack(self.pages).mean(0).expand_as(updates), state + 1


@dataclass(frozen=True)
class Undeclared:
    """Searches with the real rule and does not say so."""

    place = "labels"

    def search(self, trials: Trials, /) -> Found:
        return Found(mirrored, None, {"objective": "none", "harm": 0.0, "trials": 0})


@dataclass(frozen=True)
class Silent(Undeclared):
    adaptive = True

    def search(self, trials: Trials, /) -> Found:
        return Found(mirrored, None, {})


@dataclass(frozen=True)
class OtherMap(Undeclared):
    adaptive = True

    def search(self, trials: Trials, /) -> Found:
        trials.run([None, mirrored], trials.rounds)
        return Found(mirrored, {0: 0}, {"objective": "accuracy", "harm": 0.1, "trials": 2})


@dataclass(frozen=True)
class Endless(Undeclared):
    adaptive = True

    def search(self, trials: Trials, /) -> Found:
        trials.run([mirrored], 10 * trials.rounds)
        return Found(mirrored, None, {"objective": "accuracy", "harm": 0.1, "trials": 1})


@dataclass(frozen=True)
class Restless(Undeclared):
    adaptive = True
    found: list[int] = field(default_factory=list)

    def search(self, trials: Trials, /) -> Found:
        self.found.append(0)
        return Found(mirrored, None, {"objective": "accuracy", "harm": 0.1, "trials": len(self.found)})


@dataclass(frozen=True)
class FindsAWeakOne(Undeclared):
    adaptive = True

    def search(self, trials: Trials, /) -> Found:
        return Found(middle_keeps_its_name, None, {"objective": "accuracy", "harm": 0.1, "trials": 1})


SEARCHES = (
    (Undeclared(), "found", "does not declare adaptive"),
    (Silent(), "found", "says None as objective"),
    (OtherMap(), "found", "its mapping sends 1 to None, its flip to 0"),
    (Endless(), "found", "trials of 60 rounds"),
    (Restless(), "repeatable", "where it had found"),
    (FindsAWeakOne(), "flip", "class 1 keeps its label"),
)

UPDATES = (
    (mutates_honest, "untouched", "context.honest changed"),
    (mutates_previous, "untouched", "context.previous changed"),
    (asks_for_determinism, "settings", "deterministic algorithms"),
    (mutates_updates, "untouched", "own updates changed"),
    (sends_nan, "finite", "not finite"),
    (divides_by_the_spread, "finite", "not finite"),
    (one_row_only, "form", "where \\(malicious, dim\\)"),
    (in_float32, "form", "float32 where the updates are torch.float64"),
    (draws_from_torch, "randomness", "torch's global generator moved"),
    (draws_from_numpy, "randomness", "NumPy's global generator moved"),
    (peeks_at_the_rule, "rule", "asks context.aggregate"),
    (peeks_and_hides_it, "rule", "asks context.aggregate"),
    (claims_to_be_adaptive, "rule", "never asks"),
    (asks_about_a_matrix, "rule", "\\(trials, malicious, dim\\)"),
    (sends_its_own, "alive", "send honestly"),
    (needs_two_honest, "form", "1 honest, 1 malicious, d = 1.*IndexError"),
    (remembers_by_itself, "repeatable", "the second time"),
    (variance_by_subtraction, "precision", "off by"),
    (Grudge(), "memory", "changed the state"),
    (Diary(), "memory", "beside another federation"),
)
