"""What a callable's signature says about its options, and whether given options fit it."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from inspect import Parameter
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from flipbench.spec.suggestions import near


def options(target: Callable[..., Any]) -> dict[str, Parameter]:
    """Its options by name: keyword-only parameters of a function, fields of a dataclass."""
    takes_all = isinstance(target, type) and is_dataclass(target)
    kinds = {Parameter.KEYWORD_ONLY} | ({Parameter.POSITIONAL_OR_KEYWORD} if takes_all else set())
    return {name: p for name, p in _parameters(target).items() if p.kind in kinds}


def mismatch(target: Callable[..., Any], given: Mapping[str, Any]) -> str | None:
    """Why the given options do not fit, or None where they do."""
    known = options(target)
    for name in given:
        if name not in known:
            return _not_an_option(target, name, known)
    if missing := [n for n, p in known.items() if p.default is Parameter.empty and n not in given]:
        example = ", ".join(f"{n}=..." for n in missing)
        return f"needs the option{'s' * (len(missing) > 1)} {' and '.join(missing)}; write {_name(target)}({example})"
    for name, value in given.items():
        if problem := _wrong_type(target, name, value):
            return f"option {name}: {problem}, got {value!r}"
    return None


def coerced(target: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fitting options as the annotations want them: a whole number for a float is a float, a list may be a tuple."""
    return {n: v if (a := _adapter(target, n)) is None else _validated(a, v) for n, v in given.items()}


def wrong_positionals(target: Callable[..., Any], count: int) -> str | None:
    """Why it cannot be called with so many arguments by position, or None."""
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):
        return None  # a builtin tells nothing
    spots = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in signature.parameters.values() if p.kind in spots]
    needed = sum(p.default is Parameter.empty for p in places)
    more = any(p.kind is Parameter.VAR_POSITIONAL for p in signature.parameters.values())
    if needed <= count <= len(places) or (needed <= count and more):
        return None
    arguments = f"{count} argument{'s' * (count != 1)}"
    return f"it is called with {arguments} by position and takes {needed}; its signature is {signature}"


def first_line(target: Callable[..., Any]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(target) or "").strip().partition("\n")[0]


def option_texts(target: Callable[..., Any]) -> tuple[str, ...]:
    """Its options as text: ``trim=null``, and ``alpha`` where there is no default."""
    return tuple(n if p.default is Parameter.empty else f"{n}={_text(p.default)}" for n, p in options(target).items())


def _text(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else repr(value)
    )


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", type(target).__name__)


def _not_an_option(target: Callable[..., Any], name: str, known: Mapping[str, Parameter]) -> str:
    place = _parameters(target).get(name)
    if place is not None and place.kind is Parameter.POSITIONAL_OR_KEYWORD and place.default is not Parameter.empty:
        return f"{name!r} is not keyword-only; write def {_name(target)}(..., *, {name}=...)"
    listed = f"its options are {', '.join(known)}" if known else "it has no options"
    return f"unknown option {name!r}{near(name, known)}; {listed}"


@lru_cache(maxsize=4096)
def _parameters(target: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return inspect.signature(target).parameters
    except (ValueError, TypeError):
        return {}


@lru_cache(maxsize=4096)
def _adapter(target: Callable[..., Any], name: str) -> TypeAdapter[Any] | None:
    """Checks one option strictly; None where its annotation says nothing that can be checked."""
    try:
        return TypeAdapter(_hints(target)[name], config=ConfigDict(strict=True))
    except (NameError, TypeError, AttributeError, KeyError, PydanticUserError, PydanticUndefinedAnnotation):
        return None


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(inspect.unwrap(target), include_extras=True)


def _validated(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        if not isinstance(value, list):
            raise
        return adapter.validate_json(json.dumps(value))  # here a list may stand for a tuple


def _wrong_type(target: Callable[..., Any], name: str, value: Any) -> str | None:
    """Why a value does not fit its annotation, or None: what is needed where the type is wrong, else the bound."""
    adapter = _adapter(target, name)
    if adapter is None:
        return None
    try:
        _validated(adapter, value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        needed = _described(_hints(target)[name])
        if needed is not None and all(e["type"].endswith(_OF_TYPE) for e in errors):
            return f"needs {needed}"
        texts = dict.fromkeys(e["msg"].removeprefix("Input ") for e in errors)
        return " or ".join(t[:1].lower() + t[1:] for t in texts)
    return None


_OF_TYPE = ("_type", "_parsing", "literal_error")  # kinds of pydantic's errors
_SIMPLE: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
}


def _described(hint: Any, many: bool = False) -> str | None:
    """An annotation in words, or in the author's own words where it says ``Annotated[int, "class number"]``.

    Returns:
        ``a whole number or a list of whole numbers``; None for what has no simple words.
    """
    if hint in _SIMPLE:
        return _SIMPLE[hint][many]
    if hint is types.NoneType:
        return "null"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        own = next((a for a in arguments[1:] if isinstance(a, str)), None)
        if own is None:
            return _described(arguments[0], many)
        return f"{own}s" if many else f"a {own}"
    if origin is typing.Literal:
        return " or ".join(map(_text, arguments))
    if origin in (list, tuple):
        inside = {_described(a, many=True) for a in arguments if a is not Ellipsis}
        return None if len(inside) != 1 or None in inside else f"{'lists' if many else 'a list'} of {inside.pop()}"
    if origin in (typing.Union, types.UnionType):
        each = [_described(a, many) for a in arguments]
        return None if None in each else " or ".join(dict.fromkeys(str(e) for e in each))
    return None
