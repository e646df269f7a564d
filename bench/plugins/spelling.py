"""One spelling for each plug-in and its options: two names of one thing are one experiment with one key."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.plugins import loading, other_suites, registry, signatures, source_text
from flipbench.spec.reference import Reference

_EXACT = 10**15  # whole numbers below are written without an exponent


def spelled(kind: str, text: str) -> str:
    """The one spelling of a reference or a chain that `registry.resolve` takes.

    A file is named by its path from the working folder, without links and detours (`from_here`); a shipped thing by
    its own name, not by its module; options at their default values are left out.

    Args:
        kind: a key of `kinds.KINDS`.
        text: of the reference.
    """
    return " | ".join(str(_one(link_kind, link)) for link_kind, link in registry.links(kind, text))


def _one(kind: str, ref: Reference) -> Reference:
    if kind == "aggregator" and other_suites.is_foreign(ref.name):
        return ref
    try:
        target = registry.find(kind, ref.name)
        given = signatures.coerced(target, ref.options)
    except (UserError, ValueError):
        return ref
    known = signatures.options(target)
    options = {n: v for n, v in ref.options.items() if n not in known or not _same(given[n], known[n].default)}
    plain = {n: _written(v, given[n]) for n, v in options.items()}
    again = signatures.coerced(target, plain)
    options = {n: plain[n] if _exact(again[n]) == _exact(given[n]) else v for n, v in options.items()}
    return Reference(_name(kind, ref.name, target), options)


def _name(kind: str, name: str, target: Any) -> str:
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        return f"{from_here(path)}:{attribute}"
    if ":" in name and not source_text.is_code(name):
        own = getattr(target, "__name__", "")
        return own if registry.shipped(kind).get(own) is target else name
    return name


def from_here(path: str) -> str:
    """A file's path from the working folder, with links followed; as it is where there is none (another drive).

    From a working folder outside the home folder, a file in the home folder is ``~/...``: the way there would name the
    user, and names stand in results.
    """
    file, here, home = (os.path.realpath(p) for p in (loading.place(path), os.curdir, os.path.expanduser("~")))
    if _within(file, home) and not _within(here, home):
        return f"~/{Path(os.path.relpath(file, home)).as_posix()}"
    try:
        return Path(os.path.relpath(file, here)).as_posix()
    except ValueError:
        return path


def _within(path: str, folder: str) -> bool:
    return folder != os.sep and Path(folder) in (Path(path), *Path(path).parents)


def _written(value: Any, read: Any) -> Any:
    """An option in its one spelling: 10.0 is 10 for a number that may have decimals, and {5: 8, 3: 5} is sorted.

    Args:
        value: as the reference gives it.
        read: as the annotation wants it; a float where a whole number may stand for one.
    """
    if isinstance(value, list | tuple) and isinstance(read, list | tuple) and len(value) == len(read):
        return [_written(v, r) for v, r in zip(value, read, strict=True)]
    if isinstance(value, Mapping) and isinstance(read, Mapping) and value.keys() == read.keys():
        return {key: _written(value[key], read[key]) for key in sorted(value, key=lambda key: (str(type(key)), key))}
    if type(read) is float and type(value) in (int, float) and math.isfinite(read):
        return int(read) if read.is_integer() and abs(read) < _EXACT else read
    return value


def _exact(value: Any) -> Any:
    """What two values have in common that a rule cannot tell apart: 1 and 1.0 differ, 0.0 and -0.0 do not."""
    if isinstance(value, Mapping):
        return "mapping", sorted((repr(key), _exact(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return "list", list(map(_exact, value))
    return type(value).__name__, value


def _same(value: Any, default: Any) -> bool:
    """Whether an option has its default value, of the same type; 1 is not True."""
    if default is Parameter.empty:
        return False
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    if isinstance(value, float) and type(default) is int:  # of ``x: float = 1``
        return value == default
    return type(value) is type(default) and bool(value == default)
