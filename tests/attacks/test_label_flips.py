"""Label flips: what each does to every class, and that exactly the stated labels of malicious clients change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipbench.attacks import ATTACKS, LabelContext
from flipbench.errors import UserError
from flipbench.federation.population import Population, class_map, populate
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin, normal

EXAMPLES = [
    "mirrored",
    "shifted(by=1)",
    "shifted(by=3)",
    "targeted(source=0, target=4)",
    "targeted(source=3, target=0)",
    "targeted(source=[0, 2], target=[2, 0])",
    "swapped(first=0, second=1)",
    "all_to_one(target=0)",
    "all_to_one(target=4)",
    "uniform",
    "resampled",
    "permuted(mapping={0: 1, 1: 2, 2: 0})",
]
RATES = [0.0, 0.1, 0.29, 0.5, 1.0]


def wanted(attack: str, y: int, classes: int) -> set[int] | None:
    """The definition, label by label: what y may become; None where it is not eligible."""
    others = set(range(classes)) - {y}
    match attack:
        case "mirrored":
            return {classes - 1 - y} if classes - 1 - y != y else None
        case "shifted(by=1)":
            return {(y + 1) % classes}
        case "shifted(by=3)":
            return {(y + 3) % classes}
        case "targeted(source=0, target=4)":
            return {4} if y == 0 else None
        case "targeted(source=3, target=0)":
            return {0} if y == 3 else None
        case "targeted(source=[0, 2], target=[2, 0])":
            return {0: {2}, 2: {0}}.get(y)
        case "swapped(first=0, second=1)":
            return {0: {1}, 1: {0}}.get(y)
        case "all_to_one(target=0)":
            return {0} if y != 0 else None
        case "all_to_one(target=4)":
            return {4} if y != 4 else None
        case "uniform":
            return others
        case "resampled":
            return others | {y}
        case "permuted(mapping={0: 1, 1: 2, 2: 0})":
            return {0: {1}, 1: {2}, 2: {0}}.get(y)
    raise AssertionError(attack)


def dealt(cell: Cell, labels: Tensor, classes: int) -> Population:
    attack = registry.resolve("attack", cell.attack) if cell.attacked else None
    return populate(cell, labels, classes, registry.resolve("partition", cell.partition), attack)


def labels_of(number: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, (number,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [5, 7, 10])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("attack", EXAMPLES)
def test_exactly_the_stated_labels_change(attack: str, rate: float, classes: int) -> None:
    labels = labels_of(700, classes)
    cell = Cell(clients=7, malicious_count=3, attack=attack, flip_rate=rate, seed=5)
    p = dealt(cell, labels, classes)
    assert torch.equal(p.labels, labels)
    assert len(p.malicious) == len(set(p.malicious)) == 3
    for client, rows in enumerate(p.parts):
        changed = (p.flipped[rows] != labels[rows]).nonzero().squeeze(1)
        if client not in p.malicious:
            assert len(changed) == 0
            continue
        flip = next(f for f in p.flips if f.client == client)
        eligible = sum(wanted(attack, int(y), classes) is not None for y in labels[rows])
        assert (flip.examples, flip.eligible, flip.selected) == (len(rows), eligible, round(rate * eligible))
        assert flip.changed == len(changed)
        if attack == "resampled":
            assert flip.changed <= flip.selected
        else:
            assert flip.changed == flip.selected
        for i in changed.tolist():
            may = wanted(attack, int(labels[rows[i]]), classes)
            assert may is not None
            assert int(p.flipped[rows[i]]) in may


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_reaches_every_other_class_equally(classes: int) -> None:
    labels = torch.arange(classes).repeat_interleave(3000)
    new = ATTACKS["uniform"](labels, LabelContext(classes, labels, torch.Generator().manual_seed(1))).labels
    for c in range(classes):
        counts = torch.bincount(new[labels == c], minlength=classes)
        assert counts[c] == 0
        expected = 3000 / (classes - 1)
        assert ((counts - expected).abs()[torch.arange(classes) != c] < 6 * expected**0.5).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 12),
    st.integers(0, 400),
    st.floats(0, 1),
    st.integers(0, 99),
    st.sampled_from(["mirrored", "uniform"]),
)
def test_counts_hold_for_any_size_and_rate(classes: int, number: int, rate: float, seed: int, attack: str) -> None:
    labels = labels_of(max(number, 4), classes, seed)
    p = dealt(Cell(clients=4, malicious_count=2, attack=attack, flip_rate=rate, seed=seed), labels, classes)
    for f in p.flips:
        assert f.selected == f.changed == round(rate * f.eligible)


def test_flips_are_the_same_for_every_rule_and_nested_over_rates_and_fractions() -> None:
    labels = labels_of(900, 10)
    base = Cell(clients=9, malicious_count=2, attack="uniform", flip_rate=0.3)
    a, b = dealt(base, labels, 10), dealt(replace(base, aggregator="krum", rounds=3), labels, 10)
    assert torch.equal(a.flipped, b.flipped)
    more_clients = dealt(replace(base, malicious_count=4), labels, 10)
    assert set(a.malicious) < set(more_clients.malicious)
    for client in a.malicious:
        assert torch.equal(a.flipped[a.parts[client]], more_clients.flipped[a.parts[client]])
    more = dealt(replace(base, flip_rate=0.8), labels, 10)
    changed = a.flipped != labels
    assert torch.equal(more.flipped[changed], a.flipped[changed])


def test_seeds_give_other_partitions_malicious_clients_and_flips() -> None:
    labels = labels_of(900, 10)
    cells = [Cell(clients=9, malicious_count=3, attack="uniform", flip_rate=0.5, seed=s) for s in range(6)]
    dealt_out = [dealt(c, labels, 10) for c in cells]
    assert len({p.malicious for p in dealt_out}) > 3
    assert len({tuple(p.parts[0].tolist()) for p in dealt_out}) == 6
    assert len({tuple(p.flipped.tolist()) for p in dealt_out}) == 6


def test_the_clean_twin_shares_everything_but_the_flip() -> None:
    labels = labels_of(500, 10)
    cell = Cell(clients=5, malicious_count=2, attack="mirrored", flip_rate=0.5, aggregator="krum", seed=3)
    twin = clean_twin(cell)
    a, b = dealt(cell, labels, 10), dealt(twin, labels, 10)
    assert all(torch.equal(x, y) for x, y in zip(a.parts, b.parts, strict=True))
    assert torch.equal(b.flipped, labels)
    assert (b.malicious, b.flips) == ((), ())
    assert twin.byzantine == cell.byzantine == 2
    assert normal(twin) == twin == clean_twin(twin)


@pytest.mark.parametrize(
    ("attack", "classes", "pairs"),
    [
        ("mirrored", 5, [(0, 4), (1, 3), (3, 1), (4, 0)]),
        ("targeted(source=0, target=3)", 5, [(0, 3)]),
        ("all_to_one(target=1)", 3, [(0, 1), (2, 1)]),
        ("uniform", 5, None),
        ("resampled", 5, None),
    ],
)
def test_the_class_map_is_read_off_the_attack(attack: str, classes: int, pairs: list[tuple[int, int]] | None) -> None:
    assert class_map(registry.resolve("attack", attack), classes) == pairs


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        ("targeted(source=3, target=10)", "class 10; this data has classes 0 to 9"),
        ("targeted(source=-1, target=0)", "class -1"),
        ("targeted(source=3, target=3)", "flips nothing"),
        ("targeted(source=[1, 2], target=3)", "as many targets as sources, got 2 and 1"),
        ("targeted(source=[1, 1], target=[2, 3])", "source twice"),
        ("shifted(by=10)", "changes no label"),
        ("all_to_one(target=11)", "class 11"),
        ("swapped(first=2, second=2)", "flips nothing"),
    ],
)
def test_flips_that_cannot_be_are_refused(attack: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        dealt(Cell(clients=4, malicious_count=1, attack=attack), labels_of(100, 10), 10)
