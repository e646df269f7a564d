"""A cell's facts, its one spelling, its key and its seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.key import key
from flipbench.spec.seeds import named_seed
from flipbench.spec.twins import clean_twin, normal
from tests.helpers.varied_cells import BASE, NEEDS, OTHER


def test_every_field_has_a_case() -> None:
    assert set(OTHER) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_changes_the_key(name: str) -> None:
    base = replace(BASE, **NEEDS.get(name, {}))
    content = {"dataset": "0" * 64}
    assert key(replace(base, **{name: OTHER[name]}), content) != key(base, content)
    assert key(base, {"dataset": "1" * 64}) != key(base, content)
    assert key(base, content | {"aggregator": "2" * 64}) != key(base, content)


def test_content_changes_the_key_and_the_place_of_a_file_does_not() -> None:
    assert key(BASE, {"dataset": "a"}) != key(BASE, {"dataset": "b"})
    here, there = (replace(BASE, dataset=f"ham10000(path='/{p}.csv')") for p in "ab")
    assert (
        key(here, {"dataset": "a"})
        == key(there, {"dataset": "a"})
        == key(replace(BASE, dataset="ham10000"), {"dataset": "a"})
    )


def test_spellings_of_one_experiment_share_a_key() -> None:
    a = Cell(malicious_fraction=0.2, attack="targeted(target=4,  source=6)", aggregator="trimmed_mean( trim = 3 )")
    b = Cell(
        malicious_count=4,
        declared_byzantine=4,
        attack="targeted(source=6, target=4)",
        aggregator="trimmed_mean(trim=3)",
        local_epochs=1,
    )
    assert key(a, {}) == key(b, {})
    clean = [Cell(malicious_fraction=0.2, flip_rate=r, declared_byzantine=4) for r in (0.1, 0.9)]
    assert key(clean[0], {}) == key(clean[1], {}) == key(clean_twin(a), {}) if a.aggregator == "fedavg" else True
    assert clean_twin(replace(a, aggregator="fedavg")) == normal(clean[0])


@pytest.mark.parametrize(
    ("fraction", "clients", "number"),
    [(0.29, 100, 29), (0.3, 10, 3), (0.25, 10, 3), (0.7, 10, 7), (0.1, 4, 0), (1.0, 9, 9)],
)
def test_fractions_become_the_nearest_number_without_float_truncation(
    fraction: float, clients: int, number: int
) -> None:
    assert Cell(malicious_fraction=fraction, clients=clients).malicious == number


def test_the_declared_f_is_the_expected_number_under_sampling() -> None:
    assert Cell(clients=100, clients_per_round=10, malicious_count=25, attack="mirrored").byzantine == 3
    assert Cell(clients=100, malicious_count=25, attack="mirrored", declared_byzantine=0).byzantine == 0


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"local_epochs": 1, "local_steps": 1}, "keep one"),
        ({"malicious_fraction": 0.1, "malicious_count": 1}, "keep one"),
        ({"malicious_count": 21}, "more than the 20 clients"),
        ({"clients_per_round": 21}, "more than the 20 clients"),
        ({"declared_byzantine": 21}, "declared_byzantine is 21, more than the 20 clients"),
        ({"attack_start": 5, "attack_stop": 4}, "before attack_start 5"),
        ({"malicious_data": "fresh", "malicious_fraction": 0.1}, "give malicious_count"),
        ({"malicious_data": "fresh", "malicious_count": 4, "clients_per_round": 25, "attack": "mirrored"}, "the 24 cl"),
        ({"drop_last": True, "local_steps": 2}, "local_steps has none: leave drop_last out"),
        ({"drop_last": True, "batch_size": "full"}, "batch_size full has none"),
        ({"sampling": "balanced"}, "sampling balanced needs local_steps"),
        ({"sampling": "independent", "local_steps": 1, "batch_size": "full"}, "a batch_size that is a number"),
        ({"schedule": "cosine", "schedule_clock": "participation"}, "cosine ends with the last round"),
        ({"schedule": "cosine(floor=0.1)", "schedule_start": 3}, "use schedule_clock round, schedule_start 0"),
        ({"validation_share": 1.0}, "less than 1"),
        ({"clip_update": 0.0}, "greater than 0"),
        ({"reduction": "total"}, "'mean' or 'sum'"),
        ({"clients": 2.5}, "int"),
        ({"clients": True}, "int"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "greater than 0|finite"),
        ({"momentum": 1.0}, "less than 1"),
        ({"flip_rate": 1.5}, "less than or equal to 1"),
        ({"batch_size": "all"}, "full"),
        ({"aggregator": "krum | "}, "empty part"),
        ({"partition": "iid | iid"}, "only aggregators and attacks can be chains"),
        ({"aggregator": "../../etc/passwd"}, "not a name"),
        ({"aggregator": "krum(__import__('os'))"}, "options"),
        ({"rule": "krum"}, "rule"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Cell(**facts)


def test_what_a_fact_does_not_say_is_not_in_the_key() -> None:
    for spelled in (
        {"schedule_clock": "client_step", "schedule_start": 9},
        {"optimiser_state": "kept"},
        {"malicious_data": "fresh"},
        {"flips_trained": False},
    ):
        assert key(Cell(**spelled), {}) == key(Cell(), {})
    assert key(Cell(evaluate_last=31), {}) == key(Cell(evaluate_last=30), {}) != key(Cell(evaluate_last=29), {})


@pytest.mark.parametrize(("declared", "left"), [(None, 0), (2, 0), (7, 4)])
def test_sybils_stand_on_top_of_the_clients_and_the_twin_is_without_them(declared: int | None, left: int) -> None:
    cell = Cell(clients=10, malicious_count=3, malicious_data="fresh", attack="mirrored", declared_byzantine=declared)
    assert (cell.members, cell.per_round, cell.sybils) == (13, 13, 3)
    assert cell.byzantine == (3 if declared is None else declared)
    twin = clean_twin(cell)
    assert (twin.members, twin.malicious, twin.byzantine) == (10, 0, left)
    assert twin == clean_twin(normal(cell)) == normal(twin)
    assert key(twin, {}) == key(Cell(clients=10, declared_byzantine=left), {})
    honest = replace(cell, attack="none")  # sybils that do not attack stay away too
    assert key(honest, {}) == key(twin, {})
    many = replace(cell, clients_per_round=12)
    assert clean_twin(many).per_round == 10
    assert replace(cell, clients_per_round=12, declared_byzantine=None).byzantine == 3


@given(st.integers(0, 2**31 - 1), st.text(max_size=5), st.integers(0, 9))
def test_named_seeds_differ_by_purpose_and_replicate(seed: int, purpose: str, which: int) -> None:
    one = named_seed(seed, purpose, which)
    assert 0 <= one < 2**63
    assert one == named_seed(seed, purpose, which)
    assert one != named_seed(seed + 1, purpose, which)
    assert one != named_seed(seed, purpose + "x", which)
    assert one != named_seed(seed, purpose, which, 0)
