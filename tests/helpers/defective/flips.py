"""Attacks on labels and examples with a defect each, the property that must find it, and words it must say."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, LabelContext, Proposal, Stamped


def _plain(labels: Tensor, context: LabelContext, new: Tensor) -> Proposal:
    return Proposal(new, new != labels)


def class_0_is_falsy(labels: Tensor, context: LabelContext, /, *, source: int, target: int) -> Proposal:
    new = torch.where(labels == source, target, labels) if source else labels.clone()
    return _plain(labels, context, new)


def chained(labels: Tensor, context: LabelContext, /) -> Proposal:
    new = labels.clone()
    for _ in range(2):
        new[new == new[:1]] = 1 if int(new[0]) == 0 else 0
    return _plain(labels, context, new)


def middle_keeps_its_name(labels: Tensor, context: LabelContext, /) -> Proposal:
    return Proposal(context.classes - 1 - labels, torch.ones_like(labels, dtype=torch.bool))


def may_keep_the_label(labels: Tensor, context: LabelContext, /) -> Proposal:
    new = torch.randint(context.classes, labels.shape, generator=context.generator)
    return Proposal(new, torch.ones_like(labels, dtype=torch.bool))


def never_the_last(labels: Tensor, context: LabelContext, /) -> Proposal:
    new = torch.randint(context.classes - 1, labels.shape, generator=context.generator)
    return _plain(labels, context, new)


def beyond_the_classes(labels: Tensor, context: LabelContext, /) -> Proposal:
    return _plain(labels, context, labels + 1)


def draws_globally(labels: Tensor, context: LabelContext, /) -> Proposal:
    step = torch.randint(1, max(2, context.classes), labels.shape)
    return _plain(labels, context, (labels + step) % context.classes)


def sets_the_precision(labels: Tensor, context: LabelContext, /) -> Proposal:
    torch.set_float32_matmul_precision("medium")
    return Proposal((labels + 1) % context.classes, torch.ones_like(labels, dtype=torch.bool))


def writes_on_labels(labels: Tensor, context: LabelContext, /) -> Proposal:
    kept = labels.clone()
    labels += 1
    labels %= context.classes
    return Proposal(labels.clone(), labels != kept)


def flips_nothing(labels: Tensor, context: LabelContext, /) -> Proposal:
    return _plain(labels, context, labels.clone())


def peeks_at_the_confusion(labels: Tensor, context: LabelContext, /) -> Proposal:
    new = context.confusion().argsort(1)[labels, -2]
    return _plain(labels, context, new)


_CALLS = [0]


def flips_otherwise_each_time(labels: Tensor, context: LabelContext, /) -> Proposal:
    _CALLS[0] += 1
    return _plain(labels, context, (labels + 1 + _CALLS[0] % (context.classes - 1)) % context.classes)


def flips_halves(labels: Tensor, context: LabelContext, /) -> Proposal:
    new = (labels + 1) % context.classes
    return Proposal(new, torch.rand(len(labels), generator=context.generator) < 0.5)


LABELS = (
    (class_0_is_falsy, "alive", "source=0"),
    (chained, "simultaneous", "class"),
    (middle_keeps_its_name, "alive", "class 1 keeps its label"),
    (may_keep_the_label, "alive", "keeps its label"),
    (never_the_last, "alive", "no label ever becomes 4"),
    (beyond_the_classes, "range", "becomes 2"),
    (draws_globally, "determinism", "torch's"),
    (sets_the_precision, "settings", "precision of float32 products"),
    (writes_on_labels, "untouched", "labels given to it changed"),
    (flips_nothing, "alive", "no example"),
    (peeks_at_the_confusion, "range", "without declaring it"),
    (flips_otherwise_each_time, "paired", "updates are not those under fedavg"),
    (flips_halves, "simultaneous", "alone is relabelled otherwise"),
)


def _stamped(examples: Tensor, labels: Tensor, context: ExampleContext, target: int = 0) -> Stamped:
    pixels = examples.clone()
    pixels[..., -2:, -2:] = context.high
    return Stamped(pixels, torch.full_like(labels, target), labels != target)


def corner(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    """Nothing is wrong with it."""
    return _stamped(examples, labels, context)


def stamps_the_brightest_of_the_batch(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    if len(examples):
        one.examples[..., -2:, -2:] = examples.max()
    return one


def stamps_by_place(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    one.eligible[::2] = False
    return one


def stamps_by_label(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    one.examples[labels == 1, ..., 0, 0] = context.high
    return one


def a_class_too_many(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    return _stamped(examples, labels, context, context.classes)


def brighter_than_bright(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    one.examples[..., -1, -1] = 3 * context.high + 1
    return one


def stops_gradients(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    torch.set_grad_enabled(False)
    return _stamped(examples.clone(), labels, context)


def writes_on_the_pictures(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    examples[..., -1, -1] = context.high
    return _stamped(examples, labels, context)


def keeps_the_labels_memory(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    return Stamped(one.examples, labels, one.eligible)


def stamps_nothing(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    return Stamped(examples.clone(), torch.zeros_like(labels), labels != 0)


def nobody_is_eligible(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    return Stamped(one.examples, one.labels, one.labels < 0)


def random_trigger(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    one.examples[..., -2:, -2:] = context.low + (context.high - context.low) * torch.rand(2, 2)
    return one


def in_float64(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    one = _stamped(examples, labels, context)
    return Stamped(one.examples.double(), one.labels, one.eligible)


def fails_without_examples(examples: Tensor, labels: Tensor, context: ExampleContext, /) -> Stamped:
    _ = 1 // len(labels)
    return _stamped(examples, labels, context)


EXAMPLES = (
    (stamps_the_brightest_of_the_batch, "alone", "between alone and among others"),
    (stamps_by_place, "alone", "eligible"),
    (stamps_by_label, "alone", "depends on the label"),
    (a_class_too_many, "range", "becomes 2"),
    (brighter_than_bright, "range", "pixels go from"),
    (stops_gradients, "settings", "grad mode"),
    (writes_on_the_pictures, "untouched", "examples given to it changed"),
    (keeps_the_labels_memory, "untouched", "a view of the labels"),
    (stamps_nothing, "alive", "keeps all its pixels"),
    (nobody_is_eligible, "alive", "no example of any class"),
    (random_trigger, "determinism", "torch's global generator moved"),
    (in_float64, "form", "examples must be torch.float32"),
    (fails_without_examples, "form", "ZeroDivisionError"),
)
