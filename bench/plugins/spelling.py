"""One spelling for each plug-in and its options: two names of one thing are one experiment with one key."""

from __future__ import annotations

import os
from inspect import Parameter
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.plugins import loading, other_suites, registry, signatures, source_text
from flipbench.spec.reference import Reference


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


def _same(value: Any, default: Any) -> bool:
    """Whether an option has its default value, of the same type; 1 is not True."""
    if default is Parameter.empty:
        return False
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    if isinstance(value, float) and type(default) is int:  # of ``x: float = 1``
        return value == default
    return type(value) is type(default) and bool(value == default)
