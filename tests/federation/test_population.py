"""Sybils, examples held out, and how batches are drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipbench.attacks import targeted
from flipbench.data.partitions import iid
from flipbench.errors import UserError
from flipbench.federation.batch_sampling import BatchStream
from flipbench.federation.population import populate
from flipbench.federation.sybil_data import fresh, of_class
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin

LABELS = torch.arange(5).repeat(60)[torch.randperm(300, generator=torch.Generator().manual_seed(3))]
CELL = Cell(clients=6, malicious_count=2, malicious_data="fresh", attack="targeted(source=1, target=4)")
FLIP = partial(targeted, source=1, target=4)


def people(cell: Cell, data: Any = fresh) -> Any:
    return populate(cell, LABELS, 5, iid, FLIP if cell.attacked else None, sybil_data=data)


def test_sybils_hold_copies_and_the_honest_keep_all_that_they_had() -> None:
    p, twin = people(CELL, partial(of_class, label=1)), people(clean_twin(CELL))
    assert p.malicious == (6, 7)
    assert len(twin.parts) == 6
    assert all(torch.equal(a, b) for a, b in zip(p.parts, twin.parts, strict=False))
    assert torch.equal(p.labels, LABELS[p.source])
    ones = (LABELS == 1).nonzero().squeeze(1)
    for sybil in p.malicious:
        rows = p.parts[sybil]
        assert torch.equal(p.source[rows], ones)
        assert bool((p.flipped[rows] == 4).all())
    honest = torch.cat(p.parts[:6])
    assert torch.equal(p.flipped[honest], LABELS[honest])  # the same pictures, with their true labels
    assert len({int(r) for part in p.parts for r in part}) == 300 + 2 * len(ones)
    assert [f.examples for f in p.flips] == [f.changed for f in p.flips] == [len(ones)] * 2


def test_fresh_samples_differ_between_sybils_and_are_nested_over_their_number() -> None:
    few, many = people(CELL), people(replace(CELL, malicious_count=4))
    held = [many.source[many.parts[c]] for c in many.malicious]
    assert [len(h) for h in held] == [50] * 4  # as many as an honest client
    assert all(len(h.unique()) == 50 for h in held)
    assert len({tuple(h.tolist()) for h in held}) == 4
    for sybil in few.malicious:
        assert torch.equal(few.source[few.parts[sybil]], held[sybil - 6])
    asked = people(CELL, partial(fresh, examples=300))
    assert torch.equal(asked.source[asked.parts[7]], torch.arange(300))


def test_flip_rates_hold_for_each_sybil_alone() -> None:
    p = people(replace(CELL, flip_rate=0.5), partial(of_class, label=[1, 2]))
    a, b = (p.flipped[p.parts[s]] != p.labels[p.parts[s]] for s in p.malicious)
    assert int(a.sum()) == int(b.sum()) == 30
    assert not torch.equal(a, b)


def test_sybils_hold_nothing_that_the_server_keeps() -> None:
    p = people(replace(CELL, root_examples=100), partial(of_class, label=1))
    held = set(p.source[p.parts[6]].tolist())
    assert held
    assert not held & set(p.root.tolist())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            partial(of_class, label=7),
            r"of_class\(label=7\) needs examples of each class named, .* classes 0, 1, 2, 3, 4",
        ),
        (partial(of_class, label=[]), "needs examples of each class"),
        (partial(fresh, examples=0), "needs examples from 1 to 300, got 0"),
        (partial(fresh, examples=301), "needs examples from 1 to 300, got 301"),
    ],
)
def test_data_that_there_is_not_are_refused(data: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        people(CELL, data)


def test_flips_after_the_batches_need_an_attack_on_labels() -> None:
    cell = replace(CELL, malicious_data="share", flips_trained=False)
    from flipbench.attacks import ATTACKS

    with pytest.raises(UserError, match="for attacks on labels alone"):
        populate(cell, LABELS, 5, iid, ATTACKS["scaled"])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.98])
def test_exactly_a_share_of_each_client_is_held_out(share: float) -> None:
    whole, p = people(clean_twin(CELL)), people(replace(CELL, validation_share=share))
    for client, part in enumerate(whole.parts):
        left = p.parts[client]
        assert len(left) == 50 - round(share * 50)
        assert set(left.tolist()) <= set(part.tolist())
        assert torch.equal(left, left.sort().values)
    assert p.sizes[:6] == tuple(len(part) for part in p.parts[:6])
    assert len(p.parts[6]) == 50 - round(share * 50)  # sybils too


def test_a_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=r"validation_share 0\.995 of at most 50 examples leaves no client one"):
        people(replace(CELL, validation_share=0.995))


def stream(parts: list[int], labels: Tensor | None = None, **facts: Any) -> BatchStream:
    rows = torch.arange(sum(parts)).split(parts)
    return BatchStream(Cell(clients=len(parts), **facts), rows, torch.zeros(sum(parts)) if labels is None else labels)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 3), st.integers(0, 99))
def test_batches_drawn_anew_have_no_example_twice_and_only_the_clients_own(
    parts: list[int], batch: int, steps: int, turn: int
) -> None:
    s = stream(parts, sampling="independent", local_steps=steps, batch_size=batch)
    clients = list(range(len(parts)))
    index, counts = s.round(clients, [turn] * len(parts))
    alone = [s.round([c], [turn]) for c in clients]
    for c, n in enumerate(parts):
        number = batch if counts is None else int(counts[c, 0])
        assert number == min(batch, n)
        assert torch.equal(alone[c][0], index[c : c + 1])
        for row in index[c]:
            real = row[:number].tolist()
            assert len(set(real)) == number
            assert set(real) <= set(s.parts[c].tolist())
            assert not bool(row[number:].any())


def test_batches_drawn_anew_hold_every_set_equally_often() -> None:
    s = stream([5], sampling="independent", local_steps=4000, batch_size=2)
    sets = Counter(tuple(sorted(row)) for row in s.round([0], [0])[0][0].tolist())
    assert len(sets) == 10
    assert all(abs(times - 400) < 90 for times in sets.values())  # 4.7 standard deviations of 400
    assert not torch.equal(s.round([0], [1])[0], s.round([0], [0])[0])


def test_balanced_batches_show_each_class_equally_often() -> None:
    labels = torch.tensor([0] * 90 + [2] * 9 + [3])
    s = stream([100], labels, sampling="balanced", local_steps=600, batch_size=10)
    index, counts = s.round([0], [0])
    assert counts is None
    seen = Counter(labels[index.flatten()].tolist())
    assert set(seen) == {0, 2, 3}
    assert all(abs(times - 2000) < 180 for times in seen.values())  # 5 standard deviations
    assert len(set(index.flatten().tolist())) == 100


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 3))
def test_a_dropped_last_batch_leaves_full_ones_and_steps_are_counted(parts: list[int], batch: int, epochs: int) -> None:
    for drop in (True, False):
        s = stream(parts, drop_last=drop, local_epochs=epochs, batch_size=batch)
        index, counts = s.round(list(range(len(parts))), [0] * len(parts))
        real = torch.full(index.shape[:2], batch) if counts is None else counts
        assert [int((row > 0).sum()) for row in real] == [s.steps(c) for c in range(len(parts))]
        for c, n in enumerate(parts):
            assert int(real[c].sum()) == epochs * (n // batch * batch if drop else n)
            assert not drop or set(real[c].tolist()) <= {0, batch}
