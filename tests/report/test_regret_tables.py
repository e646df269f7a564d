"""Regret of a static flip and of a misdeclared f: numbers by hand, then their tables."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from flipbench.analysis import declared_f, static_regret
from flipbench.analysis import frame as frames
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report.tables import attacks_csv
from flipbench.report.tables import summary as tables
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.records import ATTACKS, BASE
from tests.report.attack_cases import ACCURACY, Read, grid_of, read

# ---- the regret of a static flip ------------------------------------------------------------------------------------


def test_regret_is_paired_with_the_best_static_flip(tmp_path: Path) -> None:
    lost = {"mirrored": [0.2, 0.3, 0.4], "all_to_one(target=0)": [0.32, 0.41, 0.5], "worst_case": [0.35, 0.42, 0.55]}
    lost |= {"least_likely": [0.8, 0.8, 0.8], "sign_flip": [0.9, 0.9, 0.9], "optimal_ipm": [0.9, 0.9, 0.9]}
    page, frame, tidy, plan = grid_of(tmp_path / "g", {("fedavg", a): each for a, each in lost.items()})
    assert static_regret.searched(page) == ("worst_case",)
    assert static_regret.static(page) == ("mirrored", "all_to_one(target=0)")  # fixed beforehand, labels only
    (line,) = static_regret.regrets(Pivot(page, tidy)).to_dict("records")
    theirs, mine = np.array(lost["all_to_one(target=0)"]), np.array(lost["worst_case"])
    expected = stats.ttest_rel(mine, theirs).confidence_interval(0.95)
    assert (line["attack"], line["static"], line["objective"], line["trials"]) == (
        *("worst_case", "all_to_one(target=0)", "accuracy"),
        60,
    )
    # all_to_one leaves class 0 alone in the made-up matrices too: every class loses the same share
    assert line["static_mean"] == pytest.approx((theirs - 0.1).mean())
    assert line["searched_mean"] == pytest.approx((mine - 0.1).mean())
    assert line["regret_mean"] == pytest.approx((mine - theirs).mean())
    assert (line["regret_low"], line["regret_high"]) == pytest.approx((expected.low, expected.high))
    assert line["maps"] == {tuple(map(tuple, records.FOUND)): 3}
    text = tables.markdown(frame, pivots(frame, tidy), plan, [])
    row = next(text for text in text.splitlines() if text.startswith("| fedavg") and "all→4" in text)
    assert "| all to one 0 | all→4 |" in row
    assert line["lacking"] == line["maps"]  # all to one 4 is a static flip, and not one of this grid
    assert "best static: the flip with the largest mean damage of the 2 static flips of this grid" in text
    assert "static flips of published kinds that this grid lacks (all→4)" in text


def test_a_static_side_with_the_map_that_the_search_found_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        ATTACKS, "all_to_one(target=4)", replace(ATTACKS["all_to_one(target=0)"], mapping=records.FOUND)
    )
    lost = {"all_to_one(target=4)": [0.3, 0.4], "worst_case": [0.35, 0.42]}
    page, frame, tidy, plan = grid_of(tmp_path / "g", {("fedavg", a): each for a, each in lost.items()})
    (line,) = static_regret.regrets(Pivot(page, tidy)).to_dict("records")
    assert line["lacking"] == {}
    assert "that this grid lacks" not in tables.markdown(frame, pivots(frame, tidy), plan, [])


@pytest.mark.parametrize(
    ("flip", "published"),
    [
        ({s: 4 for s in range(10) if s != 4}, True),  # all to one
        ({3: 7}, True),
        ({3: 7, 7: 3}, True),
        ({s: (s + 3) % 10 for s in range(10)}, True),
        ({s: 9 - s for s in range(10)}, True),
        ({s: 4 for s in range(9) if s != 4}, False),  # class 9 stays
        ({3: 7, 7: 4}, False),
        ({3: 7, 5: 7}, False),
        ({s: (s + 3) % 10 for s in range(9)}, False),
    ],
)
def test_which_maps_are_published_static_flips(flip: dict[int, int], published: bool) -> None:
    assert static_regret.published(tuple(flip.items()), [str(c) for c in range(10)]) is published


def test_seeds_that_only_one_of_the_two_has_are_left_out(tmp_path: Path) -> None:
    lost = {("fedavg", "mirrored"): [0.2, 0.3], ("fedavg", "worst_case"): [0.3, 0.5, 0.9]}
    page, _, tidy, _ = grid_of(tmp_path / "g", lost)
    (line,) = static_regret.regrets(Pivot(page, tidy)).to_dict("records")
    assert (line["regret_n"], line["searched_n"]) == (2, 3)
    assert line["regret_mean"] == pytest.approx(0.15)


def test_without_a_search_or_a_static_flip_there_is_no_regret(tmp_path: Path) -> None:
    for name, attack in (("a", "mirrored"), ("b", "worst_case")):
        page, frame, tidy, _ = grid_of(tmp_path / name, {("fedavg", attack): [0.3, 0.4]})
        assert static_regret.regrets(Pivot(page, tidy)).empty
        assert attacks_csv.regret_csv(pivots(frame, tidy)) is None


def test_cells_of_a_version_that_did_not_say_are_static_label_flips(tmp_path: Path) -> None:
    store = records.write_grid(tmp_path / "old", seeds=(0,))
    frame = frames.load(store.folder)
    attacked = frame[~frame["clean"].astype(bool)]
    assert set(attacked["places"]) == {("labels",)}
    assert not attacked["adaptive"].any()
    assert not evaluate(frame)["adaptive"].any()
    assert static_regret.static(pages(frame)[0]) == tuple(records.LABEL_FLIPS)


# ---- a misdeclared f ------------------------------------------------------------------------------------------------


def declared_grid(folder: Path, **facts: Any) -> Read:
    """Median and Krum; f and the true number from 0 to 8; each client too few costs 0.02, each too many 0.01."""
    store, keys = Store(folder), {}
    made = ATTACKS["mirrored"]
    for rule in ("median", "krum"):
        for true in (0, 4, 8):
            for declared in (0, 4, 8):
                for seed in (0, 1, 2):
                    plain = replace(
                        BASE,
                        **{"aggregator": rule, "malicious_count": true, "declared_byzantine": declared, "seed": seed},
                        **facts,
                    )
                    cell = replace(plain, attack="mirrored")
                    lost = 0.1 + 0.05 * seed + 0.02 * max(0, true - declared) + 0.01 * max(0, declared - true)
                    refused = rule == "krum" and declared == 8
                    keys[records.publish(store, cell, made if true else None, lost=lost, refused=refused)] = None
                    clean = 0.1 + 0.05 * seed + 0.01 * declared
                    keys[records.publish(store, clean_twin(cell), None, lost=clean, refused=refused)] = None
    store.write_plan({"grid": "f", "title": None, "source": "", "command": None, "keys": list(keys), "figures": []})
    return read(folder)


def test_regret_of_a_wrong_f_on_either_side_of_the_truth(tmp_path: Path) -> None:
    page, frame, tidy, _ = declared_grid(tmp_path / "f")
    assert declared_f.applies(page)
    assert declared_f.rest(page) == ()
    table = declared_f.table(Pivot(page, tidy), ACCURACY, "mirrored", ())
    assert len(table) == 18
    for square in table.to_dict("records"):
        declared, true = square["declared"], square["true"]
        if square["aggregator"] == "krum" and declared == 8:
            assert (square["state"], square["regret_state"]) == ("infeasible", "infeasible")
            continue
        wrong = 0.02 * max(0, true - declared) + 0.01 * max(0, declared - true)
        assert square["right"] == (declared == true)
        assert square["mean"] == pytest.approx(0.85 - wrong)
        if square["aggregator"] == "krum" and true == 8:  # the truth is infeasible: nothing to compare with
            assert square["regret_n"] == 0
            continue
        assert square["regret_mean"] == pytest.approx(wrong, abs=1e-12)
        assert square["regret_high"] - square["regret_low"] == pytest.approx(0.0, abs=1e-9)  # seeds cancel: paired
    lines = list(csv.DictReader(io.StringIO(attacks_csv.declared_csv(pivots(frame, tidy)) or "")))
    assert len(lines) == 18
    assert {line["declared_byzantine"] for line in lines} == {"0", "4", "8"}


def test_the_regret_says_why_the_true_number_has_no_metric(tmp_path: Path) -> None:
    page, _, tidy, _ = declared_grid(tmp_path / "f")
    truth = (tidy["aggregator"] == "median") & (tidy["declared_byzantine"] == 4) & (tidy["malicious_count"] == 4)
    numbers = tidy.assign(accuracy=tidy["accuracy"].mask(truth))
    table = declared_f.table(Pivot(page, numbers), ACCURACY, "mirrored", ())
    states = table.set_index(["aggregator", "declared", "true"])[["state", "regret_state"]]
    assert states.loc[("median", 4, 4)].tolist() == ["undefined", "undefined"]
    assert states.loc[("median", 0, 4)].tolist() == ["done", "undefined"]
    assert states.loc[("krum", 0, 8)].tolist() == ["done", "infeasible"]
    assert states.loc[("krum", 0, 4)].tolist() == ["done", "done"]


def test_under_client_sampling_the_truth_is_the_expected_number(tmp_path: Path) -> None:
    page, _, tidy, _ = declared_grid(tmp_path / "f", clients_per_round=10)
    table = declared_f.table(Pivot(page, tidy), ACCURACY, "mirrored", ())
    right = {(s["declared"], s["true"]) for s in table.to_dict("records") if s["right"]}
    assert right == {(0, 0), (4, 8)}  # ceil(8 * 10 / 20) = 4; of 4 malicious 2 are expected, which no cell declares
    told = table[(table["true"] == 4) & (table["aggregator"] == "median")]
    assert set(told["regret_state"]) == {"absent"}


def test_one_axis_alone_is_no_misdeclared_f(few: Read) -> None:
    assert not declared_f.applies(few[0])
