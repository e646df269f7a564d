"""What the numbers of a name depend on beyond its text, as a hash that enters the key of every cell with this name."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flipbench.plugins import loading, other_suites, registry, source_text, user_modules
from flipbench.plugins.import_statements import holds_code, imported, parents
from flipbench.plugins.user_modules import Modules
from flipbench.spec.reference import Reference
from flipbench.versions import table as versions


def source_hash(kind: str, ref: str | Reference) -> str | None:
    """What the name's meaning depends on beyond its text, mostly as SHA-256; None for shipped code at version 1.

    A shipped name: ``version 2`` of its numbers, or ``edited`` with a hash where its source is not what was measured.
    A loose file: its bytes. A module: the bytes of its file and of the file that defines the object. An entry
    point: these and the version of its distribution. With each, the modules that it imports: the user's own, and
    flipbench's. A chain: the hashes of its plug-ins in order.
    """
    hashes = [_of_name(link_kind, link.name) for link_kind, link in registry.links(kind, ref)]
    if len(hashes) == 1 or not any(hashes):
        return hashes[0]
    return hashlib.sha256("|".join(h or "" for h in hashes).encode()).hexdigest()


def engine_mark() -> str | None:
    """What of the code that all cells share enters keys, as of `source_hash`; None at version 1 of its numbers."""
    return versions.mark_of_engine(registry.shipped_places)


def engine_source() -> str:
    """The version of the numbers of the code that all cells share, and its fingerprint, for the provenance."""
    return versions.engine_of_record(registry.shipped_places)


def _of_name(kind: str, name: str) -> str | None:
    if kind == "aggregator" and other_suites.is_foreign(name):
        return other_suites.source_hash(name)
    if ".py:" in name:
        path = name.rpartition(":")[0]
        return _of_file(loading.place(path).resolve(), loading.read_bytes(path))
    if source_text.is_code(name):  # it names the users' modules that it imports
        source = source_text.text(name).encode()
        return _joined(hashlib.sha256(source), [], [source])
    target = registry.find(kind, name)
    if ":" in name:
        return _of_module(name.partition(":")[0], target, "")
    if registry.is_shipped(kind, name):
        return versions.mark_of_entry(kind, name, registry.place(kind, name))
    point = registry.entry_point(kind, name)
    return _of_module(point.module, target, registry.distribution(point))


def _of_file(path: Path, source: bytes) -> str:
    """SHA-256 of a loose file; with what it imports, where it imports more than installed packages.

    Args:
        path: of the file, resolved.
        source: its bytes.
    """
    beside = user_modules.beside(path, source)
    tops = {name.partition(".")[0] for name in beside}
    names = [*imported(source, ""), *(n for name, module in beside.items() for n in module.imports(name))]
    others = [n for n in names if n.partition(".")[0] not in tops]
    uses = _with_code(user_modules.reached(others, user_modules.importable, path))
    lines = [*user_modules.lines("beside", _with_code(beside)), *user_modules.lines("uses", uses)]
    return _joined(hashlib.sha256(source), lines, [source, *_sources(beside), *_sources(uses)])


def _of_module(module: str, target: Any, version: str) -> str:
    """SHA-256 of an importable module; with the modules that it reaches, its package's and the user's own.

    Args:
        module: its name.
        target: what is named in it, which may be defined in another module.
        version: of the distribution; empty: not known.
    """
    files = {getattr(m, "__file__", None) for m in (sys.modules[module], inspect.getmodule(target))}
    own = {file: loading.read_bytes(file) for file in files if file}
    digest = hashlib.sha256(version.encode())
    for _, content in sorted(own.items()):
        digest.update(hashlib.sha256(content).digest())
    loaded = {name: m for name, m in list(sys.modules.items()) if getattr(m, "__file__", None) in own}
    tops = frozenset(name.partition(".")[0] for name in loaded) if not version else frozenset[str]()
    names: list[str] = []
    for name, held in loaded.items():
        package = name if hasattr(held, "__path__") else name.rpartition(".")[0]
        names += [*parents(name), *imported(own[str(held.__file__)], package)]
    found = user_modules.reached(names, lambda name: user_modules.importable(name, tops))
    uses = _with_code({name: m for name, m in found.items() if name not in loaded})
    return _joined(digest, user_modules.lines("uses", uses), [*own.values(), *_sources(uses)])


def _with_code(modules: Modules) -> Modules:
    return {name: module for name, module in modules.items() if holds_code(module.source)}


def _sources(modules: Modules) -> list[bytes]:
    return [module.source for module in modules.values()]


def _joined(digest: hashlib._Hash, lines: list[str], code: Iterable[bytes]) -> str:
    """The hash as it is, and over more only where there is more: what imports nothing of the kind keeps its hash.

    Args:
        digest: so far.
        lines: of the user's own modules.
        code: whose imports from flipbench count.
    """
    mark = versions.mark_of_code(code)
    for line in lines if mark is None else [*lines, f"flipbench {mark}"]:
        digest.update(b"\0" + line.encode())
    return digest.hexdigest()
