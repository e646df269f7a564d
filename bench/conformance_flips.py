"""What every label attack must satisfy: right labels, right counts, nobody else touched, nothing drawn from elsewhere.

An attack is tried alone and through the bench's own population, on tasks of 2, 3, 5 and 10 classes. One that needs
options comes with them bound, like ``targeted(source=0, target=1)``; without them it is tried with classes 0 and 1 as
source and target, and the other way round.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attacks.contract import Proposal, Scene
from bench.cell import Cell
from bench.conformance_cases import Broken, Defect, shown
from bench.conformance_effects import GENERATORS, stirred
from bench.data.partitions import PARTITIONS
from bench.population import Population, populate

_CLASSES = (2, 3, 5, 10)
_PER_CLASS = 40
_RATES = (0.0, 0.1, 0.29, 0.5, 1.0)
_ENDS: Mapping[str, tuple[Any, Any]] = {
    "source": (0, 1),
    "target": (1, 0),
    "first": (0, 1),
    "second": (1, 0),
    "mapping": ({0: 1}, {1: 0}),
}


@dataclass(frozen=True)
class Attack:
    """A label attack with its options, and how to name it."""

    call: Callable[..., Any]
    name: str

    def propose(self, labels: Tensor, classes: int, seed: int = 0, pool: Tensor | None = None) -> Proposal:
        """The attack's answer for one client's labels.

        Raises:
            Broken: it raised something, or answered no proposal of the right shape and type.
        """
        where = f"{self.name}, L = {classes}, labels {shown(labels)}"
        scene = Scene(classes, labels if pool is None else pool, torch.Generator().manual_seed(seed))
        try:
            answer = self.call(labels, scene)
        except ValueError:
            raise
        except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
            raise Broken(where, f"raised {type(error).__name__}: {error}") from error
        if not isinstance(answer, Proposal):
            raise Broken(where, f"answered {type(answer).__name__}, not attacks.Proposal(labels, eligible)")
        for what, t, kind in (("labels", answer.labels, torch.int64), ("eligible", answer.eligible, torch.bool)):
            if not isinstance(t, Tensor) or t.dtype != kind or t.shape != labels.shape:
                came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
                raise Broken(where, f"{what} must be {kind} {tuple(labels.shape)}, got {came}")
        return answer


def variants(call: Callable[..., Any], name: str) -> list[Attack]:
    """The attack itself; one that needs classes as options with class 0 at either end."""
    needed = [p.name for p in inspect.signature(call).parameters.values() if _is_needed(p)]
    if not needed:
        return [Attack(call, name)]
    if unknown := [n for n in needed if n not in _ENDS]:
        options = ", ".join(f"{n}=..." for n in unknown)
        raise Broken(name, "needs options", "nothing can be tried without them", f"name it as {name}({options})")
    both = [{n: _ENDS[n][end] for n in needed} for end in (0, 1)]
    return [Attack(partial(call, **o), f"{name}({', '.join(f'{k}={v}' for k, v in o.items())})") for o in both]


def _is_needed(p: inspect.Parameter) -> bool:
    return p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is inspect.Parameter.empty


def labels_of(classes: int, seed: int = 0) -> Tensor:
    """Shuffled labels, every class with as many examples."""
    ordered = torch.arange(classes).repeat_interleave(_PER_CLASS)
    return ordered[torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))]


def _tasks(attack: Attack) -> list[int]:
    """The numbers of classes that the attack takes."""
    fits = []
    for classes in _CLASSES:
        try:
            attack.propose(labels_of(classes), classes)
        except ValueError:  # its classes do not exist here
            continue
        fits.append(classes)
    if not fits:
        attempts = ", ".join(map(str, _CLASSES))
        raise Broken(attack.name, f"refused every task of {attempts} classes")
    return fits


def labels_in_range(attack: Attack) -> None:
    """Proposed labels of eligible examples are classes that exist, and an empty client is no problem."""
    for classes in _tasks(attack):
        for labels in (labels_of(classes), torch.zeros(0, dtype=torch.int64), torch.tensor([classes - 1, 0])):
            answer = attack.propose(labels, classes, pool=labels_of(classes))
            new = answer.labels[answer.eligible]
            if len(new) and not 0 <= int(new.min()) <= int(new.max()) < classes:
                at = int(((new < 0) | (new >= classes)).nonzero()[0])
                old = int(labels[answer.eligible][at])
                raise Broken(f"{attack.name}, L = {classes}", f"label {old} becomes {int(new[at])}")


def alive(attack: Attack) -> None:
    """Something is eligible, and what is eligible changes (with replacement: most of it may)."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        answer = attack.propose(labels, classes)
        eligible = answer.eligible
        if not bool(eligible.any()):
            raise Broken(f"{attack.name}, L = {classes}", "no example of any class is eligible")
        kept = eligible & (answer.labels == labels)
        if answer.with_replacement:
            if bool(kept.sum() == eligible.sum()):
                raise Broken(f"{attack.name}, L = {classes}", "no label changes")
        elif bool(kept.any()):
            stays = int(labels[kept][0])
            raise Broken(f"{attack.name}, L = {classes}", f"an eligible example of class {stays} keeps its label")
        _reaches_both_ends(attack, answer, labels, classes)


def _reaches_both_ends(attack: Attack, answer: Proposal, labels: Tensor, classes: int) -> None:
    """A flip that is drawn and reaches all classes but the first or the last has its bounds wrong by one."""
    other = attack.propose(labels, classes, seed=1)
    if classes < 5 or torch.equal(answer.labels, other.labels):
        return
    missed = set(range(classes)) - set(answer.labels[answer.eligible].tolist())
    if len(missed) == 1 and missed <= {0, classes - 1}:
        raise Broken(f"{attack.name}, L = {classes}", f"no label ever becomes {missed.pop()}")


def simultaneous(attack: Attack) -> None:
    """Each example is treated by its own true label, whatever stands beside it: no written label is read again."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        whole = attack.propose(labels, classes)
        if not torch.equal(whole.labels, attack.propose(labels, classes, seed=1).labels):
            return  # drawn at random
        for c in range(classes):
            mine = labels == c
            alone = attack.propose(labels[mine], classes, pool=labels)
            if not torch.equal(alone.labels, whole.labels[mine]) or not torch.equal(
                alone.eligible, whole.eligible[mine]
            ):
                raise Broken(
                    f"{attack.name}, L = {classes}", f"class {c} alone is relabelled otherwise than among others"
                )


def counts(attack: Attack) -> None:
    """Through the bench: exactly round(rate x eligible) labels of malicious clients flip, and rate 0 is nothing."""
    for classes in _tasks(attack)[-2:]:
        labels = labels_of(classes)
        for rate in _RATES:
            dealt = _population(attack, labels, classes, rate)
            for flip in dealt.flips:
                where = f"{attack.name}, L = {classes}, rate {rate}, client {flip.client}"
                if flip.selected != round(rate * flip.eligible):
                    raise Broken(where, f"{flip.selected} of {flip.eligible} eligible examples were chosen")
                drawn = attack.propose(labels_of(classes), classes).with_replacement
                if flip.changed > flip.selected or (flip.changed < flip.selected and not drawn):
                    raise Broken(where, f"{flip.changed} labels changed where {flip.selected} were to")


def honest(attack: Attack) -> None:
    """Through the bench: the labels of honest clients are the true ones."""
    classes = _tasks(attack)[-1]
    labels = labels_of(classes)
    dealt = _population(attack, labels, classes, 1.0)
    for client, rows in enumerate(dealt.parts):
        if client not in dealt.malicious and not torch.equal(dealt.flipped[rows], labels[rows]):
            raise Broken(f"{attack.name}, L = {classes}", f"labels of honest client {client} changed")
    if not torch.equal(labels, labels_of(classes)):
        raise Broken(f"{attack.name}, L = {classes}", "the true labels changed")


def determinism(attack: Attack) -> None:
    """Draws come from the scene's generator alone: the same generator, the same flips; no other one moves."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        with stirred():
            before = {name: state() for name, state in GENERATORS.items()}
            first = attack.propose(labels, classes, seed=4)
            for name, state in GENERATORS.items():
                if state() != before[name]:
                    raise Broken(f"{attack.name}, L = {classes}", f"{name} global generator moved")
        second = attack.propose(labels, classes, seed=4)
        if not torch.equal(first.labels, second.labels) or not torch.equal(first.eligible, second.eligible):
            raise Broken(f"{attack.name}, L = {classes}", "the same generator gave other flips the second time")


def untouched(attack: Attack) -> None:
    """The client's labels and the pool are left as they were, and the answer has memory of its own."""
    for classes in _tasks(attack):
        labels, pool = labels_of(classes), labels_of(classes, 1)
        kept, kept_pool = labels.clone(), pool.clone()
        answer = attack.propose(labels, classes, pool=pool)
        for what, now, then in (("labels", labels, kept), ("pool", pool, kept_pool)):
            if not torch.equal(now, then):
                raise Broken(f"{attack.name}, L = {classes}", f"the {what} given to it changed")
            if answer.labels.untyped_storage().data_ptr() == now.untyped_storage().data_ptr():
                raise Broken(f"{attack.name}, L = {classes}", f"its proposal is a view of the {what}")


def _population(attack: Attack, labels: Tensor, classes: int, rate: float) -> Population:
    cell = Cell(clients=5, malicious_count=2, attack="mirrored", flip_rate=rate, seed=3)
    return populate(cell, labels, classes, PARTITIONS["iid"], attack.call)


@dataclass(frozen=True)
class FlipProperty:
    """Something that must hold of a label attack; see `bench.conformance.Property`."""

    check: Callable[[Attack], None]
    title: str
    meaning: str
    mend: str


FLIP_PROPERTIES: dict[str, FlipProperty] = {
    "range": FlipProperty(
        labels_in_range,
        "labels stay within 0 to L-1",
        "training stops, or an example is lost to a class that does not exist",
        "count classes from 0 to scene.classes - 1, and take sums modulo scene.classes",
    ),
    "alive": FlipProperty(
        alive,
        "every eligible label changes, class 0 too",
        "the flip does less than its rate says: the damage is measured against an attack that did not happen",
        "mark as eligible only what changes: Proposal(new, new != labels); treat class 0 as a class like any other, "
        "and draw from the other L-1 classes",
    ),
    "simultaneous": FlipProperty(
        simultaneous,
        "each label is read before any is written",
        "chained relabelling: {1: 7, 7: 1} makes all of them 1",
        "read the given labels only: torch.where(labels == s, t, new), or a table indexed by labels",
    ),
    "counts": FlipProperty(
        counts,
        "exactly round(rate x eligible) flips; rate 0 is none",
        "the flip rate of the tables is not the one that was trained with",
        "say what is eligible and leave the choice to the bench: no drawing by rate within the attack",
    ),
    "honest": FlipProperty(
        honest,
        "honest clients and true labels untouched",
        "the baseline is poisoned too",
        "work on a copy: labels.clone()",
    ),
    "determinism": FlipProperty(
        determinism,
        "draws come from scene.generator alone",
        "rules of a paired comparison meet different flips",
        "pass generator=scene.generator to every draw, and keep no state",
    ),
    "untouched": FlipProperty(
        untouched,
        "inputs are left as they were",
        "the true labels, by which everything is measured, are gone",
        "work on a copy: labels.clone()",
    ),
}


@dataclass(frozen=True)
class FlipCheck:
    """One property of one label attack; calling it raises `Defect` where it does not hold."""

    name: str
    attack: Callable[..., Any]
    shown: str
    excuse: str | None = None

    def __call__(self) -> None:
        one = FLIP_PROPERTIES[self.name]
        try:
            for attack in variants(self.attack, self.shown):
                one.check(attack)
        except Broken as found:
            raise Defect(self.name, str(found), found.meaning or one.meaning, found.mend or one.mend) from found
