"""Rules and attacks with one well-known defect each, and the property by which the kit must find it."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aggregators import Cohort, Infeasible, per_cell
from aggregators.guard import guarded
from attacks.contract import Found, Proposal, Scene, Stamped, Studio, Trials, Wire
from attacks.label_flip import mirrored


@dataclass(frozen=True)
class Defective:
    """A rule, the property that must fail, what it claims to be, and words that its defect must hold."""

    rule: Any
    property: str
    definition: str | None = None
    words: str = ""

    def __str__(self) -> str:
        return str(getattr(self.rule, "__name__", type(self.rule).__name__))


def _needs(n: int, least: int) -> None:
    if n < least:
        raise Infeasible(f"needs at least {least} clients, got {n}")


def _apart(x: Tensor) -> Tensor:
    around = (x - x[..., :1, :]).double()
    return (around.unsqueeze(-2) - around.unsqueeze(-3)).square().sum(-1)


def _winner(x: Tensor, scores: Tensor) -> Tensor:
    return torch.stack([c[i] for c, i in zip(x.flatten(0, -3), scores.argmin(-1).flatten(), strict=True)])


def _krum(x: Tensor, cohort: Cohort, near: int, power: float = 1.0, itself: bool = False) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 3)
    squares = _apart(x)
    if not itself:
        squares.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    scores = (squares.sort(-1).values[..., :near] ** power).sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


@guarded
def krum_one_neighbour_more(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 1)


@guarded
def krum_unsquared(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, power=0.5)


@guarded
def krum_squared_twice(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, power=2.0)


@guarded
def krum_self_counted(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, itself=True)


@guarded
def krum_cdist(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 3)
    squares = torch.cdist(x, x) ** 2
    scores = squares.sort(-1).values[..., 1 : n - f - 1].sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


@guarded
def krum_too_few_clients(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, f + 3)
    squares = _apart(x)
    squares.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    scores = squares.sort(-1).values[..., : n - f - 2].sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


def krum_nan_wins(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2)  # argmin takes a NaN for the least


def _majority(x: Tensor, cohort: Cohort) -> tuple[int, int]:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 1)
    return n, f


@guarded
def median_lower(x: Tensor, cohort: Cohort, /) -> Tensor:
    _majority(x, cohort)
    return x.median(dim=-2).values


@guarded
def trimmed_slice(x: Tensor, cohort: Cohort, /) -> Tensor:
    f = _majority(x, cohort)[1]
    return x.sort(dim=-2).values[..., f:-f, :].mean(-2)


@guarded
def trimmed_by_subtraction(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = _majority(x, cohort)
    ordered = x.sort(dim=-2).values
    extremes = ordered[..., :f, :].sum(-2) + ordered[..., n - f :, :].sum(-2)
    return (x.sum(-2) - extremes) / (n - 2 * f)


@guarded
def trimmed_clamped(x: Tensor, cohort: Cohort, /) -> Tensor:
    n = x.shape[-2]
    f = min(cohort.byzantine, (n - 1) // 2)
    return x.sort(dim=-2).values[..., f : n - f, :].mean(-2)


def trimmed_cut_down(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], int(cohort.byzantine)
    _needs(n, 2 * f + 1)
    return x.sort(dim=-2).values[..., f : n - f, :].mean(-2)


@guarded
def trimmed_index_error(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    return x.sort(dim=-2).values.unbind(-2)[f + (n - 1) // 2 - f if 2 * f < n else n + f].clone()


def mutates(x: Tensor, cohort: Cohort, /) -> Tensor:
    x[~torch.isfinite(x)] = 0.0
    return _median(x)


@guarded
def aliases(x: Tensor, cohort: Cohort, /) -> Tensor:
    _needs(x.shape[-2], 1)
    return x[..., 0, :]


@guarded
def first_counts_more(x: Tensor, cohort: Cohort, /) -> Tensor:
    return (_median(x) * 9 + x[..., 0, :].clamp(-9, 9)) / 10


def _median(x: Tensor) -> Tensor:
    n = x.shape[-2]
    s = x.sort(dim=-2).values
    return (s[..., (n - 1) // 2, :] + s[..., n // 2, :]) / 2


@guarded
def global_torch(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., torch.randperm(x.shape[-2]), :])


@guarded
def global_numpy(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., np.random.permutation(x.shape[-2]), :])


@guarded
def global_python(x: Tensor, cohort: Cohort, /) -> Tensor:
    random.seed(0)
    return _median(x)


_OWN = torch.Generator().manual_seed(1)


@guarded
def own_generator(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., torch.randint(x.shape[-2], (x.shape[-2],), generator=_OWN), :])


@guarded
def wrong_dtype(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x.float())


@guarded
def wrong_shape(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).unsqueeze(0)


@guarded
def stack_leaks(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).clamp(-x.abs().mean(), x.abs().mean())  # the mean over all cells


@guarded
def one_matrix_only(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).reshape(x.shape[1])


def batch_mean_nan(x: Tensor, cohort: Cohort, /) -> Tensor:
    centre = x.mean(dim=-2, keepdim=True)
    return _median(x - centre) + centre.squeeze(-2)


def other_cells_nan(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) + 0 * x.mean()


@guarded
def fixed_epsilon(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) / (1 + 1e-3 / x.square().sum((-1, -2)).unsqueeze(-1).clamp(min=1e-9))


@guarded
def half_step(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) / 2


@guarded
def needs_contiguous(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x.view(*x.shape[:-2], -1).reshape(x.shape))


@guarded
def squares_overflow(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = _majority(x, cohort)
    far = (x - x.mean(-2, keepdim=True)).square().sum(-1)  # infinite for everybody beside 1e30
    kept = far.argsort(dim=-1, stable=True)[..., : n - f]
    return x.gather(-2, kept.unsqueeze(-1).expand(*kept.shape, x.shape[-1])).mean(-2)


@guarded
def half_the_bits(x: Tensor, cohort: Cohort, /) -> Tensor:
    _majority(x, cohort)
    kept = x.sort(dim=-2).values
    return _median(kept.half()).to(x.dtype) if x.dtype == torch.float32 else _median(kept)


@dataclass(frozen=True)
class KeepsState:
    """A memory that is changed in place, and known by row number."""

    seen: list[Tensor] = field(default_factory=list)

    def init(self, x: Tensor, cohort: Cohort, /) -> dict[str, Tensor]:
        return {"sum": torch.zeros_like(x)}

    def __call__(self, x: Tensor, cohort: Cohort, state: dict[str, Tensor], /) -> tuple[Tensor, dict[str, Tensor]]:
        state["sum"] += x
        return _median(state["sum"]), state


unpicklable = per_cell(lambda x, cohort: _median(x))

RULES = (
    Defective(krum_one_neighbour_more, "definition", "krum", "n - f - 1 neighbours"),
    Defective(krum_unsquared, "definition", "krum", "not squared"),
    Defective(krum_squared_twice, "definition", "krum", "squared twice"),
    Defective(krum_self_counted, "definition", "krum", "neighbour of its own"),
    Defective(krum_cdist, "translation", None, "n = 26"),
    Defective(krum_too_few_clients, "bounds", "krum", "n >= 5"),
    Defective(krum_nan_wins, "non_finite", None, "sent"),
    Defective(median_lower, "definition", "median", "lower of the two middle values"),
    Defective(trimmed_slice, "bounds", "trimmed_mean", "f = 0"),
    Defective(trimmed_by_subtraction, "liars", None, "1e+12"),
    Defective(trimmed_clamped, "bounds", None, "f = "),
    Defective(trimmed_cut_down, "bounds", "trimmed_mean", "f = 0.5"),
    Defective(trimmed_index_error, "bounds", "median", "IndexError"),
    Defective(mutates, "inputs", None, "the updates changed"),
    Defective(aliases, "aliasing", None, "a view of the updates"),
    Defective(first_counts_more, "order"),
    Defective(global_torch, "randomness", None, "torch's"),
    Defective(global_numpy, "randomness", None, "NumPy's"),
    Defective(global_python, "randomness", None, "Python's"),
    Defective(own_generator, "repeatable", None, "the second answer"),
    Defective(wrong_dtype, "form", None, "float64"),
    Defective(wrong_shape, "form", None, "(*cells, dim)"),
    Defective(stack_leaks, "stack", None, "alone"),
    Defective(one_matrix_only, "stack"),
    Defective(batch_mean_nan, "non_finite", None, "nan"),
    Defective(other_cells_nan, "stack", None, "a NaN in cell 1"),
    Defective(fixed_epsilon, "scale", None, "everything times"),
    Defective(half_step, "unanimity"),
    Defective(needs_contiguous, "strides", None, "view"),
    Defective(squares_overflow, "liars", None, "1e+30"),
    Defective(half_the_bits, "precision"),
    Defective(KeepsState(), "memory"),
    Defective(unpicklable, "pickles"),
)


def _plain(labels: Tensor, scene: Scene, new: Tensor) -> Proposal:
    return Proposal(new, new != labels)


def class_0_is_falsy(labels: Tensor, scene: Scene, /, *, source: int, target: int) -> Proposal:
    new = torch.where(labels == source, target, labels) if source else labels.clone()
    return _plain(labels, scene, new)


def chained(labels: Tensor, scene: Scene, /) -> Proposal:
    new = labels.clone()
    for _ in range(2):
        new[new == new[:1]] = 1 if int(new[0]) == 0 else 0
    return _plain(labels, scene, new)


def middle_keeps_its_name(labels: Tensor, scene: Scene, /) -> Proposal:
    return Proposal(scene.classes - 1 - labels, torch.ones_like(labels, dtype=torch.bool))


def may_keep_the_label(labels: Tensor, scene: Scene, /) -> Proposal:
    new = torch.randint(scene.classes, labels.shape, generator=scene.generator)
    return Proposal(new, torch.ones_like(labels, dtype=torch.bool))


def never_the_last(labels: Tensor, scene: Scene, /) -> Proposal:
    new = torch.randint(scene.classes - 1, labels.shape, generator=scene.generator)
    return _plain(labels, scene, new)


def beyond_the_classes(labels: Tensor, scene: Scene, /) -> Proposal:
    return _plain(labels, scene, labels + 1)


def draws_globally(labels: Tensor, scene: Scene, /) -> Proposal:
    step = torch.randint(1, max(2, scene.classes), labels.shape)
    return _plain(labels, scene, (labels + step) % scene.classes)


def writes_on_labels(labels: Tensor, scene: Scene, /) -> Proposal:
    kept = labels.clone()
    labels += 1
    labels %= scene.classes
    return Proposal(labels.clone(), labels != kept)


def flips_nothing(labels: Tensor, scene: Scene, /) -> Proposal:
    return _plain(labels, scene, labels.clone())


def peeks_at_the_confusion(labels: Tensor, scene: Scene, /) -> Proposal:
    new = scene.confusion().argsort(1)[labels, -2]
    return _plain(labels, scene, new)


_CALLS = [0]


def flips_otherwise_each_time(labels: Tensor, scene: Scene, /) -> Proposal:
    _CALLS[0] += 1
    return _plain(labels, scene, (labels + 1 + _CALLS[0] % (scene.classes - 1)) % scene.classes)


def flips_halves(labels: Tensor, scene: Scene, /) -> Proposal:
    new = (labels + 1) % scene.classes
    return Proposal(new, torch.rand(len(labels), generator=scene.generator) < 0.5)


def negated(updates: Tensor, wire: Wire, /) -> Tensor:
    """Nothing is wrong with it."""
    return -wire.honest.double().mean(0).to(updates).expand_as(updates)


def mutates_honest(updates: Tensor, wire: Wire, /) -> Tensor:
    wire.honest.mul_(-1)
    return wire.honest.mean(0).expand_as(updates).clone()


def mutates_updates(updates: Tensor, wire: Wire, /) -> Tensor:
    return updates.neg_()


def sends_nan(updates: Tensor, wire: Wire, /) -> Tensor:
    return torch.full_like(updates, torch.nan)


def divides_by_the_spread(updates: Tensor, wire: Wire, /) -> Tensor:
    mean = wire.honest.mean(0)
    apart = wire.honest.std(0, unbiased=False)  # 0 where all agree
    return ((updates - mean) / apart).clamp(-3, 3) * apart - mean


def one_row_only(updates: Tensor, wire: Wire, /) -> Tensor:
    return -wire.honest.mean(0)


def in_float32(updates: Tensor, wire: Wire, /) -> Tensor:
    return -updates.float()


def draws_from_torch(updates: Tensor, wire: Wire, /) -> Tensor:
    return torch.randn_like(updates)


def draws_from_numpy(updates: Tensor, wire: Wire, /) -> Tensor:
    return torch.from_numpy(np.random.randn(*updates.shape)).to(updates)


def peeks_at_the_rule(updates: Tensor, wire: Wire, /) -> Tensor:
    worst = -10 * wire.honest.mean(0).expand_as(updates)
    return worst if float(wire.aggregate(worst.unsqueeze(0)).norm()) > 0 else -worst


def peeks_and_hides_it(updates: Tensor, wire: Wire, /) -> Tensor:
    with suppress(ValueError):
        wire.aggregate(updates.unsqueeze(0))
    return -updates


def claims_to_be_adaptive(updates: Tensor, wire: Wire, /) -> Tensor:
    return -updates


claims_to_be_adaptive.adaptive = True  # type: ignore[attr-defined]


def asks_about_a_matrix(updates: Tensor, wire: Wire, /) -> Tensor:
    wire.aggregate(updates)
    return -updates


asks_about_a_matrix.adaptive = True  # type: ignore[attr-defined]


def sends_its_own(updates: Tensor, wire: Wire, /) -> Tensor:
    return updates


def needs_two_honest(updates: Tensor, wire: Wire, /) -> Tensor:
    return (wire.honest[0] - 2 * wire.honest[1]).expand_as(updates)


_SENT: list[Tensor] = []


def remembers_by_itself(updates: Tensor, wire: Wire, /) -> Tensor:
    _SENT.append(wire.honest.mean().reshape(1))
    return -updates * (1 + len(_SENT))


def variance_by_subtraction(updates: Tensor, wire: Wire, /) -> Tensor:
    mean = wire.honest.mean(0)
    spread = (wire.honest.square().mean(0) - mean.square()).clamp(min=0).sqrt()
    return (mean - 1.5 * spread).expand_as(updates)


@dataclass(frozen=True)
class Grudge:
    """A memory that is changed in place."""

    place = "updates"

    def init(self, updates: Tensor, wire: Wire, /) -> Tensor:
        return torch.zeros_like(updates)

    def __call__(self, updates: Tensor, wire: Wire, state: Tensor, /) -> tuple[Tensor, Tensor]:
        state += updates
        return -state.clone(), state


@dataclass(frozen=True)
class Diary:
    """Memory kept in the attack, not in the state."""

    pages: list[Tensor] = field(default_factory=list)

    def init(self, updates: Tensor, wire: Wire, /) -> int:
        self.pages.clear()
        return 0

    def __call__(self, updates: Tensor, wire: Wire, state: int, /) -> tuple[Tensor, int]:
        self.pages.append(wire.honest.mean(0))
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
    (mutates_honest, "untouched", "wire.honest changed"),
    (mutates_updates, "untouched", "own updates changed"),
    (sends_nan, "finite", "not finite"),
    (divides_by_the_spread, "finite", "not finite"),
    (one_row_only, "form", "where \\(malicious, dim\\)"),
    (in_float32, "form", "float32 where the updates are torch.float64"),
    (draws_from_torch, "randomness", "torch's global generator moved"),
    (draws_from_numpy, "randomness", "NumPy's global generator moved"),
    (peeks_at_the_rule, "rule", "asks wire.aggregate"),
    (peeks_and_hides_it, "rule", "asks wire.aggregate"),
    (claims_to_be_adaptive, "rule", "never asks"),
    (asks_about_a_matrix, "rule", "\\(trials, malicious, dim\\)"),
    (sends_its_own, "alive", "send honestly"),
    (needs_two_honest, "form", "1 honest, 1 malicious, d = 1.*IndexError"),
    (remembers_by_itself, "repeatable", "the second time"),
    (variance_by_subtraction, "precision", "off by"),
    (Grudge(), "memory", "changed the state"),
    (Diary(), "memory", "beside another federation"),
)


def _stamped(examples: Tensor, labels: Tensor, studio: Studio, target: int = 0) -> Stamped:
    pixels = examples.clone()
    pixels[..., -2:, -2:] = studio.high
    return Stamped(pixels, torch.full_like(labels, target), labels != target)


def corner(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    """Nothing is wrong with it."""
    return _stamped(examples, labels, studio)


def stamps_the_brightest_of_the_batch(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    if len(examples):
        one.examples[..., -2:, -2:] = examples.max()
    return one


def stamps_by_place(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    one.eligible[::2] = False
    return one


def stamps_by_label(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    one.examples[labels == 1, ..., 0, 0] = studio.high
    return one


def a_class_too_many(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    return _stamped(examples, labels, studio, studio.classes)


def brighter_than_bright(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    one.examples[..., -1, -1] = 3 * studio.high + 1
    return one


def writes_on_the_pictures(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    examples[..., -1, -1] = studio.high
    return _stamped(examples, labels, studio)


def keeps_the_labels_memory(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    return Stamped(one.examples, labels, one.eligible)


def stamps_nothing(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    return Stamped(examples.clone(), torch.zeros_like(labels), labels != 0)


def nobody_is_eligible(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    return Stamped(one.examples, one.labels, one.labels < 0)


def random_trigger(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    one.examples[..., -2:, -2:] = studio.low + (studio.high - studio.low) * torch.rand(2, 2)
    return one


def in_float64(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    one = _stamped(examples, labels, studio)
    return Stamped(one.examples.double(), one.labels, one.eligible)


def fails_without_examples(examples: Tensor, labels: Tensor, studio: Studio, /) -> Stamped:
    _ = 1 // len(labels)
    return _stamped(examples, labels, studio)


EXAMPLES = (
    (stamps_the_brightest_of_the_batch, "alone", "between alone and among others"),
    (stamps_by_place, "alone", "eligible"),
    (stamps_by_label, "alone", "depends on the label"),
    (a_class_too_many, "range", "becomes 2"),
    (brighter_than_bright, "range", "pixels go from"),
    (writes_on_the_pictures, "untouched", "examples given to it changed"),
    (keeps_the_labels_memory, "untouched", "a view of the labels"),
    (stamps_nothing, "alive", "keeps all its pixels"),
    (nobody_is_eligible, "alive", "no example of any class"),
    (random_trigger, "determinism", "torch's global generator moved"),
    (in_float64, "form", "examples must be torch.float32"),
    (fails_without_examples, "form", "ZeroDivisionError"),
)

LABELS = (
    (class_0_is_falsy, "alive", "source=0"),
    (chained, "simultaneous", "class"),
    (middle_keeps_its_name, "alive", "class 1 keeps its label"),
    (may_keep_the_label, "alive", "keeps its label"),
    (never_the_last, "alive", "no label ever becomes 4"),
    (beyond_the_classes, "range", "becomes 2"),
    (draws_globally, "determinism", "torch's"),
    (writes_on_labels, "untouched", "labels given to it changed"),
    (flips_nothing, "alive", "no example"),
    (peeks_at_the_confusion, "range", "without declaring it"),
    (flips_otherwise_each_time, "paired", "updates are not those under fedavg"),
    (flips_halves, "simultaneous", "alone is relabelled otherwise"),
)
