"""Clean columns hold the twins of what the table shows, and say so where those were told several f."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.columns import Column
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, pages
from flipbench.analysis.pivot import Pivot, pivots, several_f
from flipbench.analysis.ranking import rank
from flipbench.analysis.worst_case import overview, places
from flipbench.errors import UserError
from flipbench.report.figures import (
    catalogue,
    damage_bars,
    heatmap,
    influence_curves,
    partition_crossover,
    rank_diagram,
)
from flipbench.report.figures.captions import clean_twins
from flipbench.report.tables import summary
from flipbench.report.tables.attacks import overview_blocks, worst_blocks
from flipbench.report.tables.cost_and_influence import cost_blocks, influence_blocks
from flipbench.report.tables.custom import Chosen, choose
from flipbench.report.tables.model import Block, blocks, pieces
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_FIELDS, ATTACK_OPTIONS
from flipbench.spec.labels import value_label
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers.records import BASE, LABEL_FLIPS, record

ACCURACY = metric_column("accuracy")
FLIPS = dict(list(LABEL_FLIPS.items())[:2])
SEEDS = (0, 1, 2)
Read = tuple[Page, Any, Any]


def matrix(right: int) -> np.ndarray:
    """(10, 10): so many of each class's 100 recognised, the rest taken for the next."""
    return np.eye(10, dtype=int) * right + np.roll(np.eye(10, dtype=int), 1, axis=1) * (100 - right)


def right(cell: Cell) -> int:
    """FedAvg does not look at f; the others lose 2 % for each client that they are told to distrust."""
    trust = 0 if cell.aggregator == "fedavg" else 2 * cell.byzantine
    return 95 - trust - 10 * (cell.attack == "mirrored") - 5 * (cell.attack.startswith("targeted")) - cell.seed


def write(
    folder: Path,
    rules: Sequence[str] = ("fedavg", "krum", "median"),
    seeds: Sequence[int] = SEEDS,
    refused: Sequence[int] = (8,),
    broken: Sequence[str] = (),
    fractions: Sequence[float] = (0.2, 0.4),
    **facts: Any,
) -> Read:
    """Two attacks at malicious fractions; krum refuses some f, the rules of ``broken`` fail."""
    store, keys = Store(folder), {}
    for rule in rules:
        for attack, mapping in FLIPS.items():
            for fraction in fractions:
                for seed in seeds:
                    base = replace(
                        BASE, aggregator=rule, attack=attack, malicious_fraction=fraction, seed=seed, **facts
                    )
                    for cell in (normal(base), normal(clean_twin(base))):
                        status: dict[str, Any] = {}
                        if rule == "krum" and cell.byzantine in refused:
                            status = {"status": "infeasible", "reason": f"refuses f = {cell.byzantine}"}
                        if rule in broken:
                            status = {"status": "failed", "reason": "made up"}
                        own = mapping if cell.attack != "none" else None
                        made = record(cell, confusion=matrix(right(cell)), mapping=own, **status)
                        if store.read(made["key"]) is None:
                            store.publish(made)
                        keys[made["key"]] = None
    store.write_plan({"grid": folder.name, "title": "t", "source": "", "command": "c", "keys": list(keys)})
    frame = frames.load(folder)
    (page,) = pages(frame)
    return page, frame, metrics.evaluate(frame)


def clean_of(block: Block, rule: str) -> str:
    """The clean number of a rule, whichever way the table lies."""
    lines = dict(block.rows)
    if block.corner == "attack":
        return lines["clean"][block.header[0].index(rule)].text
    return lines[rule][["clean" in head for head in zip(*block.header, strict=True)].index(True)].text


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


# ---- pictures say and show the same ---------------------------------------------------------------------------------


def words_of(figure: Any) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def test_the_rank_diagram_says_what_it_leaves_out(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    found = rank(Pivot(page, tidy), ACCURACY)
    assert found is not None
    told = words_of(rank_diagram.draw(page, found, ACCURACY))
    assert "averaged over 2 of 4 attacked columns" in told
    assert "In the other columns krum has no number." in told


def test_partitions_are_compared_by_the_twins_of_one_place(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    table = partition_crossover.points([Pivot(page, tidy)], ((), (0.2,)))
    clean = table[table["attack"] == "none"].set_index("aggregator")["mean"]
    assert clean.to_dict() == pytest.approx({"fedavg": 0.94, "krum": 0.86, "median": 0.86})


def test_a_long_name_in_the_legend_of_bars_is_whole(tmp_path: Path) -> None:
    rule = f"my_rules.py:mine(note='{'a long word ' * 6}end')"
    page, _, tidy = write(tmp_path / "g", rules=("fedavg", rule), fractions=(0.2,))
    shown = metric_column("accuracy_damage")
    drawn = damage_bars.draw(page, Pivot(page, tidy).squares(shown, page.attacks), shown, ((), ()))
    (legend,) = drawn.legends
    labels = [" ".join(t.get_text().split()) for t in legend.get_texts()]
    assert labels[1].endswith("end')")
    heights = [t.get_window_extent(drawn.canvas.get_renderer()) for t in drawn.texts]
    box = legend.get_window_extent(drawn.canvas.get_renderer())
    assert all(box.y0 >= text.y1 or box.y1 <= text.y0 for text in heights)  # over no caption, under no heading


def test_rounds_are_whole_numbers_on_the_axis_of_influence(tmp_path: Path) -> None:
    page, _, _ = write(tmp_path / "g", rules=("fedavg", "median"), rounds=3, fractions=(0.2,))
    drawn = influence_curves.draw(page, "mirrored", influence_curves.series(page, "mirrored"))
    drawn.canvas.draw()
    ticks = [float(t) for ax in drawn.axes for t in ax.get_xticks()]
    assert ticks
    assert all(t == round(t) for t in ticks)


def test_pictures_of_damage_tell_gains_from_nothing(tmp_path: Path) -> None:
    """Under one attack the rule does better than without: its square is no lighter shade of harm."""
    _, frame, tidy = write(tmp_path / "g", rules=("fedavg", "median"), fractions=(0.2,))
    tidy = tidy.assign(accuracy_damage=tidy["accuracy_damage"].where(tidy["attack"] == "mirrored", -0.2))
    figures = [{"kind": "heatmap", "metric": "accuracy_damage"}]
    plan = {"grid": "g", "keys": list(frame["key"]), "figures": figures}
    drawn = [
        p.draw() for p in catalogue.figures(pivots(frame, tidy), plan, True) if p.name.startswith("accuracy_damage_")
    ]
    assert drawn
    for figure in drawn:
        mesh = next(c for c in figure.axes[0].collections if c.get_array() is not None)
        assert mesh.norm.vmin == -0.2


AXES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "flip_rate": ([0.5, 1.0], {}),
    "attack_start": ([1, 3], {}),
    "attack_stop": ([2, None], {}),
    "attack_availability": ([0.5, 1.0], {}),
    "flips_trained": ([True, False], {}),
    "malicious_count": ([3, 6], {"declared_byzantine": 4}),
    "malicious_data": (["share", "fresh(examples=50)"], {}),
    "declared_byzantine": ([2, 6], {}),
}  # fields of the attack, and what the rule is told of it


def write_axis(folder: Path, field: str) -> Read:
    """A grid with one field of the attack as its axis; four malicious clients, one attack."""
    values, more = AXES[field]
    facts = {"malicious_count": 4, **more}
    store, keys = Store(folder), {}
    for rule, value, seed in product(("fedavg", "median"), values, SEEDS):
        attacked = replace(BASE, aggregator=rule, attack="mirrored", seed=seed, **{**facts, field: value})
        for cell in (normal(attacked), clean_twin(attacked)):
            own = FLIPS["mirrored"] if cell.attacked else None
            made = record(cell, confusion=matrix(right(cell)), mapping=own)
            if store.read(made["key"]) is None:
                store.publish(made)
            keys[made["key"]] = None
    store.write_plan({"grid": "axis", "title": "t", "source": "", "command": "c", "keys": list(keys)})
    frame = frames.load(folder)
    (page,) = pages(frame)
    return page, frame, metrics.evaluate(frame)


def test_the_axes_are_all_that_a_clean_twin_has_in_common_with_several_attacked_cells() -> None:
    assert {*AXES} == {*ATTACK_FIELDS, "declared_byzantine"} - {"attack", "malicious_fraction"}


@pytest.mark.parametrize("field", AXES)
def test_a_field_of_the_attack_as_axis_has_one_clean_column_of_the_twins_of_all(tmp_path: Path, field: str) -> None:
    page, frame, tidy = write_axis(tmp_path / "g", field)
    assert page.settings == ()
    table = Pivot(page, tidy).squares(ACCURACY, page.attacks)
    clean = table[[c.clean for c in table["column"]]]
    assert list(clean["state"]) == ["done", "done"]  # a square a rule
    assert len(set(table["column"])) == 1 + len(AXES[field][0])
    twins = set(frame.loc[frame["attack"] == "none", "declared_byzantine"])
    number = f"{94 - 2 * sum(twins) / len(twins):.1f}"  # of the median, mean over the f that its twins have
    (block,) = blocks(Pivot(page, tidy), ACCURACY, table, 9)
    assert sum("clean" in column for column in zip(*block.header, strict=True)) == 1
    assert clean_of(block, "median").startswith(number)
    chosen = choose(frame, tidy, columns=["attack", field])
    assert chosen.block.header[0].count("clean") == 1
    assert clean_of(chosen.block, "median").startswith(number)
    assert len(twins) == (2 if field in ("malicious_data", "declared_byzantine") else 1)
    said = f"mean over the declared f of the clean twins ({', '.join(map(str, sorted(twins)))})"
    for text in (dict(block.notes).get("clean", ""), clean_twins(table), chosen.said):
        assert (said in text) == (len(twins) > 1)
        assert ("declared f of the clean twins" in text) == (len(twins) > 1)


@pytest.mark.parametrize("field", AXES)
def test_clean_rows_are_as_many_as_there_are_different_twins(tmp_path: Path, field: str) -> None:
    """Where the field stands down: an option of the attack has one clean row, what changes f has one a value."""
    _, frame, tidy = write_axis(tmp_path / "g", field)
    names = [name for name, _ in choose(frame, tidy, rows=[field], columns=["aggregator"]).block.rows]
    clean = [name for name in names if name.startswith("clean")]
    assert len(set(names)) == len(names) == len(clean) + len(AXES[field][0])
    assert len(clean) == (1 if field in ATTACK_OPTIONS else len(AXES[field][0]))


@pytest.mark.parametrize("field", ["flips_trained", "malicious_data"])
@pytest.mark.parametrize("metric", ["accuracy", "source_recall"])
def test_a_figure_over_a_field_of_the_attack_has_one_clean_column_too(tmp_path: Path, field: str, metric: str) -> None:
    page, _, tidy = write_axis(tmp_path / "g", field)
    shown = metric_column(metric)
    table = Pivot(page, tidy).squares(shown, page.attacks)
    assert set(table["state"]) == {"done"}
    drawn = heatmap.draw(page, table, shown, page.attacks[0], Normalize(0, 1))
    words = [t.get_text().replace("\n", "") for t in drawn.findobj(Text)]
    assert words.count("clean") == 1
    for value in AXES[field][0]:
        assert value_label(field, value) in words
