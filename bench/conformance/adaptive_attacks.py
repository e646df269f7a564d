"""Checks of adaptive label attacks, which search before the federation begins.

The attack is given trials of a made-up federation: a model that predicts the flipped label four times of ten, and the
true one otherwise. The flip that it finds must then satisfy what every label flip satisfies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.contract import Found, LabelFlip, Trials
from flipbench.conformance.attack_cases import Attack, AttackProperty, quiet_generators
from flipbench.conformance.cases import Broken, Unusable, raised
from flipbench.conformance.label_attacks import LABEL_PROPERTIES, labels_of, propose

_CLASSES = (2, 3, 10)
_ROUNDS = 6
_KEPT = ("range", "alive", "simultaneous", "determinism", "untouched")


def _search(attack: Attack, classes: int) -> Found:
    """What the attack finds.

    Raises:
        Broken: it raised something, asked for impossible trials, changed what it was given, or answered no `Found`.
    """
    where = f"{attack.name}, L = {classes}"
    labels = labels_of(classes)

    def run(flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        if not 1 <= rounds <= _ROUNDS:
            raise Broken(where, f"asked for trials of {rounds} rounds, where the cell has {_ROUNDS}")
        return [_confusion(where, flip, labels, classes) for flip in flips]

    counts = torch.full((classes,), 8)
    trials = Trials(classes, counts, run, _ROUNDS, torch.Generator().manual_seed(3))
    call: Any = attack.call
    try:
        with quiet_generators(where):
            answer = call.search(trials)
    except Broken:
        raise
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        raise Unusable(where, raised(error), "the attack stops the experiment with an error of its own") from error
    if not isinstance(answer, Found):
        raise Unusable(where, f"answered {type(answer).__name__}, not flipbench.attacks.Found(flip, mapping, report)")
    if not torch.equal(counts, torch.full((classes,), 8)):
        raise Broken(where, "trials.counts changed")
    return answer


def _confusion(where: str, flip: LabelFlip | None, labels: Tensor, classes: int) -> Tensor:
    """``(L, L)`` int64: of ten predictions six are right, and four the flipped label."""
    predicted_flipped = labels
    if flip is not None:
        proposal = propose(Attack(flip, f"{where}, a flip under trial"), labels, classes)
        predicted_flipped = torch.where(proposal.eligible, proposal.labels, labels)
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for predicted, times in ((labels, 6), (predicted_flipped, 4)):
        matrix.index_put_((labels, predicted), torch.tensor(times), accumulate=True)
    return matrix


def found(attack: Attack) -> None:
    """A flip, the map that it is, and a report of plain values: what was sought, found and tried."""
    if not attack.declares("adaptive"):
        raise Broken(attack.name, "has a search and does not declare adaptive = True", "", "declare it in the class")
    for classes in _CLASSES:
        answer, where = _search(attack, classes), f"{attack.name}, L = {classes}"
        report = answer.report
        try:
            json.dumps(report, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Broken(where, f"its report cannot be stored as JSON: {error}") from error
        for name, kind in (("objective", str), ("harm", int | float), ("trials", int)):
            if not isinstance(report.get(name), kind):
                raise Broken(where, f"its report says {report.get(name)!r} as {name}, where reports read it")
        if answer.mapping is None:
            continue
        labels = labels_of(classes)
        flipped = propose(Attack(answer.flip, f"{where}, the flip found"), labels, classes)
        for old, new, eligible in zip(labels.tolist(), flipped.labels.tolist(), flipped.eligible.tolist(), strict=True):
            if eligible and answer.mapping.get(old) != new:
                raise Broken(where, f"its mapping sends {old} to {answer.mapping.get(old)}, its flip to {new}")


def flip(attack: Attack) -> None:
    """The flip found is a sound one."""
    answer = _search(attack, 10)
    flipped = Attack(answer.flip, f"{attack.name}, the flip found for L = 10")
    for name in _KEPT:
        LABEL_PROPERTIES[name].check(flipped)


def repeatable(attack: Attack) -> None:
    """The same generator, the same finding."""
    first, second = _search(attack, 10), _search(attack, 10)
    if first.mapping != second.mapping or dict(first.report) != dict(second.report):
        raise Broken(attack.name, f"found {dict(second.report)} where it had found {dict(first.report)}")


def _searches(attack: Attack) -> bool:
    return attack.searches


SEARCH_PROPERTIES: dict[str, AttackProperty] = {
    "found": AttackProperty(
        found,
        "finds a flip and reports what it sought and tried",
        "the stored cell does not show what the attack was",
        "answer flipbench.attacks.Found(flip, mapping, report) with objective, harm and trials among the report's "
        "plain values",
        _searches,
    ),
    "flip": AttackProperty(
        flip,
        "the flip found is a sound label flip",
        "what is trained on is not what was tried",
        "build it of shipped flips, like functools.partial(permuted, mapping={0: 1})",
        _searches,
    ),
    "repeatable": AttackProperty(
        repeatable,
        "the same generator, the same finding",
        "a run cannot be repeated or resumed",
        "draw from trials.generator alone, and keep nothing between searches",
        _searches,
    ),
}
