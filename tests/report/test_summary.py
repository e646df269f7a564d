"""Means and intervals against scipy by hand; each warning on a grid that deserves it, and silence on a sound one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flipbench.analysis import frame as frames
from flipbench.analysis.comparisons import summarise
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.statistics import SHARE, UNBOUNDED, over_seeds
from flipbench.analysis.warnings import Guard, guards
from flipbench.errors import UserError
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers.records import BASE, LABEL_FLIPS, record, write_grid

# ---- means and intervals --------------------------------------------------------------------------------------------


def interval(values: Sequence[float], bounds: tuple[float, float] = UNBOUNDED) -> list[float]:
    return [float(number) for number in over_seeds(values, bounds).values()]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda v: np.ptp(v) > 1e-3))
@settings(max_examples=100, deadline=None)
def test_the_interval_is_that_of_scipy(values: list[float]) -> None:
    mean, sd, n, low, high = interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean, sd, n) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)), len(values))
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_the_interval_by_hand() -> None:
    # t(0.975, 2) = 4.302653 from any table; sd of 1, 2, 3 is 1
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 1.0, 3, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))


def test_few_and_unknown_values() -> None:
    np.testing.assert_array_equal(interval([0.5]), [0.5, np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(interval([]), [np.nan, np.nan, 0, np.nan, np.nan])
    np.testing.assert_array_equal(interval([np.nan, np.nan]), [np.nan, np.nan, 0, np.nan, np.nan])
    assert interval([1.0, np.nan, 2.0, 3.0]) == interval([1.0, 2.0, 3.0])


def tidy_of(**columns: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def test_groups_keep_their_order_and_their_types() -> None:
    tidy = tidy_of(rule=["krum", "krum", "fedavg", "fedavg"], f=[2, 2, 1, 1], seed=[0, 1, 0, 1], accuracy=[1, 3, 5, 5])
    out = summarise(tidy, ["rule", "f"], "accuracy")
    assert list(out.columns) == ["rule", "f", "mean", "sd", "n", "low", "high"]
    assert list(out["rule"]) == ["krum", "fedavg"]
    assert list(out["f"]) == [2, 1]
    assert out["f"].dtype == np.int64
    assert list(out["mean"]) == [2.0, 5.0]
    assert list(out["n"]) == [2, 2]
    assert list(out["sd"]) == [pytest.approx(2**0.5), 0.0]


def test_the_seed_is_the_replicate() -> None:
    """Ten settings averaged over two seeds are two values and not twenty."""
    rng = np.random.default_rng(0)
    tidy = pd.DataFrame(
        {"rule": "krum", "flip_rate": np.repeat(np.arange(10), 2), "seed": [0, 1] * 10, "accuracy": rng.random(20)}
    )
    out = summarise(tidy, ["rule"], "accuracy").iloc[0]
    by_seed = tidy.groupby("seed")["accuracy"].mean()
    assert tuple(out[["mean", "sd", "n", "low", "high"]]) == pytest.approx(interval(list(by_seed), SHARE))
    assert out["n"] == 2


def test_none_is_a_group_of_its_own() -> None:
    tidy = tidy_of(attack_stop=[None, 5, None, 5], seed=[0, 0, 1, 1], accuracy=[1.0, 2.0, 1.0, 2.0])
    tidy["attack_stop"] = tidy["attack_stop"].astype(object)
    out = summarise(tidy, ["attack_stop"], "accuracy")
    assert list(out["n"]) == [2, 2]
    assert list(out["mean"]) == [1.0, 2.0]


def test_nothing_by_nothing() -> None:
    tidy = tidy_of(rule=["krum", "fedavg"], seed=[0, 1], accuracy=[1.0, 2.0])
    assert list(summarise(tidy, [], "accuracy")["n"]) == [2]
    assert summarise(tidy[:0], ["rule"], "accuracy").empty
    assert list(summarise(tidy[:0], ["rule"], "accuracy").columns) == ["rule", "mean", "sd", "n", "low", "high"]


def test_an_unknown_column_is_told() -> None:
    tidy = tidy_of(rule=["krum"], seed=[0], accuracy=[1.0])
    with pytest.raises(UserError, match=r"no column 'acuracy': choose among rule, seed, accuracy"):
        summarise(tidy, ["rule"], "acuracy")


def test_damage_is_paired() -> None:
    """Seeds differ much and the damage little: the paired interval is narrow, that of two means would not be."""
    clean, attacked = np.array([0.5, 0.7, 0.9]), np.array([0.41, 0.6, 0.79])
    tidy = tidy_of(
        rule=["krum"] * 4,
        clean=[False, False, False, True],
        seed=[0, 1, 2, 3],
        accuracy_damage=[*(clean - attacked), 0.0],
    )
    out = summarise(tidy[~tidy["clean"]], ["rule"], "accuracy_damage").iloc[0]
    expected = stats.ttest_rel(clean, attacked).confidence_interval(0.95)
    assert (out["low"], out["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert (out["mean"], out["n"]) == (pytest.approx(0.1), 3)  # the clean cell's 0 is not averaged in


def test_a_whole_grid(tmp_path: Path) -> None:
    write_grid(tmp_path / "g")
    tidy = evaluate(frames.load(tmp_path / "g"))
    by = ["aggregator", "attack", "malicious_fraction", "flip_rate"]
    out = summarise(tidy, by, "accuracy").set_index(by)
    for group, cells in tidy.groupby(by):
        values = cells.groupby("seed")["accuracy"].mean()
        assert tuple(out.loc[group]) == pytest.approx(interval(list(values), SHARE), nan_ok=True)
    paired = summarise(tidy[~tidy["clean"]], ["aggregator", "malicious_fraction"], "source_recall_damage")
    assert (paired["mean"] > 0).all()


# ---- warnings -------------------------------------------------------------------------------------------------------

ATTACKED = replace(BASE, aggregator="krum", attack="mirrored", malicious_fraction=0.2)
MIRRORED = LABEL_FLIPS["mirrored"]

Change = Callable[[Cell], dict[str, Any]]


def warnings(folder: Path, change: Change, cell: Cell = ATTACKED, seeds: Sequence[int] = (0, 1)) -> list[Guard]:
    """The guards of a small grid whose attacked cells carry what ``change`` says; their twins are in order."""
    store, keys = Store(folder / "grid"), []
    for seed in seeds:
        one = replace(cell, seed=seed)
        for made in (record(one, mapping=MIRRORED, **change(one)), record(clean_twin(one))):
            store.publish(made)
            keys.append(made["key"])
    store.write_plan({"grid": "grid", "keys": keys})
    frame = frames.load(store.folder)
    return guards(frame, evaluate(frame))


def kinds(found: Sequence[Guard]) -> list[str]:
    return [g.kind for g in found]


def test_a_sound_grid_is_not_warned_of(tmp_path: Path) -> None:
    assert warnings(tmp_path, lambda _: {}) == []


def flips(changed: int, bad: int = 4) -> list[dict[str, int]]:
    return [{"client": c, "examples": 9, "eligible": 9, "selected": 9, "changed": changed} for c in range(bad)]


def test_labels_that_never_changed(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda _: {"result": {"flips": flips(0)}})
    assert (found.kind, len(found.keys)) == ("no_effect", 2)
    assert found.text == "not one label was changed in 2 of 2 cells under attack"


def test_a_rate_of_zero_changes_nothing_and_is_said_once(tmp_path: Path) -> None:
    asked = replace(ATTACKED, flip_rate=0.0)
    same = {"flips": flips(0), "norms": [[1.0] * 20] * 3}
    (said,) = warnings(tmp_path, lambda _: {"result": same}, asked)
    assert (said.kind, said.text) == ("idle_attack", "a flip rate of 0 changes nothing in 2 of 2 cells under attack")


def norms(*changes: tuple[int, int, float], rounds: int = 3) -> dict[str, Any]:
    """The clean twin's norms (all 1), but for some (round, client, norm)."""
    values = [[1.0] * 20 for _ in range(rounds)]
    for r, client, norm in changes:
        values[r][client] = norm
    return {"result": {"norms": values}}


def test_flips_that_reached_no_update(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda _: norms())
    assert (found.kind, len(found.keys)) == ("no_effect", 2)
    assert "no update differs" in found.text


def test_an_honest_client_that_differs_is_no_proof_of_life(tmp_path: Path) -> None:
    assert kinds(warnings(tmp_path, lambda _: norms((0, 4, 2.0), (2, 19, 2.0)))) == ["no_effect"]
    assert kinds(warnings(tmp_path / "low_bits", lambda _: norms((0, 0, 1.0 + 1e-8)))) == ["no_effect"]


@pytest.mark.parametrize("place", [(0, 0, 1.001), (2, 3, 0.5), (1, 2, float("nan"))])
def test_one_malicious_update_that_differs_is(tmp_path: Path, place: tuple[int, int, float]) -> None:
    assert warnings(tmp_path, lambda _: norms(place)) == []


def told_as(*places: str) -> dict[str, Any]:
    return {"attack_told": {"places": list(places), "adaptive": False, "dynamic": False, "search": None}}


def test_an_attack_on_updates_changes_no_label_but_must_change_an_update(tmp_path: Path) -> None:
    idle = {"result": {"flips": flips(0)}}
    assert warnings(tmp_path / "alive", lambda _: idle | told_as("updates")) == []
    dead = {"result": {"flips": flips(0), **norms()["result"]}}
    (found,) = warnings(tmp_path / "dead", lambda _: dead | told_as("updates"))
    assert found.text == "no update differs from the clean twin's in 2 of 2 cells under attack (at evaluated rounds)"
    assert kinds(warnings(tmp_path / "rate", lambda _: dead | told_as("updates"), replace(ATTACKED, flip_rate=0.0)))


def test_an_attack_that_never_was_on_is_said_once(tmp_path: Path) -> None:
    off = {"result": {"flips": flips(0), "attacked_rounds": [], **norms()["result"]}}
    (said,) = warnings(tmp_path, lambda _: off | told_as("labels"))
    assert (said.kind, said.text) == ("idle_attack", "the attack acts in no round in 2 of 2 cells under attack")


def test_where_no_malicious_client_was_seen_at_work_anybody_counts(tmp_path: Path) -> None:
    sampled = replace(ATTACKED, clients=25, clients_per_round=20)
    absent = {"clients": [list(range(10, 20)) + list(range(10))] * 3, "malicious": [20, 21]}
    dead = {"norms": [[1.0] * 20] * 3}
    assert kinds(warnings(tmp_path / "a", lambda _: {"result": absent | dead}, sampled)) == ["no_effect"]
    assert warnings(tmp_path / "b", lambda _: {"result": absent | norms((2, 7, 2.0))["result"]}, sampled) == []


def test_a_defence_that_is_fedavg_all_along(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda _: {"result": {"fedavg_gap": [0.0, 1e-13, 2e-8]}})
    assert (found.kind, len(found.keys)) == ("equals_fedavg", 2)
    assert found.text == "krum did what FedAvg does in 2 of 4 cells"
    assert warnings(tmp_path / "once", lambda _: {"result": {"fedavg_gap": [0.0, 0.0, 1e-3]}}) == []
    assert warnings(tmp_path / "unknown", lambda _: {"result": {"fedavg_gap": [0.0, 0.0, float("nan")]}}) == []


@pytest.mark.parametrize("name", ["fedavg", "mean"])
def test_fedavg_itself_may_be_fedavg(tmp_path: Path, name: str) -> None:
    same = {"result": {"fedavg_gap": [0.0] * 3}}
    assert warnings(tmp_path, lambda _: same, replace(ATTACKED, aggregator=name)) == []


def test_one_client_is_its_own_mean(tmp_path: Path) -> None:
    alone = replace(BASE, aggregator="median", clients=1)
    assert warnings(tmp_path, lambda _: {"result": {"fedavg_gap": [0.0] * 3}}, alone) == []


def test_updates_that_are_not_finite(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda c: {"result": {"nonfinite": {"2": 3, "3": 1} if c.seed else {}}})
    assert (found.kind, len(found.keys)) == ("nonfinite", 1)
    assert found.text == "4 non-finite updates were left out in 1 of 4 cells"


def always(named: int, sizes: Sequence[int]) -> np.ndarray:
    counts = np.zeros((10, 10), dtype=int)
    counts[:, named] = sizes
    return counts


@pytest.mark.parametrize("named", [3, 4])
def test_no_better_than_the_largest_class(tmp_path: Path, named: int) -> None:
    sizes = [10, 10, 10, 200, 10, 10, 10, 10, 10, 10]
    found = warnings(tmp_path, lambda _: {"confusion": always(named, sizes)})
    assert [(g.kind, len(g.keys)) for g in found] == [("chance", 2)]
    assert "2 of 2 cells under attack end no better" in found[0].text
    better = always(3, sizes)
    better[0] = [10, *[0] * 9]
    assert warnings(tmp_path / "better", lambda _: {"confusion": better}) == []


def test_a_split_by_row(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda _: {"split": "row"})
    assert (found.kind, len(found.keys)) == ("row_split", 2)


def test_a_class_without_test_examples(tmp_path: Path) -> None:
    counts = np.diag([0, 100, 0, *[100] * 7])
    names = ["akiec", "bcc", "=bkl", *"0123456"]
    (found,) = warnings(tmp_path, lambda _: {"confusion": counts, "classes": names})
    assert (found.kind, len(found.keys)) == ("absent_class", 2)
    assert "no example of akiec, =bkl" in found.text


def test_a_declared_f_that_is_not_the_true_number(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, lambda _: {}, replace(ATTACKED, declared_byzantine=2))
    assert (found.kind, len(found.keys)) == ("declared_f", 2)  # the clean twins keep f on purpose
    sampled = replace(ATTACKED, clients=20, clients_per_round=7)  # ceil(4 * 7 / 20) = 2 expected
    assert warnings(tmp_path / "sampled", lambda _: {}, sampled) == []


def test_fewer_seeds_here_than_there(tmp_path: Path) -> None:
    store, keys = Store(tmp_path), []
    for rule, count in (("krum", 3), ("median", 2)):
        for seed in range(count):
            one = replace(BASE, aggregator=rule, seed=seed)
            keys.append(record(one)["key"])
            store.publish(record(one))
    store.write_plan({"keys": keys})
    frame = frames.load(tmp_path)
    (found,) = guards(frame, evaluate(frame))
    assert (found.kind, found.keys) == ("unequal_seeds", tuple(keys[3:]))
    assert found.text == "1 of 2 settings have fewer finished seeds than the others' 3 (median: 2)"


def test_settings_with_fewer_seeds_are_named_with_how_many_each(tmp_path: Path) -> None:
    """The facts that vary name them; of many, four, and the range of the rest."""
    store, keys = Store(tmp_path), []
    for place, (fraction, rule) in enumerate(product((0.2, 0.4), ("krum", "median", "fedavg"))):
        for seed in range(6):
            if rule == "fedavg" or seed < place:
                attacked = replace(ATTACKED, aggregator=rule, seed=seed, malicious_fraction=fraction)
                status = {"status": "failed", "reason": "made up"} if place == 1 else {}
                for one in (record(attacked, mapping=MIRRORED, **status), record(clean_twin(attacked))):
                    keys.append(one["key"])
                    store.publish(one)
    store.write_plan({"keys": list(dict.fromkeys(keys))})
    frame = frames.load(tmp_path)
    (found,) = (g for g in guards(frame, evaluate(frame)) if g.kind == "unequal_seeds")
    told = found.text.partition("(")[2].rstrip(")").split("; ")
    assert told[:2] == ["mirrored, 20 % malicious, median: 0", "clean, declared f 4, median: 1"]
    assert told[-1] == "2 more: 4"
    assert "mirrored, 40 % malicious, krum: 3" in told
    assert found.text.startswith("6 of 10 settings have fewer finished seeds than the others' 6 (")


def test_cells_that_are_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attacked, twin = record(ATTACKED, mapping=MIRRORED), record(clean_twin(ATTACKED))
    broken = record(seed=5, status="failed", reason="ValueError: made up")
    store.publish(attacked)
    store.publish(broken)
    store.write_plan({"keys": [attacked["key"], twin["key"], broken["key"]]})
    frame = frames.load(tmp_path)
    found = guards(frame, evaluate(frame))
    assert kinds(found) == ["unfinished", "unfinished", "no_twin", "unequal_seeds"]
    assert [g.keys for g in found[:3]] == [(broken["key"],), (twin["key"],), (attacked["key"],)]
    assert found[0].text == "1 of 3 cells failed: means are over the others"


def test_nothing_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_plan({"keys": [record()["key"]]})
    frame = frames.load(tmp_path)
    assert kinds(guards(frame, evaluate(frame))) == ["unfinished"]
    store.write_plan({"keys": []})
    frame = frames.load(tmp_path)
    assert guards(frame, evaluate(frame)) == []
