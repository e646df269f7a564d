"""Checks of label attacks: right labels, right counts, honest clients untouched, draws from the given generator alone.

An attack is tried alone and through the bench's own population, on tasks of 2, 3, 5 and 10 classes. A dynamic one is
given a model's scores, one that declares it a confusion matrix; one that asks without declaring it fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.contract import LabelContext, Proposal
from flipbench.conformance.attack_cases import Attack, AttackProperty, quiet_generators, settings_property
from flipbench.conformance.cases import Broken, Unusable, as_text, raised
from flipbench.data.partitions import PARTITIONS
from flipbench.errors import UserError
from flipbench.federation.population import Population, populate
from flipbench.spec.cell import Cell

_CLASSES = (2, 3, 5, 10)
_PER_CLASS = 40
_RATES = (0.0, 0.1, 0.29, 0.5, 1.0)


@dataclass(frozen=True)
class _Refused:
    """Notes that an attack asked for the confusion without declaring it, and refuses as the bench does."""

    asked: list[str] = field(default_factory=list)

    def __call__(self) -> Tensor:
        self.asked.append("confusion")
        raise ValueError("the attack asks for the confusion of a clean model without declaring it")


def confusion_of(classes: int) -> Tensor:
    """A clean model's confusion, ``(L, L)``: mostly right, each class confused with its neighbours."""
    near = 0.5 ** (torch.arange(classes).unsqueeze(0) - torch.arange(classes).unsqueeze(1)).abs().double() / 4
    near.fill_diagonal_(1.0)
    return near / near.sum(1, keepdim=True)


def scores_of(labels: Tensor, classes: int) -> Tensor:
    """A model's logits, ``(examples, L)``: a function of the label and the place, the label's own the highest."""
    rows = torch.arange(len(labels)).unsqueeze(1)
    noise = ((rows * 7 + torch.arange(classes) * 5) % 11).float() / 11
    return noise + 2 * torch.nn.functional.one_hot(labels, classes)


def propose(
    attack: Attack,
    labels: Tensor,
    classes: int,
    seed: int = 0,
    pool: Tensor | None = None,
    scores: Tensor | None = None,
) -> Proposal:
    """The attack's answer for one client's labels.

    Raises:
        Broken: it raised something, or answered no proposal of the right shape and type.
    """
    where = f"{attack.name}, L = {classes}, labels {as_text(labels)}"
    refused = _Refused()
    known: dict[str, Any] = {"confusion": partial(confusion_of, classes) if attack.declares("confusion") else refused}
    if attack.declares("dynamic"):
        known["scores"] = scores_of(labels, classes) if scores is None else scores
    context = LabelContext(classes, labels if pool is None else pool, torch.Generator().manual_seed(seed), **known)
    try:
        answer = attack.call(labels, context)
    except ValueError as error:
        if refused.asked:
            raise Broken(
                where,
                "asks context.confusion() without declaring it",
                "the attack stops the experiment: a clean federation is run for those alone that say so",
                "declare it: confusion = True as an attribute of the function or class",
            ) from error
        raise
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        raise Unusable(
            where,
            raised(error),
            "the attack stops the experiment with an error of its own",
            "answer with flipbench.attacks.Proposal(labels, eligible) for any labels and any number of classes",
        ) from error
    if not isinstance(answer, Proposal):
        raise Unusable(where, f"answered {type(answer).__name__}, not flipbench.attacks.Proposal(labels, eligible)")
    for what, t, kind in (("labels", answer.labels, torch.int64), ("eligible", answer.eligible, torch.bool)):
        if not isinstance(t, Tensor) or t.dtype != kind or t.shape != labels.shape:
            came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise Broken(where, f"{what} must be {kind} {tuple(labels.shape)}, got {came}")
    return answer


def labels_of(classes: int, seed: int = 0) -> Tensor:
    """Shuffled labels, every class with as many examples."""
    ordered = torch.arange(classes).repeat_interleave(_PER_CLASS)
    return ordered[torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))]


def _tasks(attack: Attack) -> list[int]:
    """The numbers of classes that the attack takes."""
    fits = []
    for classes in _CLASSES:
        try:
            propose(attack, labels_of(classes), classes)
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
            answer = propose(attack, labels, classes, pool=labels_of(classes))
            new = answer.labels[answer.eligible]
            if len(new) and not 0 <= int(new.min()) <= int(new.max()) < classes:
                at = int(((new < 0) | (new >= classes)).nonzero()[0])
                old = int(labels[answer.eligible][at])
                raise Broken(f"{attack.name}, L = {classes}", f"label {old} becomes {int(new[at])}")


def alive(attack: Attack) -> None:
    """Something is eligible, and what is eligible changes (with replacement: most of it may)."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        answer = propose(attack, labels, classes)
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
    other = propose(attack, labels, classes, seed=1)
    if classes < 5 or torch.equal(answer.labels, other.labels):
        return
    missed = set(range(classes)) - set(answer.labels[answer.eligible].tolist())
    if len(missed) == 1 and missed <= {0, classes - 1}:
        raise Broken(f"{attack.name}, L = {classes}", f"no label ever becomes {missed.pop()}")


def simultaneous(attack: Attack) -> None:
    """Each example is relabelled by its own true label, whatever its neighbours are: no written label is read again."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        scores = scores_of(labels, classes)
        whole = propose(attack, labels, classes)
        if not torch.equal(whole.labels, propose(attack, labels, classes, seed=1).labels):
            return  # drawn at random
        for c in range(classes):
            rows = labels == c
            alone = propose(attack, labels[rows], classes, pool=labels, scores=scores[rows])
            if not torch.equal(alone.labels, whole.labels[rows]) or not torch.equal(
                alone.eligible, whole.eligible[rows]
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
                drawn = propose(attack, labels_of(classes), classes).with_replacement
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
    """Draws come from the context's generator alone: the same generator, the same flips; no other one moves."""
    for classes in _tasks(attack):
        labels = labels_of(classes)
        with quiet_generators(f"{attack.name}, L = {classes}"):
            first = propose(attack, labels, classes, seed=4)
        second = propose(attack, labels, classes, seed=4)
        if not torch.equal(first.labels, second.labels) or not torch.equal(first.eligible, second.eligible):
            raise Broken(f"{attack.name}, L = {classes}", "the same generator gave other flips the second time")


def untouched(attack: Attack) -> None:
    """The client's labels and the pool are left as they were, and the answer has memory of its own."""
    for classes in _tasks(attack):
        labels, pool = labels_of(classes), labels_of(classes, 1)
        kept, kept_pool = labels.clone(), pool.clone()
        answer = propose(attack, labels, classes, pool=pool)
        for what, now, then in (("labels", labels, kept), ("pool", pool, kept_pool)):
            if not torch.equal(now, then):
                raise Broken(f"{attack.name}, L = {classes}", f"the {what} given to it changed")
            if answer.labels.untyped_storage().data_ptr() == now.untyped_storage().data_ptr():
                raise Broken(f"{attack.name}, L = {classes}", f"its proposal is a view of the {what}")


def _population(attack: Attack, labels: Tensor, classes: int, rate: float) -> Population:
    cell = Cell(clients=5, malicious_count=2, attack="mirrored", flip_rate=rate, seed=3)
    try:
        return populate(cell, labels, classes, PARTITIONS["iid"], attack.call)
    except UserError as error:  # an answer that a cell refuses; the name before the colon is that of our cell
        raise Broken(f"{attack.name}, L = {classes}, rate {rate}", str(error).partition(": ")[2]) from error


def _asked(attack: Attack) -> bool:
    """Whether it is asked about labels itself; one that searches first answers with another flip."""
    return not attack.searches


def _static(attack: Attack) -> bool:
    """Whether labels are all that it needs; one that asks for more is tried within real cells only."""
    return not any(attack.declares(what) for what in ("dynamic", "confusion", "adaptive"))


LABEL_PROPERTIES: dict[str, AttackProperty] = {
    "range": AttackProperty(
        labels_in_range,
        "labels stay within 0 to L-1",
        "training stops, or an example is lost to a class that does not exist",
        "count classes from 0 to context.classes - 1, and take sums modulo context.classes",
        _asked,
    ),
    "alive": AttackProperty(
        alive,
        "every eligible label changes, class 0 too",
        "the flip does less than its rate says: the damage is measured against an attack that did not happen",
        "mark as eligible only what changes: Proposal(new, new != labels); treat class 0 as a class like any other, "
        "and draw from the other L-1 classes",
        _asked,
    ),
    "simultaneous": AttackProperty(
        simultaneous,
        "each label is read before any is written",
        "chained relabelling: {1: 7, 7: 1} makes all of them 1",
        "read the given labels only: torch.where(labels == s, t, new), or a table indexed by labels",
        _asked,
    ),
    "counts": AttackProperty(
        counts,
        "exactly round(rate x eligible) flips; rate 0 is none",
        "the flip rate of the tables is not the one that was trained with",
        "say what is eligible and leave the choice to the bench: no drawing by rate within the attack",
        _static,
    ),
    "honest": AttackProperty(
        honest,
        "honest clients and true labels untouched",
        "the baseline is poisoned too",
        "work on a copy: labels.clone()",
        _static,
    ),
    "determinism": AttackProperty(
        determinism,
        "draws come from context.generator alone",
        "rules of a paired comparison meet different flips",
        "pass generator=context.generator to every draw, and keep no state",
        _asked,
    ),
    "untouched": AttackProperty(
        untouched,
        "inputs are left as they were",
        "the true labels, by which everything is measured, are gone",
        "work on a copy: labels.clone()",
        _asked,
    ),
    "settings": settings_property(
        lambda attack: (
            partial(propose, attack, torch.arange(classes).repeat(_PER_CLASS), classes) for classes in _CLASSES
        )
    ),
}
