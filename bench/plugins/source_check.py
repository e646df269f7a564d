"""Checks that the text of functions and classes means what they mean in the program that holds them.

A definition is evaluated once and its text again later: a default or class attribute may have been made from a value
that changed since, and a class may have been given other methods afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from flipbench.plugins.definitions import SourceError, unwrapped, wrappers
from flipbench.plugins.source_code import Source, literal

_OF_PYTHON = {"__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__", "_abc_impl"}


def check(source: Source, loaded: ModuleType) -> None:
    """Compare what a text defines with the functions and classes that it was made from.

    Args:
        source: the text and what it was made from.
        loaded: the module that the text defines (`loading.text_module`).

    Raises:
        SourceError: a default, a class attribute, a method or a wrapper differs.
    """
    for name, value in source.values.items():
        for part in _differences(name, value, getattr(loaded, name)):
            raise SourceError(f"{part} is not what the definition of {name} gives now: run its definition again")


def _differences(name: str, value: Any, copy: Any) -> Iterator[str]:
    """Names of what differs between a function or class and the copy that its text makes."""
    if isinstance(value, type) and isinstance(copy, type):
        if [base.__name__ for base in value.__mro__] != [base.__name__ for base in copy.__mro__]:
            yield f"what the base classes of {name} are"
        members, copied = vars(value), vars(copy)
        for member in sorted((members.keys() | copied.keys()) - _OF_PYTHON):
            if member in members and member in copied:
                yield from _differences(f"{name}.{member}", members[member], copied[member])
            else:
                yield f"{name}.{member}"
        return
    value, copy = (getattr(v, "__func__", getattr(v, "fget", None) or v) for v in (value, copy))
    if wrappers(value) != wrappers(copy):
        yield f"what wraps {name}"
    value, copy = unwrapped(value), unwrapped(copy)
    if isinstance(value, FunctionType) and isinstance(copy, FunctionType):
        if _outline(value.__code__) != _outline(copy.__code__):
            yield name
        for option, default in _defaults(value).items():
            if literal(default) != literal(_defaults(copy).get(option)):
                yield f"the default of {option} of {name}"
    elif literal(value) != literal(copy):
        yield name


def _defaults(function: FunctionType) -> dict[str, Any]:
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _outline(code: CodeType) -> tuple[Any, ...]:
    """Names and constants of a function; not its instructions, which depend on the imports above it."""
    constants = [_outline(c) if isinstance(c, CodeType) else literal(c) for c in code.co_consts]
    return code.co_name, code.co_names, code.co_varnames, constants
