"""What plug-ins of local training answer, checked each time: a wrong answer is an error with its name, never ignored.

A schedule, a loss, an augmentation and an initialisation are wrapped before they are used. Whatever they draw must come
from the generator that they are given, or the cells of one seed would not meet the same draws; that is tried at the
first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from flipbench.data.input_shape import InputShape
from flipbench.errors import UserError


def schedule(inner: Callable[[int, int], Any], name: str) -> Callable[[int, int], float]:
    """A learning-rate schedule whose factors are finite numbers of 0 or more.

    Args:
        inner: ``(t, rounds) -> factor``.
        name: of it, for messages.
    """

    return partial(_factor, inner, name)


def _factor(inner: Callable[[int, int], Any], name: str, t: int, rounds: int) -> float:
    given: Any = inner(t, rounds)
    value = given.item() if isinstance(given, Tensor) and given.numel() == 1 else given
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise UserError(
            f"schedule {name} gives {given!r} at t={t} of {rounds} rounds: it must return the factor on the "
            "learning rate, a finite number of 0 or more"
        )
    return float(value)


@dataclass(frozen=True)
class CheckedLoss:
    """A loss whose weights of the classes are finite numbers of 0 or more, one a class.

    Attributes:
        inner: with ``weights(own, together)``.
        name: of it, for messages.
    """

    inner: Any
    name: str

    def weights(self, own: Tensor, together: Tensor) -> Tensor | None:
        """As `training.losses`."""
        given = self.inner.weights(own.clone(), together.clone())
        if given is None:
            return None
        if not isinstance(given, Tensor) or given.shape != own.shape:
            what = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"loss {self.name}: weights must return a tensor with a weight for each class, of shape "
                f"{tuple(own.shape)}, or None, got {what}; the loss itself is cross-entropy"
            )
        if not bool((torch.isfinite(given) & (given >= 0)).all()):
            raise UserError(f"loss {self.name}: weights must be finite and 0 or more, got {given.tolist()[:20]}")
        return given.detach().float()


@dataclass(frozen=True)
class CheckedAugmentation:
    """An augmentation whose draws are whole numbers and whose images are images.

    Attributes:
        inner: with ``draw``, ``apply`` and ``frozen``.
        name: of it, for messages.
        frozen: of it.
    """

    inner: Any
    name: str
    frozen: bool
    _tried: set[str] = field(default_factory=set, compare=False, repr=False)

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """As `training.augmentation`."""
        again = torch.Generator().set_state(generator.get_state())
        given = self.inner.draw(number, generator)
        if not isinstance(given, Tensor) or given.shape != (number,) or given.is_floating_point():
            what = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"augmentation {self.name}: draw must return one whole number for each image, int64 of shape "
                f"({number},), got {what}; write a fraction x as (x * 1000).long() and divide in apply"
            )
        if "draw" not in self._tried and number:
            if not torch.equal(given, self.inner.draw(number, again)):
                raise UserError(
                    f"augmentation {self.name}: draw must draw from the generator that it is given "
                    "(generator=generator): two equal ones gave different draws"
                )
            self._tried.add("draw")
        return given.long()

    def apply(self, images: Tensor, drawn: Tensor, black: Tensor) -> Tensor:
        """As `training.augmentation`."""
        first = "apply" not in self._tried and len(images) > 0
        before = images[:1].clone() if first else images
        given = self.inner.apply(images, drawn, black)
        if not isinstance(given, Tensor) or given.shape != images.shape or given.dtype != images.dtype:
            what = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"augmentation {self.name}: apply must return images like those that it is given, {images.dtype} of "
                f"shape {tuple(images.shape)}, got {what}"
            )
        if first:
            alone = self.inner.apply(before, drawn[:1].clone(), black)
            if not torch.allclose(alone, given[:1], equal_nan=True, rtol=1e-4, atol=1e-5):
                raise UserError(
                    f"augmentation {self.name}: apply must change each image by its own draw alone; with other images "
                    "beside it the first one came out differently (draw random numbers in draw, and mix no images)"
                )
            self._tried.add("apply")
        return given


def augmentation(inner: Any, name: str) -> Any:
    """An augmentation, checked where it is one; the shipped ``none`` has nothing to check."""
    if not hasattr(inner, "draw"):
        return inner
    if not isinstance(inner.frozen, bool):
        raise UserError(f"augmentation {name}: frozen must be true or false, got {inner.frozen!r}")
    return CheckedAugmentation(inner, name, inner.frozen)


def initialisation(inner: Callable[[Tensor], Any], name: str) -> Callable[[Tensor], None]:
    """An initialisation that draws in place, from torch's global generator, finite numbers.

    Args:
        inner: draws one weight tensor.
        name: of it, for messages.
    """

    return partial(_draw, inner, name)


def _draw(inner: Callable[[Tensor], Any], name: str, weight: Tensor) -> None:
    state, twin = torch.get_rng_state(), weight.clone()
    inner(twin)
    torch.set_rng_state(state)
    given = inner(weight)
    if given is not None and not (isinstance(given, Tensor) and given.data_ptr() == weight.data_ptr()):
        raise UserError(
            f"initialisation {name} returns a {type(given).__name__}, which is not used: it must draw into the "
            "weight that it is given, in place (weight.copy_(...)), and return nothing"
        )
    if not bool(torch.isfinite(weight).all()):
        raise UserError(f"initialisation {name} gives a weight of shape {tuple(weight.shape)} that is not finite")
    if not torch.equal(weight, twin):
        raise UserError(
            f"initialisation {name} gives different weights for one seed: it must draw from torch's own generator"
        )


def rows(given: Any, total: int, what: str) -> Tensor:
    """Rows of the training set that a plug-in chose, as int64.

    Args:
        given: its answer.
        total: how many rows there are.
        what: chose them, for messages.

    Raises:
        UserError: they are no list of row numbers below ``total``.
    """
    try:
        chosen = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        chosen = torch.zeros(0)
    whole = chosen.ndim == 1 and not chosen.is_floating_point() and chosen.dtype != torch.bool
    if not (whole or (chosen.ndim == 1 and not len(chosen) and isinstance(given, list | Tensor))):
        raise UserError(f"{what} must give row numbers, a 1-d tensor of whole numbers, got {type(given).__name__}")
    chosen = chosen.long()
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < total:
        ends = f"{int(chosen.min())} to {int(chosen.max())}"
        raise UserError(f"{what} gives rows from {ends}, and there are rows 0 to {total - 1}")
    return chosen


def inputs(given: Any, numbers: tuple[int, int], shape: InputShape, name: str) -> None:
    """Check training and test images, or features, at the scale of a plug-in.

    Args:
        given: its answer.
        numbers: of training and of test examples.
        shape: of one example before it was scaled.
        name: of the scale, for messages.

    Raises:
        UserError: it is something else than as many examples of finite float32 numbers, all of one shape.
    """
    wanted = "training and test images as two float32 tensors of shape (images, channels, height, width)"
    if shape.kind == "features":
        wanted = "training and test features as two float32 tensors of shape (examples, ...)"
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(isinstance(t, Tensor) for t in given):
        raise UserError(f"features {name} must return {wanted}, got {type(given).__name__}")
    for one, number in zip(given, numbers, strict=True):
        sound = one.ndim == 4 if shape.kind == "image" else one.ndim >= 2
        if not sound or len(one) != number or one.dtype != torch.float32:
            raise UserError(f"features {name} must return {wanted}, got {one.dtype} {tuple(one.shape)}")
        if not bool(torch.isfinite(one).all()):
            raise UserError(f"features {name} gives numbers that are not finite")
    if given[0].shape[1:] != given[1].shape[1:]:
        raise UserError(f"features {name} gives training and test images of different shapes")


def labels(new: Any, eligible: Any, examples: int, classes: int, what: str) -> None:
    """Check the labels that an attack proposes.

    Args:
        new: ``(examples,)`` int64, from 0 to L - 1.
        eligible: ``(examples,)`` bool.
        examples: how many it was asked about.
        classes: L.
        what: proposes them, for messages.

    Raises:
        UserError: they are of another shape or type, or name no class.
    """
    for name, tensor, dtype in (("labels", new, torch.int64), ("eligible", eligible, torch.bool)):
        if not isinstance(tensor, Tensor) or tensor.shape != (examples,) or tensor.dtype != dtype:
            got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"{what}: {name} must be {dtype} of shape ({examples},), got {got}")
    if examples and not 0 <= int(new.min()) <= int(new.max()) < classes:
        raise UserError(f"{what}: labels must be from 0 to {classes - 1}, got {int(new.min())} to {int(new.max())}")


def parts(given: Any, total: int, clients: int, name: str) -> list[Tensor]:
    """The rows of each client, as a partition dealt them.

    Args:
        given: its answer.
        total: how many rows there are.
        clients: N.
        name: of the partition, for messages.

    Raises:
        UserError: it is not N lists of rows, deals a row twice, or deals none at all.
    """
    if not isinstance(given, list | tuple) or len(given) != clients:
        what = f"{len(given)} parts" if isinstance(given, list | tuple) else type(given).__name__
        raise UserError(f"partition {name} must return a list of {clients} tensors, rows of each client, got {what}")
    dealt = [rows(part, total, f"partition {name}") for part in given]
    if not any(len(part) for part in dealt):
        raise UserError(f"partition {name} deals no example to any client: return the rows of each, as int64 tensors")
    counts = torch.bincount(torch.cat(dealt), minlength=total)
    if int(counts.max()) > 1:
        twice = int(counts.argmax())
        raise UserError(
            f"partition {name} deals row {twice} {int(counts[twice])} times; an example belongs to one client"
        )
    return dealt
