"""The frame and the tidy frame against counts that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import record_rows
from flipbench.analysis.metrics import (
    METRICS,
    evaluate,
)
from flipbench.analysis.rounds.late_rounds import last_rounds
from flipbench.errors import UserError
from flipbench.spec.cell import FIELDS
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.analysis.naive_metrics import naive
from tests.helpers.records import BASE, LABEL_FLIPS, record, write_grid


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
    course = [matrix(correct, min(100 - correct, 60 - correct // 2)) for correct in (10, 50, 90, 80, 40, 30, 20)]
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
