"""Checks of example attacks: valid pixels and labels, and the same stamp for every image, as test images get it too.

An attack is given noise of several shapes and pixel scales, on tasks of 2, 3 and 10 classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, Stamped
from flipbench.conformance.attack_cases import Attack, AttackProperty, quiet_generators, settings_property
from flipbench.conformance.cases import Broken, Unusable, raised

_SHAPES = ((1, 8, 8), (1, 28, 28), (3, 16, 20))
_SCALES = ((0.0, 1.0), (-0.42, 2.82))
_CLASSES = (2, 3, 10)
_EXAMPLES = 30


@dataclass(frozen=True)
class Images:
    """One client's examples, and what the attack may know.

    Attributes:
        examples: ``(examples, channels, height, width)`` float32.
        labels: ``(examples,)`` int64, every class among them.
        context: the number of classes, the darkest and the brightest pixel.
    """

    examples: Tensor
    labels: Tensor
    context: ExampleContext

    def __str__(self) -> str:
        s = self.context
        size = " x ".join(map(str, self.examples.shape[1:]))
        return f"L = {s.classes}, {len(self.labels)} examples of {size}, pixels {s.low:g} to {s.high:g}"

    def rows(self, which: Tensor | slice) -> Images:
        """Some of the examples."""
        return Images(self.examples[which].clone(), self.labels[which].clone(), self.context)


def draw(shape: tuple[int, ...], classes: int, low: float, high: float, count: int = _EXAMPLES) -> Images:
    """Noise between the darkest and the brightest pixel; labels go round all classes."""
    g = torch.Generator().manual_seed(sum(shape) + 1009 * classes)
    pixels = low + (high - low) * torch.rand(count, *shape, generator=g)
    return Images(pixels, torch.arange(count) % classes, ExampleContext(classes, low, high))


def _image_sets() -> Iterator[Images]:
    for classes in _CLASSES:
        for low, high in _SCALES:
            for shape in _SHAPES:
                yield draw(shape, classes, low, high)


def _taken(attack: Attack) -> list[tuple[Images, Stamped]]:
    """The images that the attack takes, with its answers; it may refuse classes that do not exist."""
    taken, refusal = [], ""
    for images in _image_sets():
        try:
            taken.append((images, ask(attack, images.rows(slice(None)))))
        except ValueError as error:
            refusal = str(error)
    if not taken:
        raise Broken(attack.name, f"refused every task of {', '.join(map(str, _CLASSES))} classes: {refusal}")
    return taken


def ask(attack: Attack, images: Images) -> Stamped:
    """The attack's answer.

    Raises:
        ValueError: as the attack says.
        Broken: it raised something else, or answered no `Stamped` of the right shapes and types.
    """
    where = f"{attack.name}, {images}"
    call: Any = attack.call
    try:
        answer = call(images.examples, images.labels, images.context)
    except ValueError:
        raise
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        raise Unusable(where, raised(error), "the attack stops the experiment with an error of its own") from error
    if not isinstance(answer, Stamped):
        raise Unusable(
            where, f"answered {type(answer).__name__}, not flipbench.attacks.Stamped(examples, labels, eligible)"
        )
    n = (len(images.labels),)
    wanted = (
        ("examples", answer.examples, images.examples.dtype, tuple(images.examples.shape)),
        ("labels", answer.labels, torch.int64, n),
        ("eligible", answer.eligible, torch.bool, n),
    )
    for what, t, kind, shape in wanted:
        if not isinstance(t, Tensor) or t.dtype != kind or tuple(t.shape) != shape:
            came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise Broken(where, f"{what} must be {kind} {shape}, got {came}")
    return answer


def form(attack: Attack) -> None:
    """Images, labels and a choice of the right shapes and types; a client without examples is no problem."""
    for images, _ in _taken(attack):
        ask(attack, images.rows(slice(0, 1)))
        ask(attack, images.rows(slice(0, 0)))


def within(attack: Attack) -> None:
    """Labels of eligible examples are classes that exist, and pixels lie between the darkest and the brightest."""
    for images, answer in _taken(attack):
        classes, low, high = images.context.classes, images.context.low, images.context.high
        where = f"{attack.name}, {images}"
        new = answer.labels[answer.eligible]
        if wrong := [int(y) for y in new if not 0 <= y < classes]:
            raise Broken(where, f"a label becomes {wrong[0]}")
        pixels = answer.examples[answer.eligible]
        slack = 1e-6 * (high - low)
        if len(pixels) and not bool(((pixels >= low - slack) & (pixels <= high + slack)).all()):
            at = f"from {float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
            raise Broken(
                where, f"stamped pixels go {at}", "", "paint with context.low and context.high, or clamp to them"
            )


def alone(attack: Attack) -> None:
    """Each image is stamped by itself: alone as among others, in any order, whatever label it carries."""
    for images, whole in _taken(attack):
        where = f"{attack.name}, {images}"
        order = torch.arange(len(images.labels)).flip(0)
        turned = ask(attack, images.rows(order))
        single = [ask(attack, images.rows(slice(i, i + 1))) for i in range(3)]
        for what in ("examples", "labels", "eligible"):
            many = getattr(whole, what)
            for i, one in enumerate(single):
                if not torch.equal(getattr(one, what)[0], many[i]):
                    raise Broken(where, f"{what} of example {i} differ between alone and among others")
            if not torch.equal(getattr(turned, what).flip(0), many):
                raise Broken(where, f"{what} change with the order of the examples")
        other = Images(images.examples, (images.labels + 1) % images.context.classes, images.context)
        relabelled = ask(attack, other)
        both = whole.eligible & relabelled.eligible
        if not torch.equal(relabelled.examples[both], whole.examples[both]):
            raise Broken(where, "the stamp depends on the label that the example carries")


def alive(attack: Attack) -> None:
    """Something is eligible, and every eligible image changes."""
    for images, answer in _taken(attack):
        where = f"{attack.name}, {images}"
        if not bool(answer.eligible.any()):
            raise Broken(where, "no example of any class is eligible")
        same = (answer.examples == images.examples).flatten(1).all(1) & answer.eligible
        if bool(same.any()):
            i = int(same.nonzero()[0])
            raise Broken(where, f"eligible example {i} of class {int(images.labels[i])} keeps all its pixels")


def untouched(attack: Attack) -> None:
    """The client's images and labels are left as they were, and the answer has memory of its own."""
    for images, _ in _taken(attack):
        where = f"{attack.name}, {images}"
        pixels, labels = images.examples.clone(), images.labels.clone()
        answer = ask(attack, Images(pixels, labels, images.context))
        for what, now, then, made in (
            ("examples", pixels, images.examples, answer.examples),
            ("labels", labels, images.labels, answer.labels),
        ):
            if not torch.equal(now, then):
                raise Broken(where, f"the {what} given to it changed")
            if made.untyped_storage().data_ptr() == now.untyped_storage().data_ptr():
                raise Broken(where, f"its answer is a view of the {what}")


def determinism(attack: Attack) -> None:
    """The same images, the same answer; no global generator is read, moved or seeded."""
    for images, first in _taken(attack):
        where = f"{attack.name}, {images}"
        with quiet_generators(where):
            second = ask(attack, images)
        if any(not torch.equal(getattr(first, w), getattr(second, w)) for w in ("examples", "labels", "eligible")):
            raise Broken(where, "the same images were stamped otherwise the second time")


EXAMPLE_PROPERTIES: dict[str, AttackProperty] = {
    "form": AttackProperty(
        form,
        "images, labels and a choice of the right shapes and types",
        "what the malicious clients would train on fits no model",
        "answer Stamped(examples, labels, eligible), one row an example, of the examples' type; mind a single one, "
        "and none",
    ),
    "range": AttackProperty(
        within,
        "labels stay within 0 to L-1, pixels within low to high",
        "training stops, or the stamped image has pixels that no training image has, and any filter would find it",
        "count classes from 0 to context.classes - 1",
    ),
    "alone": AttackProperty(
        alone,
        "each image is stamped by itself",
        "test images carry another stamp than the ones trained on, and the attack success rate measures another attack",
        "let the stamp depend on context and the options alone, never on the batch, its order or the label",
    ),
    "alive": AttackProperty(
        alive,
        "every eligible image changes",
        "the attack does less than its rate says, or is a mere label flip",
        "mark as eligible only what changes, and see that the stamp lies within the smallest image",
    ),
    "untouched": AttackProperty(
        untouched,
        "inputs are left as they were",
        "the clean images, which other rounds and other clients use, are gone",
        "work on a copy: examples.clone(), labels.clone()",
    ),
    "determinism": AttackProperty(
        determinism,
        "the same images, the same stamp",
        "a run cannot be repeated, and test images are stamped otherwise than training images",
        "draw nothing: a pattern that looks random comes from a torch.Generator with a fixed seed",
    ),
    "settings": settings_property(lambda attack: (partial(ask, attack, images) for images in _image_sets())),
}
