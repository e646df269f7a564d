"""Worst case over attacks, regret of a static flip, regret of a misdeclared f: numbers by hand, then their tables."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flipbench.analysis import declared_f, static_regret
from flipbench.analysis import frame as frames
from flipbench.analysis import worst_case as worst
from flipbench.analysis.attack_selection import attack_name, showable, single_pairs
from flipbench.analysis.columns import WORST, reading_values
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pages import Page, pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report import write
from flipbench.report.figures import catalogue
from flipbench.report.tables import attacks, attacks_csv
from flipbench.report.tables import summary as tables
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.records import ATTACKS, BASE

ACCURACY = metric_column("accuracy")
Read = tuple[Page, pd.DataFrame, pd.DataFrame, dict[str, Any]]


def read(folder: Path) -> Read:
    frame = frames.load(folder)
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    return pages(frame)[0], frame, evaluate(frame), plan


FEW = ("mirrored", "all_to_one(target=0)", "worst_case", "optimal_ipm", "backdoor(target=0)", "least_likely")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Six attacks on three rules; Krum refuses the higher fraction."""
    folder = tmp_path_factory.mktemp("few") / "attacks"
    rules = ("fedavg", "krum", "median")
    records.write_attacks(folder, aggregators=rules, attacks=FEW, infeasible=(("krum", 0.4),))
    return read(folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Every made-up attack on two rules."""
    folder = tmp_path_factory.mktemp("many") / "attacks"
    records.write_attacks(folder, aggregators=("fedavg", "median"), fractions=(0.2,), seeds=(0, 1))
    return read(folder)


def grid_of(folder: Path, losses: dict[tuple[str, str], Sequence[float]]) -> Read:
    """(rule, attack) -> accuracy lost by each seed, at a malicious fraction of 0.2; the clean twins lose 0.1."""
    store, keys = Store(folder), {}
    for (rule, attack), each in losses.items():
        for seed, lost in enumerate(each):
            plain = replace(BASE, aggregator=rule, malicious_fraction=0.2, seed=seed)
            cell = replace(plain, attack=attack)
            keys[records.publish(store, cell, ATTACKS[attack], lost=lost)] = None
            keys[records.publish(store, clean_twin(cell), None, lost=0.1)] = None
    store.write_plan({"grid": "g", "title": None, "source": "", "command": None, "keys": list(keys), "figures": []})
    return read(folder)


# ---- what a page knows of its attacks -------------------------------------------------------------------------------


def test_adaptive_attacks_and_backdoors_are_known(many: Read) -> None:
    page = many[0]
    assert page.adaptive == {"worst_case", "optimal_alie", "optimal_ipm"}
    assert page.backdoors == {"backdoor(target=0)"}
    assert attack_name(page, "optimal_ipm") == "optimal ipm†"
    assert attack_name(page, "alie") == "alie"


def test_success_is_told_of_single_pairs_and_backdoors(many: Read) -> None:
    chain = "targeted(source=6, target=4) | scaled(factor=10)"
    pairs = ["targeted(source=6, target=4)", chain]
    assert showable(many[0], metric_column("attack_success_rate")) == [*pairs, "backdoor(target=0)"]
    assert showable(many[0], metric_column("source_recall")) == pairs
    assert showable(many[0], metric_column("attack_success_rate_damage")) == pairs


def test_a_searched_map_that_differs_between_seeds_is_no_single_pair(tmp_path: Path) -> None:
    store, keys = Store(tmp_path / "g"), []
    for seed, pair in enumerate([(1, 2), (3, 4)]):
        cell = replace(BASE, malicious_fraction=0.2, seed=seed, attack="worst_case")
        one = records.record(cell, mapping=[pair], attack_told=ATTACKS["worst_case"].told)
        store.publish(one)
        keys.append(one["key"])
    store.write_plan({"grid": "g", "keys": keys})
    assert single_pairs(read(tmp_path / "g")[0]) == {}


# ---- the worst case -------------------------------------------------------------------------------------------------


def test_the_worst_case_is_the_least_mean_with_its_own_interval(few: Read) -> None:
    page, _, tidy, _ = few
    found = worst.worst(Pivot(page, tidy), ACCURACY)
    attacked = tidy[~tidy["clean"]]
    for square in found.to_dict("records"):
        if square["column"].clean or square["state"] != "done":
            continue
        (fraction,) = square["column"].level
        mine = attacked[
            (attacked["aggregator"] == square["aggregator"]) & np.isclose(attacked["malicious_fraction"], fraction)
        ]
        means = mine.groupby("attack")["accuracy"].mean()
        values = mine[mine["attack"] == square["worst"]]["accuracy"]
        expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert square["worst"] == means.idxmin()
        assert square["mean"] == pytest.approx(means.min())
        assert (square["low"], square["high"]) == pytest.approx(expected)
        assert (square["attacks"], square["asked"]) == (6, 6)


def test_a_seed_that_is_worst_elsewhere_does_not_count(tmp_path: Path) -> None:
    """The least mean over seeds, not the mean over seeds of the least."""
    losses = {("fedavg", "mirrored"): [0.5, 0.2], ("fedavg", "shifted"): [0.2, 0.45]}
    page, _, tidy, _ = grid_of(tmp_path / "g", losses)
    (square,) = [s for s in worst.worst(Pivot(page, tidy), ACCURACY).to_dict("records") if not s["column"].clean]
    assert (square["worst"], square["mean"]) == ("mirrored", pytest.approx(0.65))


def test_of_damage_the_worst_is_the_most(few: Read) -> None:
    page, _, tidy, _ = few
    found = worst.worst(Pivot(page, tidy), metric_column("accuracy_damage"))
    assert set(found["worst"].dropna()) == {"optimal_ipm"}


def test_infeasible_stays_infeasible(few: Read) -> None:
    page, _, tidy, _ = few
    found = worst.worst(Pivot(page, tidy), ACCURACY)
    high = found["column"].map(lambda c: c.level == (0.4,))
    (square,) = found[high & (found["aggregator"] == "krum")].to_dict("records")
    assert (square["state"], square["worst"]) == ("infeasible", None)
    assert "krum needs" in square["reason"]


def test_attacks_without_a_number_are_told(tmp_path: Path) -> None:
    plan = grid_of(tmp_path / "g", {("fedavg", "shifted"): [0.2], ("median", "mirrored"): [0.3]})[3]
    store = Store(tmp_path / "g")
    cell = replace(BASE, aggregator="fedavg", attack="mirrored", malicious_fraction=0.2)
    broken = records.record(cell, status="failed", reason="ValueError: made up")
    store.publish(broken)
    store.write_plan({**plan, "keys": [*plan["keys"], broken["key"]]})
    page, frame, tidy, plan = read(tmp_path / "g")
    found = worst.worst(Pivot(page, tidy), ACCURACY)
    square = next(s for s in found.to_dict("records") if s["aggregator"] == "fedavg" and not s["column"].clean)
    assert (square["worst"], square["attacks"], square["asked"]) == ("shifted", 1, 2)
    text = tables.markdown(frame, pivots(frame, tidy), plan, [])
    assert re.search(r"\| fedavg \|.*, shifted <sup>(\w)</sup> \|(.|\n)*\1: 1 of 2 attacks", text)


def test_an_overview_has_every_attack_the_clean_twins_first_and_the_worst_last(many: Read) -> None:
    page, _, tidy, _ = many
    (place,) = worst.places(page)
    table = worst.overview(Pivot(page, tidy), ACCURACY, place)
    assert list(dict.fromkeys(table["attack"])) == ["none", *ATTACKS, WORST]
    assert list(table["aggregator"]) == list(page.rows) * (len(ATTACKS) + 2)
    grid = table["mean"].to_numpy().reshape(-1, len(page.rows))
    np.testing.assert_array_equal(grid[-1], grid[1:-1].min(0))


def test_overviews_stand_in_for_tables_of_many_attacks_only(few: Read, many: Read) -> None:
    assert worst.overview_only(many[0])
    assert not worst.overview_only(few[0])
    text = tables.markdown(many[1], pivots(*many[1:3]), many[3], [])
    assert "### Accuracy (%), mirrored" not in text
    assert "### Attack success rate (%) under every attack; of a backdoor: over stamped test images" in text
    assert "### Accuracy (%), mirrored" in tables.markdown(few[1], pivots(*few[1:3]), few[3], [])


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


# ---- marks and files ------------------------------------------------------------------------------------------------


def test_adaptive_attacks_are_marked_everywhere(few: Read) -> None:
    _, frame, tidy, plan = few
    text, tex = tables.markdown(frame, pivots(frame, tidy), plan, []), tables.latex(pivots(frame, tidy), plan)
    assert "### Accuracy (%), optimal ipm†" in text
    assert "### Accuracy (%), mirrored\n" in text
    assert "†: the attack knows the rule it faces" in text
    assert r"optimal ipm$^\dagger$" in tex
    assert r"\textsuperscript{$^\dagger$}\,the attack knows the rule it faces" in tex
    lines = list(csv.DictReader(io.StringIO(tables.summary_csv(pivots(frame, tidy)))))
    marks = {line["attack"]: line["adaptive"] for line in lines}
    assert (marks["optimal_ipm"], marks["worst_case"], marks["mirrored"], marks["none"]) == (
        *("True", "True", "False"),
        "False",
    )
    assert "†" in tables.terminal(pivots(frame, tidy), 100)


def test_tables_without_an_adaptive_attack_have_no_mark(tmp_path: Path) -> None:
    records.write_attacks(tmp_path / "g", aggregators=("fedavg",), attacks=("mirrored", "uniform"), seeds=(0,))
    _, frame, tidy, plan = read(tmp_path / "g")
    assert "†" not in tables.markdown(frame, pivots(frame, tidy), plan, [])


def test_the_worst_case_as_csv(few: Read) -> None:
    _, frame, tidy, _ = few
    lines = list(csv.DictReader(io.StringIO(attacks_csv.worst_csv(pivots(frame, tidy)) or "")))
    assert [(line["aggregator"], line["malicious_fraction"]) for line in lines] == [
        (rule, fraction) for rule in ("fedavg", "krum", "median") for fraction in ("0.2", "0.4")
    ]
    assert lines[0]["worst_attack"] == "optimal_ipm"
    assert lines[0]["adaptive"] == "True"
    assert (lines[3]["state"], lines[3]["worst_attack"]) == ("infeasible", "")


def test_files_come_and_go_with_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "figures", lambda *_: [])  # tables are enough
    folder = tmp_path / "g"
    store = records.write_attacks(
        folder, aggregators=("fedavg",), attacks=("mirrored", "worst_case"), fractions=(0.2,), seeds=(0,)
    )
    made = {p.name for p in write.write(folder)}
    assert {"worst_over_attacks.csv", "static_regret.csv"} <= made
    before = {p: p.read_bytes() for p in (folder / "tables").iterdir()}
    write.write(folder)
    assert {p: p.read_bytes() for p in (folder / "tables").iterdir()} == before
    plan = store.read_plan()
    one = [k for k in plan["keys"] if (store.read(k) or {})["facts"]["attack"] != "worst_case"]
    store.write_plan({**plan, "keys": one})
    assert not {"worst_over_attacks.csv", "static_regret.csv"} & {p.name for p in write.write(folder)}
    kept = {"cells.csv", "summary.md", "summary.csv", "summary.tex", "statistics.csv", "decomposition.csv"}
    assert {p.name for p in (folder / "tables").iterdir()} == kept


def test_a_worst_case_that_lacks_attacks_or_seeds_is_never_best(tmp_path: Path) -> None:
    """Trimmed mean lacks its hard attack, the median two seeds of one: both look better than they are."""
    plan = grid_of(
        tmp_path / "g",
        {
            **{("fedavg", a): [v] * 4 for a, v in (("mirrored", 0.3), ("shifted", 0.1))},
            **{("krum", a): [v] * 4 for a, v in (("mirrored", 0.35), ("shifted", 0.2))},
            ("trimmed_mean", "shifted"): [0.05] * 4,
            **{("median", a): v for a, v in (("mirrored", [0.2] * 2), ("shifted", [0.1] * 4))},
        },
    )
    page, frame, tidy, plan = plan
    found = worst.worst(Pivot(page, tidy), ACCURACY)
    attacked = found[~found["column"].map(lambda c: c.clean)].set_index("aggregator")
    assert attacked["partial"].to_dict() == {"fedavg": False, "krum": False, "trimmed_mean": True, "median": True}
    assert attacked["mean"].idxmax() == "trimmed_mean"
    assert attacked["remark"]["trimmed_mean"] == "1 of 2 attacks"
    assert attacked["remark"]["median"] == "2 of 4 seeds under an attack"
    (block,) = attacks.worst_blocks(Pivot(page, tidy), 9)
    last = {name: entries[-1] for name, entries in block.rows}
    assert [name for name, entry in last.items() if entry.best] == ["fedavg"]
    notes = dict(block.notes)
    assert notes[last["trimmed_mean"].note] == "1 of 2 attacks"
    assert notes[last["median"].note] == "2 of 4 seeds under an attack"
    (side,) = [b for b in attacks.overview_blocks(Pivot(page, tidy)) if b.heading.startswith("Accuracy (%)")]
    row = dict(zip(side.header[0], dict(side.rows)["worst over attacks"], strict=True))
    assert [name for name, entry in row.items() if entry.best] == ["fedavg"]
    assert dict(side.notes)[row["trimmed_mean"].note] == "1 of 2 attacks"
    tex = tables.latex(pivots(frame, tidy), plan)
    assert "attack \\textbackslash{} aggregator & fedavg" in tex  # what stands down, then what stands across


def test_the_last_attacked_round_reads_and_sorts_as_the_axis_says(tmp_path: Path) -> None:
    """None is "until the end": behind 1, and never "none", which would be no attack at all."""
    values = [(None,), (1,), (3,)]
    assert sorted(values, key=lambda v: reading_values(v, ["attack_stop"])) == [(1,), (3,), (None,)]
    assert sorted(values, key=lambda v: reading_values(v, ["clip_update"])) == [(None,), (1,), (3,)]
    store, keys = Store(tmp_path), []
    for stop in (1, None):
        cell = normal(replace(BASE, attack="mirrored", malicious_fraction=0.2, attack_stop=stop))
        for one in (cell, normal(clean_twin(cell))):
            made = records.record(one)
            if made["key"] not in keys:
                store.publish(made)
                keys.append(made["key"])
    store.write_plan({"grid": "g", "keys": keys})
    page, frame, tidy, _ = read(tmp_path)
    text = tables.markdown(frame, pivots(frame, tidy), {"grid": "g"}, [])
    assert "| aggregator \\\\ last attacked round | clean | 1 | the last |" in text
    assert page.levels == ("attack_stop",)
