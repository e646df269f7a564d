"""The search over label maps, against federations that are made up: what it tries, keeps and chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipbench.attacks import Found, LabelContext, LabelFlip, Trials, mirrored, permuted, worst_case
from flipbench.attacks.labels.searched import harm

LabelMap = dict[int, int]


def map_of(flip: LabelFlip, classes: int) -> LabelMap:
    """Where a flip sends each class (a class of a random flip: where it sends one example)."""
    labels = torch.arange(classes)
    even = torch.full((classes, classes), 1 / classes, dtype=torch.float64)
    context = LabelContext(classes, labels, torch.Generator().manual_seed(0), confusion=lambda: even)
    return dict(enumerate(flip(labels, context).labels.tolist()))


def trials(classes: int, damage: Callable[[LabelMap], float], ran: list[tuple[LabelMap | None, int]]) -> Trials:
    """A world in which a flip costs every class the share of its test examples that ``damage`` says."""

    def run(flips: Sequence[LabelFlip | None], rounds: int) -> list[Tensor]:
        out = []
        for flip in flips:
            mapping = None if flip is None else map_of(flip, classes)
            ran.append((mapping, rounds))
            lost = 0.0 if mapping is None else damage(mapping)
            matrix = torch.eye(classes, dtype=torch.int64) * 1000
            for s in range(classes):
                moved = round(1000 * lost)
                matrix[s, s] -= moved
                matrix[s, (mapping or {}).get(s, s)] += moved
            out.append(matrix)
        return out

    return Trials(classes, torch.full((classes,), 9), run, 24, torch.Generator().manual_seed(0))


def to_three(mapping: LabelMap) -> float:
    """Harm grows with the number of classes sent to 3, most if class 0 goes to 1."""
    return 0.05 * sum(t == 3 for t in mapping.values()) + 0.3 * (mapping[0] == 1)


def test_it_finds_a_map_that_no_static_flip_has() -> None:
    ran: list[tuple[LabelMap | None, int]] = []
    found = worst_case(trials=200).search(trials(6, to_three, ran))
    assert isinstance(found, Found)
    mapping = map_of(found.flip, 6)
    assert mapping[0] == 1
    assert sum(t == 3 for t in mapping.values()) >= 4
    assert found.report["flip"].startswith("permuted")
    assert found.mapping == {s: t for s, t in mapping.items() if s != t}


def test_the_number_of_trials_is_the_stated_one_and_no_map_is_tried_twice_in_a_stage() -> None:
    ran: list[tuple[LabelMap | None, int]] = []
    found = worst_case(trials=48, finalists=8).search(trials(10, to_three, ran))
    short = [m for m, rounds in ran if rounds == 8]
    full = [m for m, rounds in ran if rounds == 24]
    assert len(short) == found.report["trials"] == 49
    assert len(full) == found.report["full_trials"]
    assert short[0] is None
    assert full[0] is None
    fixed = [tuple(m.items()) for m in short[1:] if m is not None][:20]
    assert len(set(fixed)) == len(fixed)
    assert len(full) - 1 >= 8
    whole = [tuple(m.items()) for m in full[1:] if m is not None]
    assert len(whole) - len(set(whole)) <= 1  # uniform and confusable may look like a map here


@given(st.integers(2, 6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_it_never_does_less_than_any_static_flip_that_it_tried(classes: int, chance: object) -> None:
    """Whatever the world is like, when short trials tell the truth."""
    table = torch.rand(classes, classes, generator=torch.Generator().manual_seed(chance.randrange(2**30)))  # type: ignore[attr-defined]

    def damage(mapping: LabelMap) -> float:
        return round(float(sum(table[s, t] for s, t in mapping.items() if s != t)) / classes, 3)

    found = worst_case().search(trials(classes, damage, []))
    static = [dict.fromkeys(range(classes), t) for t in range(classes)]
    static += [{s: classes - 1 - s for s in range(classes)}]
    static += [{s: (s + 1) % classes for s in range(classes)}]
    assert found.report["harm"] >= max(damage(m) for m in static) - 2e-3


def test_it_is_the_same_twice() -> None:
    one, two = (worst_case(trials=60).search(trials(8, to_three, [])) for _ in range(2))
    assert one.report == two.report


def test_a_task_of_two_classes_runs_out_of_maps() -> None:
    found = worst_case(trials=40).search(trials(2, lambda m: 0.5 * (m == {0: 1, 1: 1}), []))
    assert found.report["flip"] == "all_to_one(target=1)"


def test_harm_by_hand() -> None:
    clean = torch.tensor([[8, 2], [0, 10]])
    attacked = torch.tensor([[2, 8], [0, 10]])
    assert harm("accuracy", clean, attacked, {0: 1}) == pytest.approx(0.3)
    assert harm("source_recall", clean, attacked, {0: 1}) == pytest.approx(0.6)
    assert harm("source_recall", clean, attacked, None) == pytest.approx(0.3)
    assert harm("attack_success_rate", clean, attacked, {0: 1}) == pytest.approx(0.6)
    assert harm("attack_success_rate", clean, attacked, None) == float("-inf")
    empty = torch.tensor([[0, 0], [0, 10]])
    assert harm("source_recall", empty, empty, {0: 1}) == float("-inf")


def test_its_options_are_checked() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        worst_case(trials=0)
    with pytest.raises(ValueError, match="1 or more"):
        worst_case(finalists=0)


def test_the_published_flips_are_among_the_first() -> None:
    ran: list[tuple[LabelMap | None, int]] = []
    worst_case(trials=34, finalists=1).search(trials(10, to_three, ran))
    tried = [m for m, rounds in ran if rounds == 8 and m is not None]
    assert map_of(mirrored, 10) in tried
    assert all(dict.fromkeys(range(10), t) in tried for t in range(10))
    assert map_of(partial(permuted, mapping={s: (s + 1) % 10 for s in range(10)}), 10) in tried
