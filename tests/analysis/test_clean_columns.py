"""Clean columns hold the twins of what the table shows, and say so where those were told several f."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flipbench.analysis.columns import Column
from flipbench.analysis.frame import load
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots, several_f
from flipbench.analysis.ranking import rank
from flipbench.analysis.worst_case import overview, places
from flipbench.errors import UserError
from flipbench.report.figures.captions import clean_twins
from flipbench.report.tables import summary
from flipbench.report.tables.attacks import overview_blocks, worst_blocks
from flipbench.report.tables.cost_and_influence import cost_blocks, influence_blocks
from flipbench.report.tables.custom import Chosen, choose
from flipbench.report.tables.model import blocks, pieces
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.analysis.clean_cases import ACCURACY, clean_of, write
from tests.helpers.records import BASE, QUICK, record


def test_a_table_of_one_fraction_has_the_twins_of_that_fraction(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    found = {b.heading: b for b in overview_blocks(Pivot(page, tidy))}
    told = {fraction: next(b for h, b in found.items() if f"fraction {fraction} %" in h) for fraction in (20, 40)}
    for fraction, f in ((20, 4), (40, 8)):
        assert clean_of(told[fraction], "fedavg").startswith("94.0")
        assert clean_of(told[fraction], "median").startswith(f"{94 - 2 * f}.0")
        assert "clean" not in dict(told[fraction].notes)  # one f: nothing to be said
    assert clean_of(told[20], "krum").startswith("86.0")
    assert clean_of(told[40], "krum") == "–"  # it has no twin that was told this f
    for place in places(page):
        table = overview(Pivot(page, tidy), ACCURACY, place)
        assert "with the declared f less the sybils, if any" in clean_twins(table)


def test_a_table_of_several_f_says_that_its_clean_column_is_their_mean(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    table = Pivot(page, tidy).squares(ACCURACY, page.attacks)
    assert several_f(table) == (4, 8)
    assert "mean over the declared f of the clean twins (4, 8)" in clean_twins(table)
    (block,) = blocks(Pivot(page, tidy), ACCURACY, table, 9)
    (whole,) = worst_blocks(Pivot(page, tidy), 9)
    for one in (block, whole):
        assert clean_of(one, "median").startswith("82.0")  # between 86 and 78
        assert dict(one.notes)["clean"].endswith("(4, 8)")
        krum = dict(one.rows)["krum"][one.header[-1].index("clean")]
        assert krum.text.startswith("86.0")  # of f = 4 alone, and it says so
        assert dict(one.notes)[krum.note] == "over f 4 alone: the rule refuses 8"
    assert several_f(Pivot(page, tidy).squares(ACCURACY, page.attacks, [Column("mirrored", (), (0.2,))])) == ()


def test_a_table_that_is_cut_has_the_twins_of_what_it_shows(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g", fractions=(0.1, 0.2, 0.3, 0.4))
    table = Pivot(page, tidy).squares(ACCURACY, page.attacks)
    found = [b for b in blocks(Pivot(page, tidy), ACCURACY, table, 4) if "clean" in b.header[-1]]
    assert [b.header[-1] for b in found] == [("clean", "10 %", "20 %")] * 2
    for block in found:
        assert clean_of(block, "median").startswith("88.0")  # f = 2 and 4
        assert dict(block.notes)["clean"].endswith("(2, 4)")
    first = next(iter(worst_blocks(Pivot(page, tidy), 3)))
    assert clean_of(first, "median").startswith("88.0")


def test_the_robustness_cost_says_over_which_f(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    (block,) = cost_blocks([Pivot(page, tidy)])
    assert block.heading.endswith("; mean over declared f 4, 8")
    (krum,), (median,) = dict(block.rows)["krum"], dict(block.rows)["median"]
    assert (krum.text[:3], median.text[:4]) == ("8.0", "12.0")
    assert dict(block.notes)[krum.note] == "over f 4 alone: the rule refuses 8"
    one, _, own = write(tmp_path / "one", fractions=(0.2,))
    (block,) = cost_blocks([Pivot(one, own)])
    assert "declared f" not in block.heading


def test_a_failed_rule_is_no_infeasible_one(tmp_path: Path) -> None:
    """A dash means infeasible; a rule that failed has a question mark and a reason, in both tables of standing."""
    page, _, tidy = write(tmp_path / "g", broken=("median",), refused=(4, 8))
    for block in (*cost_blocks([Pivot(page, tidy)]), *influence_blocks(Pivot(page, tidy))):
        krum, median = (dict(block.rows)[rule][0] for rule in ("krum", "median"))
        assert (krum.text, median.text) == ("–", "?")
        assert dict(block.notes)[krum.note] == "infeasible: refuses f = 4"
        assert dict(block.notes)[median.note] == "the cell failed"


def test_the_influence_says_over_what_it_is_averaged(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    (block,) = influence_blocks(Pivot(page, tidy))
    assert block.heading.endswith("; mean over 2 attacks")


def test_the_ranking_says_which_columns_it_leaves_out_and_why(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    found = rank(Pivot(page, tidy), ACCURACY)
    assert found is not None
    assert (found.columns, found.asked, found.unranked) == (2, 4, ("krum",))
    whole = rank(Pivot(*write(tmp_path / "whole", refused=())[::2]), ACCURACY)
    assert whole is not None
    assert (whole.columns, whole.asked, whole.unranked) == (4, 4, ())


def lines_of(made: Chosen) -> list[dict[str, Any]]:
    return [dict(zip(made.names, line, strict=True)) for line in made.lines]


def test_without_the_attack_among_the_facts_attacked_cells_alone_are_averaged(tmp_path: Path) -> None:
    _, frame, tidy = write(tmp_path / "g")
    made = choose(frame, tidy, columns=["declared_byzantine"])
    assert made.block.header == (("clean", *["mean of all attacks"] * 2), ("", "4", "8"))
    numbers = {(n["aggregator"], n["attack"], n["declared_byzantine"]): n["mean"] for n in lines_of(made)}
    attacked = tidy[(tidy["attack"] != "none") & (tidy["aggregator"] == "median")]
    for f in (4, 8):
        own = attacked.loc[attacked["declared_byzantine"] == f, "accuracy"].mean()
        assert numbers["median", "all", f] == pytest.approx(own)
    assert numbers["median", "none", None] == pytest.approx(0.82)
    assert "attack" in made.said.split("Averaged within each seed over: ")[1]
    assert "Clean: mean over the declared f of the clean twins (4, 8)" in made.said
    one = choose(frame, tidy, columns=["declared_byzantine"], where=["attack=mirrored"])
    assert one.block.header[0] == ("clean", "mirrored", "mirrored")
    down = choose(frame, tidy, rows=["malicious_fraction"], columns=["aggregator"])
    assert [name for name, _ in down.block.rows] == [
        f"{what}, {share} %" for what in ("clean", "mean of all attacks") for share in (20, 40)
    ]
    at = {name: [e.text[:4] for e in line] for name, line in down.block.rows}
    assert (at["clean, 20 %"], at["clean, 40 %"]) == (["94.0", "86.0", "86.0"], ["94.0", "–", "78.0"])


def test_a_twin_counts_once_however_many_attacks_share_it(tmp_path: Path) -> None:
    """Two attacks at f = 4 and one at f = 8: the clean column is the mean of the two twins, not of three cells."""
    _, frame, tidy = write(tmp_path / "g")
    gone = (frame["attack"] == "mirrored") & (frame["malicious_fraction"] == 0.4)
    frame = frame[~gone].reset_index(drop=True)
    (line,) = [n for n in lines_of(choose(frame, tidy)) if (n["aggregator"], n["attack"]) == ("median", "none")]
    assert line["mean"] == pytest.approx(0.82)


def test_attack_none_shows_the_clean_cells(tmp_path: Path) -> None:
    _, frame, tidy = write(tmp_path / "g")
    made = choose(frame, tidy, columns=["declared_byzantine"], where=["attack=none"])
    assert made.block.header == (("4", "8"),)
    numbers = {(n["aggregator"], n["declared_byzantine"]): n["mean"] for n in lines_of(made)}
    assert (numbers["median", 4], numbers["median", 8]) == (pytest.approx(0.86), pytest.approx(0.78))
    with pytest.raises(UserError, match="a clean cell has no damage"):
        choose(frame, tidy, "accuracy_damage", where=["attack=none"])


def test_shares_are_asked_for_as_tables_print_them(tmp_path: Path) -> None:
    _, frame, tidy = write(tmp_path / "g", fractions=(0.2, 0.35))
    for text in ("20%", "20 %", "0.2"):
        made = choose(frame, tidy, where=[f"malicious_fraction={text}"])
        assert {n["malicious_fraction"] for n in lines_of(made)} == {None, 0.2}


def test_what_is_not_defined_says_why(tmp_path: Path) -> None:
    _, frame, tidy = write(tmp_path / "g")
    made = choose(frame, tidy, "collateral", where=["attack=mirrored"])
    assert "every class is a source class" in dict(made.block.notes).values()
    page = pages(frame)[0]
    table = Pivot(page, tidy).squares(metric_column("collateral"), ["mirrored"])
    assert set(table.loc[table["state"] == "undefined", "reason"]) == {"every class is a source class"}


def test_the_last_rounds_are_left_out_where_they_are_the_last_round_alone(tmp_path: Path) -> None:
    heading = "### Accuracy, mean of the last"
    for rounds, there in ((4, True), (40, False)):  # evaluated after 1, 2 and 3, say
        _, frame, tidy = write(tmp_path / str(rounds), rounds=rounds)
        text = summary.markdown(frame, pivots(frame, tidy), {"grid": "g"}, [])
        assert (heading in text) == there
        assert ("accuracy_last5" in summary.summary_csv(pivots(frame, tidy))) == there
        made = choose(frame, tidy, "accuracy_last5")
        assert "second half of training" in made.said


def test_no_column_is_left_over_alone() -> None:
    """Nine and one become five and five; settings stay whole where that needs no more pieces."""
    columns = [Column(a, (lr,), () if a == "none" else (r,)) for lr in (0.1, 0.5) for a, r in (
        ("none", 0), ("x", 1), ("x", 2), ("x", 3), ("x", 4))]  # fmt: skip
    assert [len(part) for part in pieces(columns, 9)] == [5, 5]
    assert pieces(columns, 10) == [columns]
    odd = [Column("x", (), (i,)) for i in range(10)]
    for most in range(1, 11):
        found = pieces(odd, most)
        assert [c for part in found for c in part] == odd
        assert len(found) == -(-10 // most)
        assert max(map(len, found)) - min(map(len, found)) <= 1
    lopsided = [Column("x", (0 if i < 1 else 1,), (i,)) for i in range(10)]
    assert max(len(part) for part in pieces(lopsided, 5)) == 5  # a cut after the first would need three


def test_a_rule_without_attacked_cells_has_its_clean_numbers(tmp_path: Path) -> None:
    """In a setting of its own it has a column of its own: numbers of two experiments are never averaged."""
    store, keys = Store(tmp_path / "g"), []
    attacked = replace(BASE, attack="mirrored", malicious_fraction=0.2)
    alone = [replace(BASE, aggregator="median", learning_rate=rate) for rate in (BASE.learning_rate, 0.5)]
    for one, right in ((attacked, 50), (clean_twin(attacked), 90), (alone[0], 80), (alone[1], 70)):
        counts = np.full((1, 10, 10), 0)
        counts[0, range(10), range(10)] = right
        counts[0, range(10), [*range(1, 10), 0]] = 100 - right
        made = record(one, confusion=counts, rounds=[1], mapping=None)
        store.publish(made)
        keys.append(made["key"])
    store.write_plan({"grid": "g", "title": "made up", "keys": keys, "figure_options": QUICK})
    frame = load(tmp_path / "g")
    (pivot,) = pivots(frame, evaluate(frame))
    assert pivot.page.settings == ("learning_rate",)
    table = pivot.squares(ACCURACY, pivot.page.attacks)
    clean = table[table["column"].map(lambda column: column.clean)]
    shown = {(s.aggregator, s.column.setting): s.mean for s in clean.itertuples() if s.state == "done"}
    usual = (BASE.learning_rate,)
    assert shown == pytest.approx({("fedavg", usual): 0.9, ("median", usual): 0.8, ("median", (0.5,)): 0.7})
