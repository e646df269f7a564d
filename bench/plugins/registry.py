"""Names in a grid become callables: ``krum(keep=5)``, ``pkg.mod:rule``, ``path/file.py:rule``, an installed plug-in.

The form of a name says where it is looked up: a shipped name, a name that an installed package offers as an entry
point, a module, a loose file, the source of a function that was passed in Python. Nothing is loaded unless it is named,
and options are checked against the signature when the grid is read, so that a typo never costs a run.

A shipped function gets its options bound with `functools.partial`; a frozen dataclass (a rule with memory) is built
with them. Options are the keyword-only parameters; what an author writes as ``**kwargs`` accepts none.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, cast

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import place as place_of_attack
from flipbench.errors import UserError
from flipbench.plugins import definitions, dependencies, loading, other_suites, signatures, source_text
from flipbench.spec.reference import Reference, parse, parse_chain
from flipbench.spec.suggestions import near
from flipbench.versions import table as versions


class PluginError(UserError):
    """A name that leads nowhere, or options that do not fit what it names."""


@dataclass(frozen=True)
class Kind:
    """What can be named in one field of a cell.

    Attributes:
        noun: as messages say it.
        module: where the shipped ones are registered.
        registry: the attribute of the module: name -> callable.
        group: the entry-point group for installed packages; null: none.
        positional: arguments that the bench passes by position; null: by its place (an attack), or it is never called.
        members: methods and attributes that are used of what is built with the options, in place of a call.
    """

    noun: str
    module: str
    registry: str
    group: str | None = None
    positional: int | None = None
    members: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "aggregator": Kind("aggregator", "flipbench.aggregators", "RULES", "flipbench.aggregators", 2),
    "preaggregation": Kind(
        "pre-aggregation", "flipbench.aggregators", "PREAGGREGATIONS", "flipbench.preaggregations", 2
    ),
    "attack": Kind("attack", "flipbench.attacks", "ATTACKS", "flipbench.attacks"),
    "dataset": Kind("data set", "flipbench.data", "DATASETS", "flipbench.datasets", positional=0),
    "features": Kind("pixel scale", "flipbench.data.pixel_scaling", "FEATURES", positional=3),
    "partition": Kind("partition", "flipbench.data.partitions", "PARTITIONS", positional=3),
    "model": Kind("model", "flipbench.training.models", "MODELS", positional=2),
    "schedule": Kind("schedule", "flipbench.training.schedules", "SCHEDULES", positional=2),
    "initialisation": Kind("initialisation", "flipbench.training.initialisation", "INITIALISATIONS", positional=1),
    "augmentation": Kind(
        "augmentation", "flipbench.training.augmentation", "AUGMENTATIONS", members=("draw", "apply", "frozen")
    ),
    "loss": Kind("loss", "flipbench.training.losses", "LOSSES", members=("weights",)),
    "malicious_data": Kind(
        "data of malicious clients", "flipbench.federation.sybil_data", "MALICIOUS_DATA", positional=3
    ),
}


_CALLED_CLASSES = ("data set", "model")  # here a class itself is called as a function is
_ARGUMENTS = {"labels": 2, "examples": 3, "updates": 2}  # of an attack, by position


class Entry(NamedTuple):
    """One line of ``flipbench list``."""

    name: str
    origin: str
    doc: str
    options: tuple[str, ...]


def resolve(kind: str, ref: str | Reference) -> Any:
    """The callable that a reference names, with its options bound.

    Args:
        kind: a key of `KINDS`.
        ref: a reference or its text; for aggregators also a chain ``nnm | trimmed_mean(trim=3)``, for attacks a
            chain ``mirrored | scaled``, which is answered by an `attacks.chain.Chain`.

    Raises:
        UserError: no such name, a plug-in that does not load, or options that do not fit; with what was needed.
    """
    parts = _parts(kind, ref)
    if len(parts) == 1:
        return _resolve_one(kind, parts[0])
    if kind == "attack":
        try:
            return Chain.of(*(_resolve_one(kind, r) for r in parts))
        except ValueError as error:
            raise PluginError(f"{' | '.join(map(str, parts))}: {error}") from error
    compose: Callable[..., Callable[..., Any]] | None = getattr(
        importlib.import_module("flipbench.aggregators"), "compose", None
    )
    if compose is None:
        raise PluginError(f"{' | '.join(map(str, parts))} is a chain, and this version has no pre-aggregations")
    return compose(*(_resolve_one("preaggregation", r) for r in parts[:-1]), _resolve_one(kind, parts[-1]))


def source_hash(kind: str, ref: str | Reference) -> str | None:
    """What the name's meaning depends on beyond its text, mostly as SHA-256; None for shipped code at version 1.

    A shipped name: ``version 2`` of its numbers, or ``edited`` with a hash where its source is not what was measured.
    A loose file: its bytes. A module: the bytes of its file and of the file that defines the object. An entry
    point: these and the version of its distribution. With each, the modules that it imports (`dependencies`). A chain:
    the hashes of its plug-ins in order.
    """
    parts = _parts(kind, ref)
    hashes = [_source_hash(k, r.name) for k, r in zip(kinds_of(kind, len(parts)), parts, strict=True)]
    if all(h is None for h in hashes):
        return None
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("|".join(h or "" for h in hashes).encode()).hexdigest()


def shipped(kind: str) -> Mapping[str, Callable[..., Any]]:
    """The registry of one kind: name -> callable."""
    spec = _kind(kind)
    registry: Mapping[str, Callable[..., Any]] = getattr(importlib.import_module(spec.module), spec.registry, {})
    return registry


def kinds_of(kind: str, links: int) -> list[str]:
    """The kind of each link of a chain: before an aggregator stand pre-aggregations, an attack's links are attacks."""
    return [kind] * links if kind == "attack" else ["preaggregation"] * (links - 1) + [kind]


def engine_mark() -> str | None:
    """What of the code that all cells share enters keys, as of `source_hash`; None at version 1 of its numbers."""
    return versions.mark_of_engine(shipped_places)


def engine_source() -> str:
    """The version of the numbers of the code that all cells share, and its fingerprint, for the provenance."""
    return versions.engine_of_record(shipped_places)


def place(kind: str, name: str) -> tuple[str, str]:
    """Module and name of something shipped."""
    return _place(shipped(kind)[name])


def shipped_places() -> Iterator[tuple[str, str]]:
    """Module and name of everything shipped."""
    return (_place(one) for kind in KINDS for one in shipped(kind).values())


def is_shipped(kind: str, name: str) -> bool:
    """Whether the name is one of flipbench's own."""
    return ":" not in name and name in shipped(kind)


def catalogue(kind: str) -> list[Entry]:
    """All that can be named without a path: the shipped ones, then what installed packages offer (not loaded)."""
    lines = [
        Entry(n, "flipbench", signatures.first_line(f), signatures.option_texts(f)) for n, f in shipped(kind).items()
    ]
    for name, points in sorted(_installed(_kind(kind).group).items()):
        for point in points:
            lines.append(Entry(name, _distribution(point), f"{point.value} (not loaded before it is named)", ()))
    return lines


def clear() -> None:
    """Forget which packages are installed (for a process that installs some)."""
    _installed.cache_clear()


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r}{near(kind, KINDS)}; there are {', '.join(KINDS)}")
    return KINDS[kind]


def _parts(kind: str, ref: str | Reference) -> tuple[Reference, ...]:
    _kind(kind)
    if isinstance(ref, Reference):
        return (ref,)
    return parse_chain(ref) if kind in ("aggregator", "attack") else (parse(ref),)


def _resolve_one(kind: str, ref: Reference) -> Callable[..., Any]:
    if kind == "aggregator" and other_suites.is_foreign(ref.name):
        return other_suites.resolve(ref)
    target = find(kind, ref.name)
    spec = _kind(kind)
    plugin = not is_shipped(kind, ref.name)
    if plugin:
        check_plugin(kind, ref.name, target)
    if problem := signatures.mismatch(target, ref.options):
        raise PluginError(f"{ref.name}: {problem}")
    options = signatures.coerced(target, ref.options)
    if not (isinstance(target, type) and is_dataclass(target)):
        return partial(target, **options) if options else target
    try:
        built = cast(Callable[..., Any], target(**options))
    except (ValueError, TypeError) as error:  # its own __post_init__ refuses a value
        raise PluginError(f"{ref}: {error}") from error
    if plugin and (missing := [m for m in spec.members if not hasattr(built, m)]):
        raise PluginError(
            f"{ref.name} cannot be used as {spec.noun}: it needs {' and '.join(spec.members)}, "
            f"and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
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
    spec, ours, theirs = _kind(kind), shipped(kind), _installed(_kind(kind).group).get(name, ())
    if len(theirs) + (name in ours) > 1:
        owners = ["flipbench"] * (name in ours) + [_distribution(p) for p in theirs]
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
    known = [*shipped(kind), *_installed(_kind(kind).group)]
    return (
        f"unknown {_kind(kind).noun} {name!r}{near(name, known)}; there are {', '.join(known)}, "
        "and your own as 'pkg.mod:name' or 'path/file.py:name'"
    )


def check_plugin(kind: str, name: str, target: Any) -> None:
    """A plug-in must be callable and take what the bench will pass.

    Raises:
        PluginError: it is not, with what its author has to write.
    """
    spec = _kind(kind)
    if not callable(target):
        what = _with_article(type(target).__name__)
        raise PluginError(f"{name} is {what}, not a function or a class: name {_with_article(spec.noun)}")
    count = spec.positional
    if spec.noun == "attack":
        try:
            count = _ARGUMENTS[place_of_attack(target)]
        except ValueError as error:
            raise PluginError(f"{name}: {error}") from error
    if spec.members and not (isinstance(target, type) and is_dataclass(target)):
        raise PluginError(
            f"{name} cannot be used as {spec.noun}: a dataclass with {' and '.join(spec.members)} is needed, got "
            f"{'a class that is none' if isinstance(target, type) else 'a function'}"
        )
    if spec.members and "__call__" in vars(target):
        used = " and ".join(spec.members)
        raise PluginError(f"{name} cannot be used as {spec.noun}: its __call__ would be ignored, for {used} are used")
    if isinstance(target, type) and not spec.members and spec.noun not in _CALLED_CLASSES:
        _check_class(spec, name, target, count)
        return
    if count is None or (isinstance(target, type) and is_dataclass(target)):
        return
    if problem := signatures.wrong_positionals(target, count):
        raise PluginError(f"{name} cannot be used as {spec.noun}: {problem}")


def _place(value: Any) -> tuple[str, str]:
    """Where something is defined, under its wrappers."""
    inner = definitions.unwrapped(value)
    return inner.__module__, inner.__qualname__


def _check_class(spec: Kind, name: str, target: type, count: int | None) -> None:
    """A class must be a dataclass, whose fields are the options, with a ``__call__`` that takes what is passed."""
    what = _with_article(spec.noun)
    if not is_dataclass(target):
        raise PluginError(
            f"{name} is a plain class, and {what} is a function or a dataclass whose fields are its options: write "
            f"@dataclasses.dataclass(frozen=True) above it, and {_call_line(spec, target)}"
        )
    if hasattr(target, "search") or (spec.noun == "attack" and hasattr(target, "init")):
        return  # an attack that searches has no __call__; one that remembers is checked with its state
    remembers = spec.noun == "aggregator" and hasattr(target, "init")
    own = inspect.getattr_static(target, "__call__", None)
    if not inspect.isfunction(own):
        raise PluginError(f"{name} cannot be called, and {what} must be: give the class {_call_line(spec, target)}")
    if count is not None and (problem := signatures.wrong_positionals(own, 1 + count + remembers)):
        raise PluginError(f"{name} cannot be used as {spec.noun}: its __call__ does not fit: {problem}")


def _call_line(spec: Kind, target: type) -> str:
    """The line that the author of a class has to write."""
    if spec.noun == "aggregator":
        return "def __call__(self, updates, cohort, /) -> update (docs/writing_a_defence.md)"
    if spec.noun == "attack":
        first = place_of_attack(target)
        second = "labels, context" if first == "examples" else "context"
        return f"def __call__(self, {first}, {second}, /) (docs/writing_an_attack.md)"
    return "def __call__(self, ...) with the arguments of a function of its kind"


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


@lru_cache
def _installed(group: str | None) -> dict[str, tuple[EntryPoint, ...]]:
    installed: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group) if group else ():
        if point not in installed.get(point.name, ()):
            installed[point.name] = (*installed.get(point.name, ()), point)
    return installed


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"


def _source_hash(kind: str, name: str) -> str | None:
    if kind == "aggregator" and other_suites.is_foreign(name):
        return other_suites.source_hash(name)
    if ".py:" in name:
        return loading.file_hash(name)
    if source_text.is_code(name):
        return dependencies.hash_of_text(source_text.text(name))
    if ":" in name:
        target = loading.from_module(name)
        return _hash_of_module(name.partition(":")[0], target, "")
    target = find(kind, name)
    if is_shipped(kind, name):
        return versions.mark_of_entry(kind, name, _place(target))
    point = _installed(_kind(kind).group)[name][0]
    return _hash_of_module(point.module, target, _distribution(point))


def _hash_of_module(module: str, target: Any, version: str) -> str:
    files = {getattr(sys.modules[module], "__file__", None)}
    files.add(getattr(inspect.getmodule(target), "__file__", None))  # where it is defined, if it is only re-exported
    return dependencies.hash_of_module({file: loading.read_bytes(file) for file in files if file}, version)
