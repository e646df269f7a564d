"""Metrics against naive loops and against values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.analysis.metrics import (
    METRICS,
    backdoor_success_rate,
    malicious_influence,
    recall,
    undefined,
)
from tests.analysis.naive_metrics import Matrix, Pairs, naive


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, Pairs | None]:
    n = draw(st.integers(2, 6))
    row = st.lists(st.integers(0, 30), min_size=n, max_size=n)
    counts = draw(st.lists(row | st.just([0] * n), min_size=n, max_size=n))
    sources = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    pairs = [(s, draw(st.integers(0, n - 2).map(lambda t, s=s: t + (t >= s)))) for s in sources]
    return counts, pairs or None


@given(cases())
@settings(max_examples=300, deadline=None)
def test_every_metric_agrees_with_its_loop(case: tuple[Matrix, Pairs | None]) -> None:
    counts, pairs = case
    for name, metric in METRICS.items():
        value = metric.function(np.array(counts), pairs)
        assert value.dtype == np.float64
        assert float(value) == pytest.approx(naive(name, counts, pairs), abs=1e-12, nan_ok=True), name


@given(cases())
@settings(max_examples=100, deadline=None)
def test_nan_always_has_a_reason_and_a_number_never(case: tuple[Matrix, Pairs | None]) -> None:
    counts, pairs = np.array(case[0]), case[1]
    for name, metric in METRICS.items():
        reason = undefined(name, counts, pairs, [f"class {k}" for k in range(len(counts))])
        assert (reason is not None) == bool(np.isnan(metric.function(counts, pairs)))


@given(st.lists(cases(), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_leading_dimensions_are_one_by_one(several: list[tuple[Matrix, Pairs | None]]) -> None:
    n, pairs = len(several[0][0]), several[0][1]
    stack = np.array([c for c, _ in several if len(c) == n])
    for name, metric in METRICS.items():
        together = metric.function(stack[None], pairs)
        assert together.shape == (1, len(stack)), name
        np.testing.assert_array_equal(together[0], [metric.function(c, pairs) for c in stack])


HAND = np.array([[8, 2, 0], [1, 5, 4], [0, 0, 20]])


@pytest.mark.parametrize(
    ("name", "mapping", "value"),
    [
        ("accuracy", None, 33 / 40),
        ("balanced_accuracy", None, (0.8 + 0.5 + 1.0) / 3),
        ("macro_f1", None, (16 / 19 + 10 / 17 + 40 / 44) / 3),
        ("worst_recall", None, 0.5),
        ("source_recall", [(1, 2)], 0.5),
        ("attack_success_rate", [(1, 2)], 0.4),
        ("target_precision", [(1, 2)], 20 / 24),
        ("collateral", [(1, 2)], 28 / 30),
        ("source_recall", [(0, 1)], 0.8),  # class 0 is a class like any other
        ("attack_success_rate", [(1, 0)], 0.1),
        ("target_precision", [(1, 0)], 8 / 9),
        ("source_recall", [(0, 2), (2, 0)], 0.9),
        ("attack_success_rate", [(0, 1), (1, 2), (2, 0)], (0.2 + 0.4 + 0.0) / 3),
        ("target_precision", [(0, 2), (1, 2)], 20 / 24),  # one target, named twice
        ("collateral", [(0, 2), (2, 0)], 0.5),
    ],
)
def test_by_hand(name: str, mapping: Pairs | None, value: float) -> None:
    assert float(METRICS[name].function(HAND, mapping)) == pytest.approx(value, abs=1e-15)


def test_a_class_without_examples_is_nan_and_never_0() -> None:
    counts = np.array([[9, 1, 0], [0, 0, 0], [2, 0, 8]])
    np.testing.assert_array_equal(recall(counts), [0.9, np.nan, 0.8])
    names = ["nv", "mel", "bcc"]
    for name in ("source_recall", "attack_success_rate"):
        assert np.isnan(METRICS[name].function(counts, [(1, 0)]))
        assert "no example of mel" in str(undefined(name, counts, [(1, 0)], names))
    assert float(METRICS["balanced_accuracy"].function(counts, None)) == pytest.approx(0.85)
    assert float(METRICS["worst_recall"].function(counts, None)) == pytest.approx(0.8)


def test_reasons_say_what_is_the_matter() -> None:
    names = ["a", "b", "c"]
    assert "fixed map" in str(undefined("source_recall", HAND, None, names))
    assert "every class is a source" in str(undefined("collateral", HAND, [(0, 1), (1, 2), (2, 0)], names))
    never = np.array([[5, 5, 0], [5, 5, 0], [5, 5, 0]])
    assert "nothing is taken for the target c" in str(undefined("target_precision", never, [(0, 2)], names))
    assert undefined("accuracy", HAND, None, names) is None


def test_float64_whatever_the_counts() -> None:
    big = np.array([[2_000_000_011, 5], [7, 2_000_000_033]], dtype=np.int32)
    exact = (2_000_000_011 + 2_000_000_033) / (2_000_000_011 + 2_000_000_033 + 12)
    assert float(METRICS["accuracy"].function(big, None)) == exact  # int32 sums would overflow


def test_influence_counts_those_taking_part() -> None:
    influence = np.array([[0.5, 0.5], [0.25, 0.75], [np.nan, np.nan]])
    participants = np.array([[3, 7], [1, 2], [1, 2]])
    np.testing.assert_array_equal(malicious_influence(influence, participants, [7, 9]), [0.5, 0.0, 0.0])
    np.testing.assert_array_equal(malicious_influence(influence, participants, [1, 2]), [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(malicious_influence(influence, participants, []), [0.0, 0.0, 0.0])


def test_without_eligible_stamped_images_success_is_unknown() -> None:
    assert np.isnan(backdoor_success_rate(np.zeros((3, 3), dtype=int), 1))


def test_the_grid_reader_knows_the_metrics():
    from flipbench.spec.metric_names import SHEET

    assert [m.name for m in SHEET] == list(METRICS)
