"""Objects as references: a function, a class or a rule with bound options, where a grid has a name.

A shipped one becomes its name, one from an importable module ``pkg.mod:name``, and one of a notebook or a script the
name of its source text (`plugins.source_code`). Options bound by `functools.partial`, or as fields of a dataclass,
become the options of the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any

from flipbench.attacks.chain import Chain
from flipbench.plugins import loading, registry, source_check, source_text
from flipbench.plugins.definitions import SourceError
from flipbench.plugins.source_code import importable, source_of
from flipbench.spec.reference import Reference, parse


def reference(kind: str, value: Any) -> Any:
    """What a grid writes for an object; texts, mappings and whatever else is no object to name stay as they are.

    Args:
        kind: a key of `kinds.KINDS`.
        value: a function, a class, a dataclass instance, a chain of them, or what a grid file could hold.

    Raises:
        SourceError: it cannot be sent to worker processes, or an option of it cannot be written in a grid.
    """
    if value is None or isinstance(value, str | bool | int | float | list | tuple | Mapping):
        return value
    if isinstance(value, Chain):
        return " | ".join(str(_one(kind, link)) for link in value.links.values())
    steps, last = getattr(value, "first", None), getattr(value, "rule", None)
    if kind == "aggregator" and isinstance(steps, tuple) and last is not None:  # of `aggregators.compose`
        return " | ".join([*(str(_one("preaggregation", s)) for s in steps), str(_one(kind, last))])
    return str(_one(kind, value))


def _one(kind: str, value: Any) -> Reference:
    if isinstance(value, str):
        return Reference(value)
    if kind == "dataset" and hasattr(value, "as_reference"):  # arrays in the memory of this process
        return parse(value.as_reference())
    if isinstance(value, partial):
        inner = _one(kind, value.func)
        if value.args:
            raise SourceError(f"{inner.name.rpartition(':')[2]}: options are bound by name, like partial(rule, trim=2)")
        given = _plain_options(inner.name, value.keywords)
        if _is_torch_optimiser(kind, value.func):
            return Reference(inner.name, {**inner.options, "options": given})
        return Reference(inner.name, {**inner.options, **given})
    if _is_torch_optimiser(kind, value):
        return Reference("pytorch", {"name": value.__name__})
    if is_dataclass(value) and not isinstance(value, type):
        name = _name_of(kind, type(value))
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init and not _is_default(f, value)}
        return Reference(name, _plain_options(name, given))
    return Reference(_name_of(kind, value))


def _is_torch_optimiser(kind: str, value: Any) -> bool:
    """Whether it is a class of ``torch.optim``, which the shipped optimiser ``pytorch`` names."""
    ours = kind in ("optimiser", "server_optimiser") and isinstance(value, type)
    return ours and value.__module__.startswith("torch.optim.") and hasattr(value, "step")


def _is_default(field: Any, value: Any) -> bool:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return default is not MISSING and bool(getattr(value, field.name) == default)


def _name_of(kind: str, value: Any) -> str:
    if not callable(value):
        return str(value)
    name = getattr(value, "__name__", "")
    for which in (kind, "preaggregation") if kind == "aggregator" else (kind,):
        if registry.shipped(which).get(name) is value:
            return str(name)
    if (module := importable(value)) is not None:
        return f"{module}:{name}"
    source = source_of(value)
    reference_name = f"{source_text.register(source.text)}:{name}"
    source_check.check(source, loading.text_module(reference_name))
    return reference_name


def _plain_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a grid writes them.

    Raises:
        SourceError: an option is more than a number, a text, a list or a mapping.
    """
    return {option: _plain(name.rpartition(":")[2], option, value) for option, value in options.items()}


def _plain(name: str, option: str, value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy or PyTorch
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | range):
        return [_plain(name, option, v) for v in value]
    if isinstance(value, Mapping):
        return {_plain(name, option, k): _plain(name, option, v) for k, v in value.items()}
    raise SourceError(
        f"option {option} of {name} is {type(value).__name__}: options are numbers, texts, lists and mappings; make "
        "anything else inside the function"
    )
