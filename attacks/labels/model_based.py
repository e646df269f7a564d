"""Label flips that ask a model for the new label: the likeliest confusion, and the least likely class."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.attacks.contract import LabelContext, Proposal, declaring


@declaring("confusion")
def confusable(labels: Tensor, context: LabelContext, /) -> Proposal:
    """Each label becomes a class that a clean model takes it for, as often as the model errs so.

    P(y becomes c) = C[y, c] / sum over c' other than y of C[y, c'], with C the confusion of a clean model; it never
    stays y. Flips that look like honest mistakes. A class that is never mistaken becomes any other, equally likely.

    Args:
        labels: ``(examples,)`` int64.
        context: the confusion and the generator.

    Raises:
        ValueError: fewer than two classes, or a confusion that is not L x L.
    """
    classes = _at_least_two("confusable", context)
    confusion = context.confusion().to(torch.float64)
    if confusion.shape != (classes, classes):
        raise ValueError(f"confusable needs a confusion of {classes} x {classes}, got {tuple(confusion.shape)}")
    others = ~torch.eye(classes, dtype=torch.bool)
    mistakes = torch.where(others, confusion.cpu(), 0.0)
    likely = torch.where(mistakes.sum(1, keepdim=True) > 0, mistakes, others.double())
    eligible = torch.ones_like(labels, dtype=torch.bool)
    if not len(labels):
        return Proposal(labels.clone(), eligible)
    drawn = torch.multinomial(likely[labels.cpu()], 1, generator=context.generator)[:, 0]
    return Proposal(drawn.to(labels.device), eligible)


@declaring("dynamic")
def least_likely(labels: Tensor, context: LabelContext, /) -> Proposal:
    """Each label becomes the class, other than itself, that the current global model finds least likely.

    argmin over c other than y of the logits; ties to the lowest class. All labels are eligible. Without scores (the
    question, before the first round, which labels may be flipped) the labels come back unchanged; so does the label of
    an example for which the model makes no prediction, because one of its logits is not finite.

    Args:
        labels: ``(examples,)`` int64.
        context: the logits, ``(examples, L)``.

    Raises:
        ValueError: fewer than two classes, or scores of another shape.

    Source: Shejwalkar, Houmansadr, Kairouz, Ramage 2022, Back to the Drawing Board, dynamic label flipping, which
    asks a surrogate model; here the attacker has the global model itself.
    """
    classes = _at_least_two("least_likely", context)
    eligible = torch.ones_like(labels, dtype=torch.bool)
    if context.scores is None:
        return Proposal(labels.clone(), eligible)
    if context.scores.shape != (len(labels), classes):
        raise ValueError(f"least_likely needs scores of {len(labels)} x {classes}, got {tuple(context.scores.shape)}")
    known = torch.isfinite(context.scores).all(1)
    least = context.scores.scatter(1, labels.unsqueeze(1), torch.inf).argmin(1)
    return Proposal(torch.where(known, least, labels), eligible)


def _at_least_two(name: str, context: LabelContext) -> int:
    if context.classes < 2:
        raise ValueError(f"{name} needs at least 2 classes to flip between, got {context.classes}")
    return context.classes
