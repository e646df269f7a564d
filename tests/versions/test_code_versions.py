"""The table of versions is that of the source, and the golden numbers are those of the versions."""

from __future__ import annotations

from flipbench.plugins import kinds, registry
from flipbench.versions.table import edited, engine_sources, entry_source, table
from tests.versions import golden_numbers, record

RECORD = "run `make versions`: it records changed source, and raises the version of what gives other numbers"


def test_the_source_of_every_shipped_rule_attack_and_model_is_in_the_table() -> None:
    shipped = {(kind, name): registry.place(kind, name) for kind in kinds.KINDS for name in registry.shipped(kind)}
    known = {(kind, name): known for kind, names in table().entries.items() for name, known in names.items()}
    assert known.keys() == shipped.keys(), RECORD
    stale = [f"{kind} {name}" for (kind, name), at in shipped.items() if known[kind, name].source != entry_source(at)]
    assert not stale, RECORD


def test_the_source_of_the_engine_is_in_the_table() -> None:
    now = engine_sources(frozenset(registry.shipped_places()))
    stale = sorted({module for module, _ in {*now.items()} ^ {*table().parts.items()}} | edited())
    assert not stale, RECORD


def test_the_numbers_are_those_of_the_versions() -> None:
    now, before = golden_numbers.numbers(), golden_numbers.stored()
    assert not golden_numbers.differing(now, before), f"other numbers: {RECORD}, and say in the changelog which changed"
    assert now.keys() == before.keys(), RECORD


def test_every_shipped_thing_has_a_golden_case() -> None:
    covered = {golden_numbers.entry(name) for name in golden_numbers.stored()}
    shipped = {(kind, name) for kind in kinds.KINDS for name in registry.shipped(kind)}
    assert {f"{kind} {name}" for kind, name in shipped - golden_numbers.NEEDS_FILES} <= covered


def test_golden_numbers_change_with_their_version_alone() -> None:
    stored = {"engine sums": 1.0, "aggregator krum: far": 2.0, "aggregator mean: far": 3.0, "attack gone": 4.0}
    now = {"engine sums": 1.001, "aggregator krum: far": 2.5, "aggregator mean: far": 3.001, "attack new": 5.0}
    kept = record._golden(now, stored, {"aggregator krum"})
    assert kept == {"engine sums": 1.0, "aggregator krum: far": 2.5, "aggregator mean: far": 3.0, "attack new": 5.0}


def test_numbers_that_are_rounding_may_differ_and_others_may_not() -> None:
    before = {
        "attack mimic": {"gap": [3.1e-8, 2.2e-8]},
        "aggregator krum: far": [0.5, 40.0],
        "aggregator mda: far": [2e-3],
    }
    rounding = {"attack mimic": {"gap": [5e-9, 7.4e-8]}, "aggregator krum: far": [0.55, 40.0]}
    assert golden_numbers.differing(rounding, before) == []
    others = {
        "attack mimic": {"gap": [3.1e-8, 1e-5]},
        "aggregator krum: far": [0.5, 40.1],
        "aggregator mda: far": [2.01e-3],
    }
    assert sorted(golden_numbers.differing(others, before)) == sorted(others)
