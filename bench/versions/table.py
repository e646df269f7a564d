"""Numerics versions: the table of `code_versions.json`, and how the source that runs compares with it.

The table says for each shipped rule, attack, model and the like, and for the engine that all cells share, which version
of the numbers it gives, and the fingerprint of the source that was measured to give them. Source with another
fingerprint was edited: it makes other experiments, with keys of their own. At version 1 nothing enters a key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from flipbench.versions import sources
from flipbench.versions.reach import Place, Reached
from flipbench.versions.syntax import Module, fingerprint, parse, short_hash

TABLE = Path(__file__).with_name("code_versions.json")
EDITED = "edited "  # begins the mark of source that is not in the table


@dataclass(frozen=True)
class Known:
    """Source whose numbers were measured.

    Attributes:
        version: of the numbers.
        source: fingerprint of what gives them.
    """

    version: int
    source: str


@dataclass(frozen=True)
class Table:
    """What `code_versions.json` says.

    Attributes:
        engine: version of what all cells share.
        entries: kind -> name -> a shipped rule, attack, ....
        parts: module of the engine -> fingerprint of what it adds to it.
        modules: module -> its syntax; `Known.version` counts how often its change changed numbers.
        digests: module -> hash of its file's bytes, which spares reading its syntax.
    """

    engine: int
    entries: Mapping[str, Mapping[str, Known]]
    parts: Mapping[str, str]
    modules: Mapping[str, Known]
    digests: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def table() -> Table:
    """The table of this version of flipbench."""
    said: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    known: dict[str, dict[str, Known]] = {}
    for name, (version, source) in said["entries"].items():
        kind, _, entry = name.partition(" ")
        known.setdefault(kind, {})[entry] = Known(version, source)
    modules: dict[str, Any] = said["modules"]
    return Table(
        engine=said["engine"],
        entries=known,
        parts={module: line["engine"] for module, line in modules.items() if "engine" in line},
        modules={module: Known(line["version"], line["syntax"]) for module, line in modules.items()},
        digests={module: line["bytes"] for module, line in modules.items()},
    )


def mark_of_entry(kind: str, name: str, place: Place) -> str | None:
    """What of a shipped rule, attack, ... enters keys: ``version 2``, ``edited 3f2a...``; None for version 1.

    Args:
        kind: a key of `plugins.kinds.KINDS`.
        name: as a grid writes it.
        place: where it is defined.
    """
    known = table().entries.get(kind, {}).get(name)
    if known is None:
        return EDITED + entry_source(place)
    if edited() and (now := entry_source(place)) != known.source:
        return EDITED + now
    return _version(known.version)


def mark_of_engine(entries: Callable[[], Iterable[Place]]) -> str | None:
    """What of the engine enters keys, as of `mark_of_entry`.

    Args:
        entries: where the shipped rules, attacks and the like are defined: they have marks of their own.
    """
    if edited():
        now = engine_sources(frozenset(entries()))
        if now != table().parts:
            changed = sorted({*now.items()} ^ {*table().parts.items()})
            return EDITED + short_hash(repr(changed))
    return _version(table().engine)


def engine_of_record(entries: Callable[[], Iterable[Place]]) -> str:
    """The engine as a record names it: ``1 (3f2a9c12)``, version and fingerprint; ``edited`` where it is not known.

    Args:
        entries: as of `mark_of_engine`.
    """
    if (mark := mark_of_engine(entries) or "").startswith(EDITED):
        return mark
    return f"{table().engine} ({short_hash(repr(sorted(table().parts.items())))[:8]})"


def mark_of_code(code: Iterable[bytes]) -> str | None:
    """What of flipbench a plug-in depends on that imports from it: as of `mark_of_entry`, of all together.

    Args:
        code: sources of the plug-in's modules.
    """
    raised = {module: known.version for module, known in table().modules.items() if known.version > 1}
    if not raised and not edited():
        return None
    reached = Reached(lambda name: own.get(name) or sources.read(name))
    own: dict[str, Module] = {}
    for place, source in enumerate(code):
        name = f"<{place}>"
        try:
            own[name] = parse(source, name, False)
        except (SyntaxError, ValueError):  # it fails where it is imported, with a message that names its line
            continue
        reached.add_statements(name, own[name].statements)
    if reached.modules & edited():
        return EDITED + reached.fingerprint()
    mine = sorted((module, version) for module, version in raised.items() if module in reached.modules)
    return f"version {short_hash(repr(mine))}" if mine else None


def entry_source(place: Place) -> str:
    """Fingerprint of a shipped rule, attack, ... with all of flipbench that it reaches."""
    reached = Reached(sources.read)
    reached.add(*place)
    return reached.fingerprint()


@lru_cache(maxsize=4)
def engine_sources(entries: frozenset[Place]) -> dict[str, str]:
    """Module of the engine -> fingerprint of it, with what it reaches outside the engine.

    Args:
        entries: what is left out.
    """
    found = {}
    for module in filter(sources.in_engine, sources.contents()):
        held = sources.read(module)
        if held is None:
            found[module] = fingerprint(sources.contents()[module])
            continue
        reached = Reached(sources.read, entries, sources.in_library)
        own = [s for s in held.statements if not any((module, name) in entries for name in s.names)]
        reached.add_statements(module, own)
        found[module] = reached.fingerprint()
    return found


@lru_cache(maxsize=1)
def edited() -> frozenset[str]:
    """Modules whose syntax is not that of the table; new and missing ones too."""
    held, said = sources.contents(), table()
    found = {*held.keys() ^ said.modules.keys()}
    for module in held.keys() & said.modules.keys():
        source = held[module]
        if sources.digest(source) != said.digests[module] and fingerprint(source) != said.modules[module].source:
            found.add(module)
    return frozenset(found)


def forget() -> None:
    """Read the sources again when a mark is asked for; the table stays, as the code that runs does."""
    sources.forget()
    for cached in (engine_sources, edited):
        cached.cache_clear()


def _version(number: int) -> str | None:
    return None if number == 1 else f"version {number}"
