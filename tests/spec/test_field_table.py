"""The table of fields against what cells, keys and twins do with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.field_groups import (
    ATTACK_FIELDS,
    ATTACK_OPTIONS,
    LATER,
    LEVEL_FIELDS,
    OPEN_ENDED,
    PERCENT,
    TABLE,
    USUAL,
    of_groups,
)
from flipbench.spec.field_table import GROUPS, described, descriptions
from flipbench.spec.key import canonical_json, key
from flipbench.spec.labels import field_label, fields_line, value_label
from flipbench.spec.twins import clean_twin, normal
from tests.helpers.varied_cells import BASE, NEEDS, OTHER


def test_every_field_is_in_one_group_and_its_usual_value_is_what_a_cell_has() -> None:
    assert tuple(TABLE) == FIELDS
    assert sorted(name for group in GROUPS for name in of_groups(group)) == sorted(FIELDS)
    assert {name: getattr(Cell(), name) for name in FIELDS} == dict(USUAL)


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_of_the_attack_are_those_that_a_clean_twin_is_without(name: str) -> None:
    base = replace(BASE, declared_byzantine=3, **NEEDS.get(name, {}))
    varied = replace(base, **{name: OTHER[name]})
    if name == "malicious_data":  # sybils stay away: f of the twin is less by them
        varied = replace(varied, declared_byzantine=6)
    assert (clean_twin(varied) == clean_twin(base)) == (name in ATTACK_FIELDS)
    if name in ATTACK_FIELDS:
        assert getattr(clean_twin(varied), name) == (0 if name == "malicious_count" else USUAL[name])


def test_levels_are_the_fields_of_the_attack_and_the_declared_f() -> None:
    assert {*LEVEL_FIELDS} == {*ATTACK_FIELDS, "declared_byzantine"} - {"attack", "malicious_count"}
    assert {*ATTACK_OPTIONS} == {name for name in ATTACK_FIELDS if not name.startswith("malicious")}


@pytest.mark.parametrize("name", FIELDS)
def test_a_later_field_is_in_the_key_only_off_its_usual_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    monkeypatch.setattr("flipbench.spec.key.hashlib.sha256", lambda text: hashed.append(text) or _Digest())
    base = replace(BASE, **NEEDS.get(name, {}))
    for value in (USUAL[name], OTHER[name]):
        if name in ("local_steps", "local_epochs", "malicious_count", "malicious_fraction") and value is None:
            continue  # the normal form sets them
        cell = replace(base, **{name: value})
        key(cell, {})
        member = canonical_json({name: getattr(normal(cell), name)})[1:-1]
        assert (member in hashed[-1]) == (name not in LATER or value != USUAL[name])


class _Digest:
    def hexdigest(self) -> str:
        return ""


def test_labels_and_units_come_from_the_table() -> None:
    assert (field_label("declared_byzantine"), field_label("flip_rate")) == ("declared f", "flip rate")
    assert {"flip_rate", "malicious_fraction", "attack_availability"} == set(PERCENT)
    assert [value_label(name, 0.5) for name in ("flip_rate", "learning_rate")] == ["50 %", "0.5"]
    assert OPEN_ENDED == {"attack_stop": "the last"}
    assert [value_label(name, None) for name in ("attack_stop", "clip_update")] == ["the last", "none"]
    assert fields_line({"loss": "cross_entropy", "clip_update": None, "rounds": 30}) == "rounds 30"
    assert fields_line({"loss": "class_balanced"}) == "loss class_balanced"


def test_a_field_without_a_description_is_refused() -> None:
    @dataclass
    class Another:
        known: int = described(1, "data")
        unknown: int = 2

    with pytest.raises(KeyError):
        descriptions(Another)
