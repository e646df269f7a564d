"""Flips that ask a model: drawn as the model errs, and against what it believes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipbench.attacks.contract import LabelContext, declares, place
from flipbench.attacks.labels.model_based import confusable, least_likely


def context(classes: int, confusion: Tensor | None = None, scores: Tensor | None = None, seed: int = 0) -> LabelContext:
    facts = {} if confusion is None else {"confusion": lambda: confusion}
    return LabelContext(classes, torch.arange(classes), torch.Generator().manual_seed(seed), scores=scores, **facts)


def confusions(classes: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    counts = torch.rand(classes, classes, generator=g, dtype=torch.float64) + 5 * torch.eye(classes)
    return counts / counts.sum(1, keepdim=True)


def labels_of(count: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def test_they_say_what_they_need() -> None:
    assert place(confusable) == place(least_likely) == "labels"
    assert declares(confusable, "confusion")
    assert not declares(confusable, "dynamic")
    assert declares(least_likely, "dynamic")
    assert not declares(least_likely, "confusion")


@given(classes=st.integers(2, 12), seed=st.integers(0, 999), count=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_no_label_stays_and_all_are_eligible(classes: int, seed: int, count: int) -> None:
    labels = labels_of(count, classes, seed)
    kept, before = labels.clone(), torch.random.get_rng_state()
    scores = torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))
    for out in (
        confusable(labels, context(classes, confusions(classes, seed), seed=seed)),
        least_likely(labels, context(classes, scores=scores)),
    ):
        assert out.labels.shape == labels.shape
        assert out.labels.dtype == torch.int64
        assert (out.labels != labels).all()
        assert ((out.labels >= 0) & (out.labels < classes)).all()
        assert out.eligible.all()
        assert out.eligible.dtype == torch.bool
        assert not out.with_replacement
    assert torch.equal(labels, kept)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_confusable_errs_as_the_model_errs() -> None:
    confusion = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.02, 0.08, 0.9]], dtype=torch.float64)
    labels = torch.arange(3).repeat_interleave(20_000)
    new = confusable(labels, context(3, confusion)).labels.reshape(3, -1)
    shares = torch.stack([torch.bincount(row, minlength=3) / 20_000 for row in new])
    wanted = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75], [0.2, 0.8, 0.0]])
    torch.testing.assert_close(shares, wanted, atol=0.015, rtol=0)


def test_a_class_never_mistaken_becomes_any_other() -> None:
    labels = torch.ones(9000, dtype=torch.int64)
    new = confusable(labels, context(4, torch.eye(4, dtype=torch.float64))).labels
    shares = torch.bincount(new, minlength=4) / 9000
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 0.0, 1 / 3, 1 / 3]), atol=0.02, rtol=0)


def test_confusable_draws_from_the_scene_alone() -> None:
    labels, confusion = labels_of(500, 10), confusions(10, 1)
    first, again, other = (confusable(labels, context(10, confusion, seed=s)).labels for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_least_likely_is_the_lowest_score_of_another_class() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [5.0, 5.0, 5.0], [0.0, 0.0, 9.0], [0.0, 0.0, 9.0]])
    labels = torch.tensor([0, 0, 1, 0, 2])
    assert least_likely(labels, context(3, scores=scores)).labels.tolist() == [1, 2, 0, 1, 0]


@given(classes=st.integers(2, 9), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_least_likely_agrees_with_a_loop(classes: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(-2, 3, (30, classes), generator=g).float()  # many ties
    labels = labels_of(30, classes, seed)
    wanted = [
        min((c for c in range(classes) if c != y), key=lambda c: (row[c], c))
        for row, y in zip(scores.tolist(), labels.tolist(), strict=True)
    ]
    kept = scores.clone()
    assert least_likely(labels, context(classes, scores=scores)).labels.tolist() == wanted
    assert torch.equal(scores, kept)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_label_stays_where_the_model_makes_no_prediction(bad: float) -> None:
    labels, scores = torch.arange(4), -torch.eye(4).roll(1, 1)
    scores[1, 3] = bad
    assert least_likely(labels, context(4, scores=scores)).labels.tolist() == [1, 1, 3, 0]


def test_without_scores_the_question_is_only_who_is_eligible() -> None:
    labels = labels_of(20, 5)
    out = least_likely(labels, context(5))
    assert torch.equal(out.labels, labels)
    assert out.labels.data_ptr() != labels.data_ptr()
    assert out.eligible.all()


def test_what_makes_no_sense_is_refused() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="confusion = True"):
        confusable(labels, context(3))
    with pytest.raises(ValueError, match="confusion of 3 x 3"):
        confusable(labels, context(3, torch.eye(4, dtype=torch.float64)))
    with pytest.raises(ValueError, match="scores of 3 x 3"):
        least_likely(labels, context(3, scores=torch.zeros(3, 4)))
    for attack in (confusable, least_likely):
        with pytest.raises(ValueError, match="at least 2 classes"):
            attack(labels, context(1, torch.eye(1, dtype=torch.float64)))
