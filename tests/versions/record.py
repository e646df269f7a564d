"""``make versions``: writes `bench/versions/code_versions.json` anew, and the golden numbers beside it.

Source may change as long as the golden numbers stay: then its new fingerprint is recorded under the version that it
has. Where they changed, the version of the rule, attack, ... or of the engine is raised by one. A change that the
golden cases do not show is raised by name:

    .venv/bin/python -m tests.versions.record "aggregator krum" engine
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace

from flipbench.plugins import kinds, registry
from flipbench.versions import sources
from flipbench.versions.reach import Reached
from flipbench.versions.syntax import fingerprint
from flipbench.versions.table import TABLE, Known, Table, engine_sources, entry_source, table
from tests.versions import golden_numbers


def main(raised: Iterable[str]) -> None:
    """Record the present source, with the versions that it needs."""
    before = table() if TABLE.exists() else Table(1, {}, {}, {})
    now, stored = golden_numbers.numbers(), golden_numbers.stored()
    names = {f"{kind} {name}" for kind in kinds.KINDS for name in registry.shipped(kind)} | {"engine"}
    if unknown := sorted({*raised} - names):
        raise SystemExit(f"no such thing in the table: {', '.join(unknown)}; write it like 'aggregator krum' or engine")
    moved = {golden_numbers.entry(name) for name in golden_numbers.differing(now, stored)}
    # A changed engine moves the golden cells of attacks and models too; a changed rule or model moves its own.
    if "engine" in moved:
        own = {name for name in moved if name != "engine" and _source_changed(name, before)}
        moved = {name for name in moved if name.startswith(("aggregator ", "preaggregation "))} | own | {"engine"}
    moved |= {*raised}
    after = _recorded(before, moved)
    TABLE.write_text(as_text(after), encoding="utf-8")
    golden_numbers.FILE.write_text(_lines(_golden(now, stored, moved)), encoding="utf-8")
    for name in sorted(moved):
        print(f"{name}: version {_version(after, name)}")
    print(f"recorded {len(after.modules)} modules in {TABLE.name}" + ("" if moved else "; no version was raised"))


def _golden(now: Mapping[str, object], stored: Mapping[str, object], moved: set[str]) -> dict[str, object]:
    """The golden numbers to keep: new ones where a version is raised or a case is new.

    All others stay as they are: a low bit of another processor or library would move them a little with each call,
    until the numbers of the version are lost.
    """
    return {name: now[name] if golden_numbers.entry(name) in moved else stored.get(name, now[name]) for name in now}


def _version(said: Table, name: str) -> int:
    if name == "engine":
        return said.engine
    kind, _, entry = name.partition(" ")
    known = said.entries.get(kind, {}).get(entry)
    return 1 if known is None else known.version


def _source_changed(name: str, before: Table) -> bool:
    kind, _, entry = name.partition(" ")
    known = before.entries.get(kind, {}).get(entry)
    return known is None or known.source != entry_source(registry.place(kind, entry))


def _recorded(before: Table, moved: set[str]) -> Table:
    """The table of the present source: versions of what moved are raised, and of the changed modules behind it."""
    entries: dict[str, dict[str, Known]] = {}
    behind: set[str] = set()  # changed or not: modules that hold a part of what moved
    homes: set[str] = set()  # modules that define what moved
    for kind in kinds.KINDS:
        for name in registry.shipped(kind):
            label = f"{kind} {name}"
            version = _version(before, label) + (label in moved)
            reached = Reached(sources.read)
            reached.add(*registry.place(kind, name))
            entries.setdefault(kind, {})[name] = Known(version, reached.fingerprint())
            behind |= reached.modules if label in moved else set()
            homes |= {registry.place(kind, name)[0]} if label in moved else set()
    if "engine" in moved:
        behind |= {m for m in sources.contents() if sources.in_engine(m)}
    modules = {}
    for module, source in sources.contents().items():
        known = before.modules.get(module, Known(1, ""))
        syntax = fingerprint(source)
        changed = (bool(known.source) and syntax != known.source and module in behind) or module in homes
        modules[module] = Known(known.version + changed, syntax)
    return replace(
        before,
        engine=before.engine + ("engine" in moved),
        entries=entries,
        parts=engine_sources(frozenset(registry.shipped_places())),
        modules=modules,
        digests={module: sources.digest(source) for module, source in sources.contents().items()},
    )


def as_text(said: Table) -> str:
    """The file of a table, one thing a line, so that changes of different things merge."""
    entries = [
        f"  {json.dumps(f'{kind} {name}')}: {json.dumps([known.version, known.source])}"
        for kind, names in said.entries.items()
        for name, known in names.items()
    ]
    modules = []
    for module, known in sorted(said.modules.items()):
        parts = [f'"version": {known.version}', f'"syntax": "{known.source}"']
        parts += [f'"engine": "{said.parts[module]}"'] if module in said.parts else []
        parts += [f'"bytes": "{said.digests[module]}"']
        modules.append(f'  "{module}": {{{", ".join(parts)}}}')
    middle = ",\n".join(entries), ",\n".join(modules)
    return f'{{\n "engine": {said.engine},\n "entries": {{\n{middle[0]}\n }},\n "modules": {{\n{middle[1]}\n }}\n}}\n'


def _lines(numbers: dict[str, object]) -> str:
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(numbers.items()))
    return f"{{\n{lines}\n}}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
