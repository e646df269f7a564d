"""Label flips: a malicious client trains honestly on labels that it has changed.

Each attack proposes, for one client's labels ``(examples,)``, what every label would become and which are eligible;
the bench then flips exactly ``round(rate * eligible)`` of them, for the same examples whatever the rule. Label 0 is a
label like any other, and every relabelling is simultaneous: it reads the true labels only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor

from flipbench.attacks.contract import LabelContext, Proposal

Class = Annotated[int, "class number"]
Classes = Class | list[Class]


def mirrored(labels: Tensor, context: LabelContext, /) -> Proposal:
    """y becomes L-1-y; with odd L the middle class keeps its name and is not eligible.

    Source: Fang et al. 2020, Local Model Poisoning Attacks, section 5.1; Yin et al. 2018, section 7.
    """
    new = context.classes - 1 - labels
    return Proposal(new, new != labels)


def shifted(labels: Tensor, context: LabelContext, /, *, by: int = 1) -> Proposal:
    """y becomes (y + by) mod L, for every class.

    Raises:
        ValueError: ``by`` is a multiple of L, which would flip nothing.
    """
    if by % context.classes == 0:
        raise ValueError(f"shifted(by={by}) changes no label when there are {context.classes} classes")
    return Proposal((labels + by) % context.classes, torch.ones_like(labels, dtype=torch.bool))


def targeted(labels: Tensor, context: LabelContext, /, *, source: Classes, target: Classes) -> Proposal:
    """Examples of the source class become the target class; several pairs at once are one attack.

    Args:
        labels: ``(examples,)`` int64.
        context: what the attack may know.
        source: a class or a list of distinct classes.
        target: a class or a list of as many classes, pair by pair.

    Raises:
        ValueError: classes that do not exist, lists of unlike length, a source listed twice or equal to its target.

    Source: Tolpegin et al. 2020, Data Poisoning Attacks Against Federated Learning Systems, section 3.2.
    """
    sources, targets = _classes(source), _classes(target)
    if len(sources) != len(targets):
        raise ValueError(f"targeted needs as many targets as sources, got {len(sources)} and {len(targets)}")
    if len(set(sources)) < len(sources):
        raise ValueError(f"targeted names a source twice: {sources}")
    return _mapped("targeted", labels, context, dict(zip(sources, targets, strict=True)))


def swapped(labels: Tensor, context: LabelContext, /, *, first: Class, second: Class) -> Proposal:
    """Two classes change names with each other, simultaneously.

    Raises:
        ValueError: a class that does not exist, or twice the same.
    """
    return _mapped("swapped", labels, context, {first: second, second: first})


def all_to_one(labels: Tensor, context: LabelContext, /, *, target: Class) -> Proposal:
    """Every label but the target becomes the target.

    Raises:
        ValueError: the target does not exist.
    """
    _check("all_to_one", context, [target])
    return Proposal(torch.full_like(labels, target), labels != target)


def uniform(labels: Tensor, context: LabelContext, /) -> Proposal:
    """Every label becomes one of the other L-1, all equally likely; it never stays."""
    step = torch.randint(1, context.classes, labels.shape, generator=context.generator)
    return Proposal((labels + step) % context.classes, torch.ones_like(labels, dtype=torch.bool))


def resampled(labels: Tensor, context: LabelContext, /) -> Proposal:
    """Examples drawn with replacement get a label drawn from all clients' labels, the true one included.

    Weak by construction: with a majority class most draws give a label that changes little. Kept because published
    studies use it.

    Source: Vyas et al. 2023 (arXiv:2310.07380), the flip of the published notebook.
    """
    drawn = torch.randint(len(context.pool), labels.shape, generator=context.generator)
    return Proposal(context.pool[drawn], torch.ones_like(labels, dtype=torch.bool), with_replacement=True)


def permuted(labels: Tensor, context: LabelContext, /, *, mapping: Mapping[int, int]) -> Proposal:
    """Each class that is a key of the mapping takes its value, simultaneously: {1: 7, 7: 1} swaps.

    Raises:
        ValueError: a class that does not exist or is mapped to itself, or an empty mapping.
    """
    return _mapped("permuted", labels, context, dict(mapping))


def _classes(value: Classes) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _check(name: str, context: LabelContext, classes: list[int]) -> None:
    for c in classes:
        if isinstance(c, bool) or not isinstance(c, int) or not 0 <= c < context.classes:
            raise ValueError(f"{name} names class {c!r}; this data has classes 0 to {context.classes - 1}")


def _mapped(name: str, labels: Tensor, context: LabelContext, mapping: dict[int, int]) -> Proposal:
    """Simultaneous relabelling through a table: no label is read after it was written."""
    _check(name, context, [*mapping.keys(), *mapping.values()])
    if not mapping:
        raise ValueError(f"{name} maps no class at all")
    if same := [s for s, t in mapping.items() if s == t]:
        raise ValueError(f"{name} maps class {same[0]} to itself, which flips nothing")
    table = torch.arange(context.classes)
    table[list(mapping)] = torch.tensor(list(mapping.values()))
    new = table[labels]
    return Proposal(new, new != labels)
