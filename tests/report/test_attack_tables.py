"""Worst case over attacks: numbers by hand, then its tables, marks and files."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flipbench.analysis import worst_case as worst
from flipbench.analysis.columns import WORST, reading_values
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import attack_name, showable, single_pairs
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report import write
from flipbench.report.figures import catalogue
from flipbench.report.tables import attacks, attacks_csv
from flipbench.report.tables import summary as tables
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.records import ATTACKS, BASE
from tests.report import naive_intervals
from tests.report.attack_cases import ACCURACY, Read, grid_of, read

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
        expected = naive_intervals.of_shares(values)
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
    kept |= {"stability.csv"}
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
