"""Memories of rules and attacks as plain values, which `torch.load(weights_only=True)` reads without running code.

Plain are None, numbers, texts, tensors, and lists, tuples and dictionaries of these. An instance of a class becomes a
dictionary of its fields with the name of the class; it is made again only if the class is defined in a module that the
caller names: that of the rule or of the attack which owns the memory.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_CLASS, _FIELDS = "flipbench: instance of", "fields"


class UnsaveableError(TypeError):
    """A memory that holds more than tensors, numbers, texts, containers of them, and the owner's dataclasses."""


def plain(value: Any, modules: frozenset[str]) -> Any:
    """A memory as plain values; tensors are copied to the CPU.

    Args:
        value: the memory.
        modules: whose dataclasses and named tuples may be in it.

    Raises:
        UnsaveableError: there is something else in it.
    """

    def inner(part: Any) -> Any:
        return plain(part, modules)

    for kind in (bool, int, float, str):  # in this order: a bool is an int
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if value is None:
        return None
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()  # clone: a view would take all that it is a view of along
    if type(value) in (list, tuple, dict):
        if type(value) is dict and _CLASS in value:
            raise UnsaveableError(f"a memory with the key {_CLASS!r} cannot be saved")
        return _mapped(value, inner)
    kind = type(value)
    if kind.__module__ in modules and kind.__qualname__.isidentifier():
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {_CLASS: (kind.__module__, kind.__qualname__), _FIELDS: inner(fields)}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return {_CLASS: (kind.__module__, kind.__qualname__), _FIELDS: inner(value._asdict())}
    raise UnsaveableError(f"a memory of {kind.__name__} cannot be saved")


def rebuilt(value: Any, device: torch.device, modules: frozenset[str]) -> Any:
    """The reverse of `plain`.

    Args:
        value: plain values.
        device: of the tensors.
        modules: whose classes may be made.

    Raises:
        ValueError: it names a class that none of the modules defines.
    """

    def inner(part: Any) -> Any:
        return rebuilt(part, device, modules)

    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict) and _CLASS in value:
        module, name = value[_CLASS]
        kind = getattr(sys.modules.get(module), name, None) if module in modules else None
        if not isinstance(kind, type) or kind.__module__ != module:
            raise ValueError(f"{name} is no class of the rule or the attack")
        return kind(**inner(value[_FIELDS]))
    return _mapped(value, inner) if isinstance(value, list | tuple | dict) else value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A list, tuple or dictionary with every part changed."""
    if isinstance(value, dict):
        return {change(k): change(v) for k, v in value.items()}
    return type(value)(map(change, value))
