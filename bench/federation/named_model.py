"""The model that a cell names, made and checked: a plug-in may raise or return anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from flipbench.data.input_shape import InputShape
from flipbench.errors import UserError
from flipbench.plugins import registry
from flipbench.plugins.definitions import kind_of
from flipbench.spec.reference import CODE, parse
from flipbench.system import exception_text
from flipbench.system.signals import is_users
from flipbench.training import model_check, models
from flipbench.training.executors.loop import AT_ONCE

Shape = tuple[int, ...]  # an `InputShape`, or the plain tuple of an image


class ModelError(UserError):
    """A model that cannot be made, or is none; the message names it."""


def resolve(ref: str) -> Callable[[Shape, int], nn.Module]:
    """What makes the model of a reference: ``(shape, classes) -> model``; it raises `ModelError`.

    A model of a plug-in is tried once a process on a small batch, unless it is made on the device "meta".

    Args:
        ref: a name with options.

    Raises:
        UserError: no such name, or options that do not fit.
    """
    return partial(_checked, registry.resolve("model", ref), ref)


def _checked(make: Callable[..., Any], ref: str, shape: Shape, classes: int) -> nn.Module:
    name = CODE.sub("", ref)
    if registry.is_shipped("model", parse(ref).name):
        return _made(make, name, shape, classes)
    if torch.get_default_device().type != "meta":
        _tried(ref, shape, classes)
    model = _made(make, name, shape, classes)
    _refuse(name, lambda: model_check.check_parts(model))
    return model


@lru_cache(maxsize=64)
def _tried(ref: str, shape: Shape, classes: int) -> None:
    """The trial of a model that can be made."""
    make, name = registry.resolve("model", ref), CODE.sub("", ref)
    whole = partial(_made, make, name)
    model = models.build(whole, shape, classes, 0)
    _refuse(name, lambda: model_check.check_parts(model))
    _refuse(name, lambda: model_check.check_behaviour(whole, shape, classes))


def _refuse(name: str, check: Callable[[], None]) -> None:
    try:
        check()
    except model_check.UnfitModelError as error:
        raised = "" if error.__cause__ is None else f" ({exception_text.with_line(error.__cause__)})"
        raise ModelError(f"model {name} cannot be used: {error}{raised}") from error


def _made(make: Callable[..., Any], name: str, shape: Shape, classes: int) -> nn.Module:
    try:
        model = make(shape, classes)
    except BaseException as error:
        if is_users(error) or isinstance(error, MemoryError):
            raise
        known = InputShape.of(shape)
        what = f"images of shape {tuple(shape)}" if known.kind == "image" else known.described
        raise ModelError(
            f"model {name} cannot be made for {what} and {classes} classes: {exception_text.with_line(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {name} returned {kind_of(model)}: a model is a torch.nn.Module")
    return model


def evaluated(shape: InputShape, test: int) -> int:
    """How many test examples a module is evaluated on at once.

    Args:
        shape: of one example.
        test: how many there are.
    """
    return min(test, max(1, AT_ONCE // max(1, math.prod(shape))))
