"""The model that a cell names, made and checked: a plug-in may raise or return anything."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from flipbench.errors import UserError
from flipbench.plugins import registry
from flipbench.plugins.definitions import kind_of
from flipbench.spec.reference import CODE
from flipbench.system import exception_text
from flipbench.system.signals import is_users

Shape = tuple[int, int, int]


class ModelError(UserError):
    """A model that cannot be made, or is none; the message names it."""


def resolve(ref: str) -> Callable[[Shape, int], nn.Module]:
    """What makes the model of a reference: ``(shape, classes) -> model``; it raises `ModelError`.

    Args:
        ref: a name with options.

    Raises:
        UserError: no such name, or options that do not fit.
    """
    return partial(_made, registry.resolve("model", ref), CODE.sub("", ref))


def _made(make: Callable[..., Any], name: str, shape: Shape, classes: int) -> nn.Module:
    try:
        model = make(shape, classes)
    except BaseException as error:
        if is_users(error) or isinstance(error, MemoryError):
            raise
        raise ModelError(
            f"model {name} cannot be made for images of shape {shape} and {classes} classes: "
            f"{exception_text.with_line(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {name} returned {kind_of(model)}: a model is a torch.nn.Module")
    return model
