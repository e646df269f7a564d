"""Names in a grid become callables: ``krum(power=1)``, ``pkg.mod:rule``, ``path/file.py:rule``, an installed plug-in.

The form of a name says where it is looked up: a shipped name, a name that an installed package offers as an entry
point, a module, a loose file, the source of a function that was passed in Python. Nothing is loaded unless it is named,
and options are checked against the signature when the grid is read, so that a typo never costs a run.

A shipped function gets its options bound with `functools.partial`; a frozen dataclass (a rule with memory) is built
with them. Options are the keyword-only parameters; what an author writes as ``**kwargs`` accepts none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, cast

from flipbench import aggregators
from flipbench.attacks.chain import Chain
from flipbench.plugins import definitions, kinds, loading, other_suites, plugin_form, signatures
from flipbench.plugins.kinds import PluginError
from flipbench.spec.reference import Reference, parse, parse_chain
from flipbench.spec.suggestions import near


class Entry(NamedTuple):
    """One line of ``flipbench list``."""

    name: str
    origin: str
    doc: str
    options: tuple[str, ...]


def resolve(kind: str, ref: str | Reference) -> Any:
    """The callable that a reference names, with its options bound.

    Args:
        kind: a key of `kinds.KINDS`.
        ref: a reference or its text; for aggregators also a chain ``nnm | trimmed_mean(trim=3)``, for attacks a
            chain ``mirrored | scaled``, which is answered by an `attacks.chain.Chain`.

    Raises:
        UserError: no such name, a plug-in that does not load, or options that do not fit; with what was needed.
    """
    parts = links(kind, ref)
    resolved = (_resolve_one(link_kind, link) for link_kind, link in parts)
    if len(parts) == 1:
        return next(resolved)
    if kind == "aggregator":
        return aggregators.compose(*resolved)
    try:
        return Chain.of(*resolved)
    except ValueError as error:
        raise PluginError(f"{' | '.join(str(link) for _, link in parts)}: {error}") from error


def links(kind: str, ref: str | Reference) -> list[tuple[str, Reference]]:
    """The links of a chain, each with its kind; a reference alone is a chain of one.

    Before an aggregator stand pre-aggregations; the links of an attack are attacks.
    """
    kinds.named(kind)
    if isinstance(ref, Reference):
        return [(kind, ref)]
    parts = parse_chain(ref) if kind in ("aggregator", "attack") else (parse(ref),)
    if kind == "dataset":
        return [(kind, other_suites.in_full(parts[0]))]
    before = "preaggregation" if kind == "aggregator" else kind
    return [*((before, part) for part in parts[:-1]), (kind, parts[-1])]


def shipped(kind: str) -> Mapping[str, Callable[..., Any]]:
    """The registry of one kind: name -> callable."""
    spec = kinds.named(kind)
    registry: Mapping[str, Callable[..., Any]] = getattr(importlib.import_module(spec.module), spec.registry)
    return registry


def place(kind: str, name: str) -> tuple[str, str]:
    """Module and name of something shipped, under its wrappers."""
    inner = definitions.unwrapped(shipped(kind)[name])
    return inner.__module__, inner.__qualname__


def shipped_places() -> Iterator[tuple[str, str]]:
    """Module and name of everything shipped."""
    return (place(kind, name) for kind in kinds.KINDS for name in shipped(kind))


def is_shipped(kind: str, name: str) -> bool:
    """Whether the name is one of flipbench's own."""
    return ":" not in name and name in shipped(kind)


@lru_cache(maxsize=4096)
def all_shipped(kind: str, text: str) -> bool:
    """Whether everything that a reference or a chain names is flipbench's own."""
    return all(is_shipped(link_kind, link.name) for link_kind, link in links(kind, text))


def catalogue(kind: str) -> list[Entry]:
    """All that can be named without a path: the shipped ones, then what installed packages offer (not loaded)."""
    lines = [
        Entry(n, "flipbench", signatures.first_line(f), signatures.option_texts(f)) for n, f in shipped(kind).items()
    ]
    for name, points in sorted(_installed(kinds.named(kind).group).items()):
        for point in points:
            lines.append(Entry(name, distribution(point), f"{point.value} (not loaded before it is named)", ()))
    return lines


def entry_point(kind: str, name: str) -> EntryPoint:
    """The one by which an installed package offers a name."""
    return _installed(kinds.named(kind).group)[name][0]


def clear() -> None:
    """Forget which packages are installed (for a process that installs some)."""
    _installed.cache_clear()


def _resolve_one(kind: str, ref: Reference) -> Callable[..., Any]:
    if kind == "aggregator" and other_suites.is_foreign(ref.name):
        return other_suites.resolve(ref)
    target = find(kind, ref.name)
    plugin = not is_shipped(kind, ref.name)
    if plugin:
        plugin_form.check(kind, ref.name, target)
    if problem := signatures.mismatch(target, ref.options):
        raise PluginError(f"{ref.name}: {problem}")
    options = signatures.coerced(target, ref.options)
    if not (isinstance(target, type) and is_dataclass(target)):
        return partial(target, **options) if options else target
    try:
        built = cast(Callable[..., Any], target(**options))
    except (ValueError, TypeError) as error:  # its own __post_init__ refuses a value
        raise PluginError(f"{ref}: {error}") from error
    if plugin:
        plugin_form.check_built(kind, ref.name, built)
    return built


def find(kind: str, name: str) -> Any:
    """What a name leads to, without options.

    Raises:
        UserError: as `resolve`.
    """
    if ".py:" in name:
        return loading.from_file(name)
    if ":" in name:
        return loading.from_module(name)
    spec, ours, theirs = kinds.named(kind), shipped(kind), _installed(kinds.named(kind).group).get(name, ())
    if len(theirs) + (name in ours) > 1:
        owners = ["flipbench"] * (name in ours) + [distribution(p) for p in theirs]
        raise PluginError(
            f"{spec.noun} {name!r} is offered by {' and '.join(owners)}: uninstall the others, "
            f"or write the name in full, as {theirs[0].value!r}"
        )
    if name in ours:
        return ours[name]
    if theirs:
        return loading.from_entry_point(theirs[0])
    raise PluginError(_unknown(kind, name))


def _unknown(kind: str, name: str) -> str:
    if kind == "aggregator" and name in shipped("preaggregation"):
        return f"{name!r} is a pre-aggregation and needs a rule behind it: write '{name} | krum'"
    if kind == "preaggregation" and name in shipped("aggregator"):
        return f"{name!r} is an aggregator and can only stand last in a chain"
    known = [*shipped(kind), *_installed(kinds.named(kind).group)]
    return (
        f"unknown {kinds.named(kind).noun} {name!r}{near(name, known)}; there are {', '.join(known)}, "
        "and your own as 'pkg.mod:name' or 'path/file.py:name'"
    )


@lru_cache
def _installed(group: str | None) -> dict[str, tuple[EntryPoint, ...]]:
    installed: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group) if group else ():
        if point not in installed.get(point.name, ()):
            installed[point.name] = (*installed.get(point.name, ()), point)
    return installed


def distribution(point: EntryPoint) -> str:
    """Name and version of the package that offers it."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
