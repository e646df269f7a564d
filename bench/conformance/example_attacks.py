"""What every attack on examples must satisfy: pictures that are pictures, labels that exist, a stamp that is the same
wherever a picture lies, because test images are stamped with it too.

An attack is shown noise of several shapes and pixel scales, on tasks of 2, 3 and 10 classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, Stamped
from flipbench.conformance.attack_cases import Attack, AttackProperty, quiet_generators
from flipbench.conformance.cases import Broken, raised

_SHAPES = ((1, 8, 8), (1, 28, 28), (3, 16, 20))
_SCALES = ((0.0, 1.0), (-0.42, 2.82))
_CLASSES = (2, 3, 10)
_EXAMPLES = 30


@dataclass(frozen=True)
class Pictures:
    """One client's examples, and the facts of the task.

    Attributes:
        examples: ``(examples, channels, height, width)`` float32.
        labels: ``(examples,)`` int64, every class among them.
        context: the facts.
    """

    examples: Tensor
    labels: Tensor
    context: ExampleContext

    def __str__(self) -> str:
        s = self.context
        size = " x ".join(map(str, self.examples.shape[1:]))
        return f"L = {s.classes}, {len(self.labels)} examples of {size}, pixels {s.low:g} to {s.high:g}"

    def rows(self, which: Tensor | slice) -> Pictures:
        """Some of the examples."""
        return Pictures(self.examples[which].clone(), self.labels[which].clone(), self.context)


def draw(shape: tuple[int, ...], classes: int, low: float, high: float, count: int = _EXAMPLES) -> Pictures:
    """Noise between the darkest and the brightest pixel; labels go round all classes."""
    g = torch.Generator().manual_seed(sum(shape) + 1009 * classes)
    pixels = low + (high - low) * torch.rand(count, *shape, generator=g)
    return Pictures(pixels, torch.arange(count) % classes, ExampleContext(classes, low, high))


def _albums() -> Iterator[Pictures]:
    for classes in _CLASSES:
        for low, high in _SCALES:
            for shape in _SHAPES:
                yield draw(shape, classes, low, high)


def _taken(attack: Attack) -> list[tuple[Pictures, Stamped]]:
    """The albums that the attack takes, with its answers; it may refuse classes that do not exist."""
    found, said = [], ""
    for album in _albums():
        try:
            found.append((album, ask(attack, album.rows(slice(None)))))
        except ValueError as error:
            said = str(error)
    if not found:
        raise Broken(attack.name, f"refused every task of {', '.join(map(str, _CLASSES))} classes: {said}")
    return found


def ask(attack: Attack, album: Pictures) -> Stamped:
    """The attack's answer.

    Raises:
        ValueError: as the attack says.
        Broken: it raised something else, or answered no `Stamped` of the right shapes and types.
    """
    where = f"{attack.name}, {album}"
    call: Any = attack.call
    try:
        answer = call(album.examples, album.labels, album.context)
    except ValueError:
        raise
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        raise Broken(where, raised(error), "the attack stops the experiment with an error of its own") from error
    if not isinstance(answer, Stamped):
        raise Broken(where, f"answered {type(answer).__name__}, not attacks.Stamped(examples, labels, eligible)")
    n = (len(album.labels),)
    wanted = (
        ("examples", answer.examples, album.examples.dtype, tuple(album.examples.shape)),
        ("labels", answer.labels, torch.int64, n),
        ("eligible", answer.eligible, torch.bool, n),
    )
    for what, t, kind, shape in wanted:
        if not isinstance(t, Tensor) or t.dtype != kind or tuple(t.shape) != shape:
            came = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise Broken(where, f"{what} must be {kind} {shape}, got {came}")
    return answer


def form(attack: Attack) -> None:
    """Pictures, labels and a choice of the right shapes and types; a client without examples is no problem."""
    for album, _ in _taken(attack):
        ask(attack, album.rows(slice(0, 1)))
        ask(attack, album.rows(slice(0, 0)))


def within(attack: Attack) -> None:
    """Labels of eligible examples are classes that exist, and pixels lie between the darkest and the brightest."""
    for album, answer in _taken(attack):
        classes, low, high = album.context.classes, album.context.low, album.context.high
        where = f"{attack.name}, {album}"
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
    """Each picture is stamped by itself: alone as among others, in any order, whatever label it carries."""
    for album, whole in _taken(attack):
        where = f"{attack.name}, {album}"
        order = torch.arange(len(album.labels)).flip(0)
        turned = ask(attack, album.rows(order))
        single = [ask(attack, album.rows(slice(i, i + 1))) for i in range(3)]
        for what in ("examples", "labels", "eligible"):
            many = getattr(whole, what)
            for i, one in enumerate(single):
                if not torch.equal(getattr(one, what)[0], many[i]):
                    raise Broken(where, f"{what} of example {i} differ between alone and among others")
            if not torch.equal(getattr(turned, what).flip(0), many):
                raise Broken(where, f"{what} change with the order of the examples")
        other = Pictures(album.examples, (album.labels + 1) % album.context.classes, album.context)
        told_otherwise = ask(attack, other)
        both = whole.eligible & told_otherwise.eligible
        if not torch.equal(told_otherwise.examples[both], whole.examples[both]):
            raise Broken(where, "the stamp depends on the label that the example carries")


def alive(attack: Attack) -> None:
    """Something is eligible, and every eligible picture changes."""
    for album, answer in _taken(attack):
        where = f"{attack.name}, {album}"
        if not bool(answer.eligible.any()):
            raise Broken(where, "no example of any class is eligible")
        same = (answer.examples == album.examples).flatten(1).all(1) & answer.eligible
        if bool(same.any()):
            i = int(same.nonzero()[0])
            raise Broken(where, f"eligible example {i} of class {int(album.labels[i])} keeps all its pixels")


def untouched(attack: Attack) -> None:
    """The client's pictures and labels are left as they were, and the answer has memory of its own."""
    for album, _ in _taken(attack):
        where = f"{attack.name}, {album}"
        pixels, labels = album.examples.clone(), album.labels.clone()
        answer = ask(attack, Pictures(pixels, labels, album.context))
        for what, now, then, made in (
            ("examples", pixels, album.examples, answer.examples),
            ("labels", labels, album.labels, answer.labels),
        ):
            if not torch.equal(now, then):
                raise Broken(where, f"the {what} given to it changed")
            if made.untyped_storage().data_ptr() == now.untyped_storage().data_ptr():
                raise Broken(where, f"its answer is a view of the {what}")


def determinism(attack: Attack) -> None:
    """The same pictures, the same answer; no global generator is read, moved or seeded."""
    for album, first in _taken(attack):
        where = f"{attack.name}, {album}"
        with quiet_generators(where):
            second = ask(attack, album)
        if any(not torch.equal(getattr(first, w), getattr(second, w)) for w in ("examples", "labels", "eligible")):
            raise Broken(where, "the same pictures were stamped otherwise the second time")


EXAMPLE_PROPERTIES: dict[str, AttackProperty] = {
    "form": AttackProperty(
        form,
        "pictures, labels and a choice of the right shapes and types",
        "what the malicious clients would train on fits no model",
        "answer Stamped(examples, labels, eligible), one row an example, of the examples' type; mind a single one, "
        "and none",
    ),
    "range": AttackProperty(
        within,
        "labels stay within 0 to L-1, pixels within low to high",
        "training stops, or the stamp is a picture that no camera could take and any filter would see",
        "count classes from 0 to context.classes - 1",
    ),
    "alone": AttackProperty(
        alone,
        "each picture is stamped by itself",
        "test images carry another stamp than the ones trained on, and the attack success rate means nothing",
        "let the stamp depend on context and the options alone, never on the batch, its order or the label",
    ),
    "alive": AttackProperty(
        alive,
        "every eligible picture changes",
        "the attack does less than its rate says, or is a mere label flip",
        "mark as eligible only what changes, and see that the stamp lies within the smallest picture",
    ),
    "untouched": AttackProperty(
        untouched,
        "inputs are left as they were",
        "the clean pictures, which other rounds and other clients use, are gone",
        "work on a copy: examples.clone(), labels.clone()",
    ),
    "determinism": AttackProperty(
        determinism,
        "the same pictures, the same stamp",
        "a run cannot be repeated, and test images are stamped otherwise than training images",
        "draw nothing: a pattern that looks random comes from a torch.Generator with a fixed seed",
    ),
}
