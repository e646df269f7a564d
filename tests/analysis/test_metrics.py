"""Metrics against naive loops, and the tidy frame against counts that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.analysis import frame as frames
from flipbench.analysis import record_rows
from flipbench.analysis.metrics import (
    METRICS,
    backdoor_success_rate,
    evaluate,
    last_rounds,
    malicious_influence,
    recall,
    undefined,
)
from flipbench.errors import UserError
from flipbench.spec.cell import FIELDS
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers.records import BASE, LABEL_FLIPS, record, write_grid

Matrix = list[list[int]]
Pairs = list[tuple[int, int]]


# ---- oracles: loops over Python ints, sharing nothing with the code -------------------------------------------------


def mean_of(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else math.nan


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def recall_of(c: Matrix, k: int) -> float | None:
    return share(c[k][k], sum(c[k]))


def f1_of(c: Matrix, k: int) -> float | None:
    if not sum(c[k]):
        return None
    precision = share(c[k][k], sum(row[k] for row in c)) or 0.0
    sensitivity = c[k][k] / sum(c[k])
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def naive(name: str, c: Matrix, pairs: Pairs | None) -> float:
    n = len(c)
    each = [recall_of(c, k) for k in range(n)]
    if name == "accuracy":
        return mean_of([share(sum(c[k][k] for k in range(n)), sum(map(sum, c)))])
    if name == "balanced_accuracy":
        return mean_of(each)
    if name == "macro_f1":
        return mean_of([f1_of(c, k) for k in range(n)])
    if name == "worst_recall":
        known = [r for r in each if r is not None]
        return min(known) if known else math.nan
    if not pairs:
        return math.nan
    sources, targets = {s for s, _ in pairs}, {t for _, t in pairs}
    if name == "source_recall":
        return mean_of([each[s] for s in sources])
    if name == "attack_success_rate":
        return mean_of([share(c[s][t], sum(c[s])) for s, t in pairs])
    if name == "target_precision":
        return mean_of([share(c[t][t], sum(row[t] for row in c)) for t in targets])
    assert name == "collateral"
    rest = [k for k in range(n) if k not in sources]
    return mean_of([share(sum(c[k][k] for k in rest), sum(sum(c[k]) for k in rest))])


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


# ---- the frame and the tidy frame -----------------------------------------------------------------------------------


def matrix(correct: int, taken: int, pair: tuple[int, int] = (1, 2)) -> np.ndarray:
    """(3, 3): every class has 100 examples; of the source ``correct`` are right and ``taken`` go to the target."""
    counts = np.diag([100, 0, 100])
    counts[1] = [100 - correct - taken, correct, taken]
    return counts


CELL = replace(BASE, aggregator="krum", attack="targeted(source=1, target=2)", malicious_fraction=0.2, seed=4)
PAIR = [(1, 2)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One attacked cell over seven evaluated rounds, best in the middle, and its clean twin."""
    store = Store(tmp_path / "grid")
    course = [matrix(correct, 60 - correct // 2) for correct in (10, 50, 90, 80, 40, 30, 20)]
    n, bad = CELL.clients, CELL.malicious
    shares = [[0.0] * n for _ in course]
    for r in range(7):
        shares[r][0], shares[r][19] = r / 10, 1 - r / 10  # client 0 is malicious
    attacked = record(
        CELL, confusion=course, mapping=PAIR, seconds=8.0, result={"influence": shares, "nonfinite": {"2": 3, "7": 1}}
    )
    clean = record(clean_twin(CELL), confusion=[matrix(1, 0)] * 6 + [matrix(95, 4)])
    assert len(attacked["result"]["malicious"]) == bad == 4
    store.publish(attacked)
    store.publish(clean)
    store.write_plan({"grid": "g", "keys": [attacked["key"], clean["key"]]})
    return store


def test_the_tidy_frame_says_last_mean_clean_and_damage(store: Store) -> None:
    tidy = evaluate(frames.load(store.folder))
    attacked, clean = tidy.iloc[0], tidy.iloc[1]
    assert attacked["source_recall"] == pytest.approx(0.20)  # the last round, not the best
    assert attacked["source_recall_last5"] == pytest.approx((0.9 + 0.8 + 0.4 + 0.3 + 0.2) / 5)
    assert attacked["source_recall_clean"] == pytest.approx(0.95)
    assert attacked["source_recall_damage"] == pytest.approx(0.75)
    assert attacked["attack_success_rate"] == pytest.approx(0.50)
    assert attacked["attack_success_rate_clean"] == pytest.approx(0.04)  # the twin, with the attacked cell's mapping
    assert attacked["attack_success_rate_damage"] == pytest.approx(0.46)  # positive is harm here too
    assert attacked["accuracy_damage"] == pytest.approx(0.75 / 3)
    assert clean["accuracy"] == pytest.approx(295 / 300)
    assert clean["accuracy_damage"] == 0.0
    assert np.isnan(clean["attack_success_rate"])
    assert list(attacked[["flips_eligible", "flips_selected", "flips_changed"]]) == [800, 800, 400]
    assert list(clean[["flips_eligible", "flips_selected", "flips_changed"]]) == [0, 0, 0]
    assert attacked["malicious_influence"] == pytest.approx(0.6)
    assert attacked["malicious_influence_mean"] == pytest.approx(0.3)
    assert (attacked["nonfinite_updates"], clean["nonfinite_updates"]) == (4, 0)
    assert (attacked["seconds"], attacked["seconds_local"]) == (8.0, 2.0)


def test_the_frame_holds_facts_and_raw_counts(store: Store) -> None:
    frame = frames.load(store.folder)
    assert list(frame.columns) == list(record_rows.COLUMNS)
    assert set(FIELDS) < set(frame.columns)
    first = frame.iloc[0]
    assert (first["status"], first["clean"], first["aggregator"], first["seed"]) == ("done", False, "krum", 4)
    assert first["malicious_fraction"] == 0.2
    assert first["mapping"] == ((1, 2),)
    assert first["classes"] == ("0", "1", "2")
    assert first["confusion"].shape == (7, 3, 3)
    assert first["norms"].shape == first["participants"].shape == (7, 20)
    assert first["nonfinite"] == {2: 3, 7: 1}
    assert first["provenance_torch"] == "2.13.0"
    assert (first["device"], first["clients"]) == ("cpu", 20)  # facts, not the machine and not the participants
    twin = frame.iloc[1]
    assert bool(twin["clean"])
    assert twin["declared_byzantine"] == 4  # tells this twin from that of another malicious fraction
    assert first["twin"] == twin["key"] == twin["twin"]


def test_the_frame_follows_the_plan_and_nothing_else(store: Store) -> None:
    gone, stale = record(seed=77), record(seed=78)
    broken = record(seed=79, status="failed", reason="ValueError: made up")
    refused = record(seed=80, status="infeasible", reason="krum needs more")
    for one in (stale, broken, refused):
        store.publish(one)
    keys = [broken["key"], gone["key"], *store.read_plan()["keys"], refused["key"]]
    store.write_plan({"grid": "g", "keys": keys})
    frame = frames.load(store.folder)
    assert list(frame["key"]) == keys
    assert list(frame["status"]) == ["failed", "missing", "done", "done", "infeasible"]
    assert list(frame["reason"])[0::4] == ["ValueError: made up", "krum needs more"]
    tidy = evaluate(frame)
    assert list(tidy["key"]) == keys[2:4]
    assert tidy["clients"].dtype == np.int64  # 20 stays 20 beside a missing cell
    assert tidy["clean"].dtype == bool
    assert tidy["train"].dtype == np.int64


def test_damage_is_unknown_without_a_finished_twin(store: Store) -> None:
    frame = frames.load(store.folder)
    tidy = evaluate(frame[frame["clean"] == False])  # noqa: E712
    assert len(tidy) == 1
    assert tidy["source_recall"].iloc[0] == pytest.approx(0.2)
    assert tidy[[f"{m}{end}" for m in METRICS for end in ("_clean", "_damage")]].isna().all(axis=None)


def test_nothing_finished_is_an_empty_tidy_frame(tmp_path: Path) -> None:
    store = Store(tmp_path / "grid")
    store.write_plan({"grid": "g", "keys": [record()["key"]]})
    tidy = evaluate(frames.load(store.folder))
    assert tidy.empty
    assert {"accuracy", "accuracy_damage", "aggregator", "seconds"} < set(tidy.columns)


def test_null_is_nan(tmp_path: Path) -> None:
    store = Store(tmp_path / "grid")
    one = record(CELL, mapping=PAIR, rounds=[1, 2], result={"influence": [[None] * 20, [0.05] * 20]})
    store.publish(one)
    store.write_plan({"grid": "g", "keys": [one["key"]]})
    row = evaluate(frames.load(store.folder)).iloc[0]
    assert row["malicious_influence"] == pytest.approx(0.2)
    assert np.isnan(row["malicious_influence_mean"])


def test_influence_counts_those_taking_part() -> None:
    influence = np.array([[0.5, 0.5], [0.25, 0.75], [np.nan, np.nan]])
    participants = np.array([[3, 7], [1, 2], [1, 2]])
    np.testing.assert_array_equal(malicious_influence(influence, participants, [7, 9]), [0.5, 0.0, 0.0])
    np.testing.assert_array_equal(malicious_influence(influence, participants, [1, 2]), [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(malicious_influence(influence, participants, []), [0.0, 0.0, 0.0])


def test_a_whole_grid(tmp_path: Path) -> None:
    store = write_grid(tmp_path / "label_flip", seeds=(0, 1))
    frame = frames.load(store.folder)
    tidy = evaluate(frame)
    assert len(frame) == len(store.read_plan()["keys"])
    assert set(frame["status"]) == {"done", "infeasible"}
    for _, row in tidy.iterrows():  # each cell by its own loop, grouping aside
        raw = store.read(row["key"])
        twin = store.read(row["twin"])
        assert raw is not None
        assert twin is not None
        pairs = LABEL_FLIPS.get(row["attack"])
        for name, metric in METRICS.items():
            own = naive(name, raw["result"]["confusion"][-1], pairs)
            clean = naive(name, twin["result"]["confusion"][-1], pairs)
            assert row[name] == pytest.approx(own, nan_ok=True)
            damage = clean - own if metric.higher_is_better else own - clean
            assert row[f"{name}_damage"] == pytest.approx(damage, nan_ok=True)


# ---- attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluated", "rounds", "count"),
    [
        ([1, 12], 12, 1),  # every twelfth round: the first is no late one
        ([6, 12], 12, 2),  # half of the training is late
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 10, 5),
        ([1, 2, 3, 4, 5, 6], 6, 4),
        ([1], 1, 1),
        ([1, 2], 40, 1),  # of a record that ends early: the last that there is
    ],
)
def test_the_last_rounds_lie_in_the_second_half_of_training(
    tmp_path: Path, evaluated: list[int], rounds: int, count: int
) -> None:
    assert last_rounds(np.array(evaluated), rounds) == count
    store = Store(tmp_path)
    right = [50 + 3 * number for number in evaluated]
    made = record(replace(BASE, rounds=rounds), confusion=[matrix(n, 5) for n in right], rounds=evaluated)
    store.publish(made)
    store.write_plan({"grid": "g", "keys": [made["key"]]})
    tidy = evaluate(frames.load(store.folder)).iloc[0]
    each = [matrix(n, 5).trace() / matrix(n, 5).sum() for n in right]
    assert tidy["accuracy_last5"] == pytest.approx(np.mean(each[-count:]))
    assert tidy["accuracy"] == pytest.approx(each[-1])
    assert tidy["rounds_in_last5"] == count


def test_a_backdoor_succeeds_on_stamped_test_images(tmp_path: Path) -> None:
    store = Store(tmp_path / "grid")
    early, late = [[0, 0, 0], [4, 1, 5], [0, 8, 2]], [[0, 0, 0], [6, 4, 0], [3, 1, 6]]  # of target 0 none is stamped
    told = {"stamped": [early, late], "attacked_rounds": [1, 2]}
    how = {"places": ["examples"], "adaptive": False, "dynamic": False, "search": None, "target": 0}
    cell = replace(BASE, attack="backdoor(target=0)", malicious_fraction=0.2, rounds=2)
    one = record(cell, confusion=matrix(90, 5), rounds=[1, 2], result=told, attack_told=how)
    twin = record(clean_twin(cell), confusion=matrix(95, 5))
    for made in (one, twin):
        store.publish(made)
    store.write_plan({"grid": "g", "keys": [one["key"], twin["key"]]})
    frame = frames.load(store.folder)
    assert frame["stamped"].iloc[0].shape == (2, 3, 3)
    assert (frame["target"].iloc[0], frame["attacked_rounds"].iloc[0]) == (0, (1, 2))
    tidy = evaluate(frame).iloc[0]
    assert tidy["attack_success_rate"] == pytest.approx(9 / 20)
    assert tidy["attack_success_rate_last5"] == pytest.approx((9 / 20 + 4 / 20) / 2)
    assert np.isnan(tidy["attack_success_rate_damage"])  # the twin sees no stamped image
    assert tidy["accuracy"] == pytest.approx(290 / 300)  # of the clean test images
    assert np.isnan(tidy["source_recall"])


def test_without_eligible_stamped_images_success_is_unknown() -> None:
    assert np.isnan(backdoor_success_rate(np.zeros((3, 3), dtype=int), 1))


def test_how_an_attack_works_is_in_the_frame(tmp_path: Path) -> None:
    store = Store(tmp_path / "grid")
    search = {"objective": "accuracy", "trials": 60, "harm": 0.3, "mapping": [[1, 2]]}
    told = {"places": ["labels"], "adaptive": True, "dynamic": False, "search": search}
    new = record(CELL, mapping=PAIR, attack_told=told)
    old = record(replace(CELL, seed=5), mapping=PAIR)
    clean = record(clean_twin(CELL))
    for made in (new, old, clean):
        store.publish(made)
    store.write_plan({"grid": "g", "keys": [made["key"] for made in (new, old, clean)]})
    frame = frames.load(store.folder)
    assert list(frame["adaptive"]) == [True, False, False]
    assert list(frame["places"]) == [("labels",), ("labels",), ()]
    assert list(frame["trials"]) == [60, None, None]
    assert frame["search"].iloc[0]["objective"] == "accuracy"
    tidy = evaluate(frame)
    assert list(tidy["adaptive"]) == [True, False, False]
    np.testing.assert_array_equal(tidy["search_trials"], [60, np.nan, np.nan])


def test_a_fact_that_older_cells_lack_has_its_default(tmp_path: Path) -> None:
    one = record(CELL, mapping=PAIR)
    del one["facts"]["schedule"]
    assert record_rows.row(one, one["key"])["schedule"] == "constant"


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json"):
        frames.load(tmp_path)


def test_scalar_columns_are_plain(store: Store) -> None:
    frame = frames.load(store.folder)
    values: list[Any] = [frame[name].iloc[0] for name in ("split", "task", "provenance_device", "learning_rate")]
    assert values == ["official", "mnist5k", "cpu", 0.1]
    assert isinstance(frame["confusion"], pd.Series)


def test_the_grid_reader_knows_the_metrics():
    from flipbench.spec.metric_names import SHEET

    assert [m.name for m in SHEET] == list(METRICS)
