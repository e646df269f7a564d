"""Rules against each other: what is marked, what is claimed, what the CSV says, what is said of too few seeds."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flipbench.analysis import comparisons, metrics, rank_tests, statistics
from flipbench.analysis import frame as frames
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report import write as report
from flipbench.report.tables import comparisons_csv, summary
from flipbench.report.tables.model import blocks
from tests.helpers import records
from tests.helpers.records import write_three_rules


def test_what_cannot_be_told_from_the_best_is_marked_from_six_seeds_on(tmp_path: Path) -> None:
    frame, tidy, plan = write_three_rules(tmp_path / "ten", 10)
    (page,) = pages(frame)
    table = Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks)
    (block,) = blocks(Pivot(page, tidy), metric_column("accuracy"), table, 9)
    marks = {name: [(e.best, e.tied) for e in entries] for name, entries in block.rows}
    assert marks["krum"] == [(False, False)] * 2
    for place in (0, 1):  # clean and attacked: one of the two is best, the other cannot be told from it
        assert sorted([marks["fedavg"][place], marks["median"][place]]) == [(False, True), (True, False)]
    text = summary.markdown(frame, pivots(frame, tidy), plan, [])
    assert "<ins>" in text
    assert "Underlined: cannot be told from the best" in text
    assert r"\underline{" in summary.latex(pivots(frame, tidy), plan)
    assert "~" in summary.terminal(pivots(frame, tidy), 100)


def test_with_five_seeds_nothing_is_claimed_and_the_reason_is_said(tmp_path: Path) -> None:
    frame, tidy, plan = write_three_rules(tmp_path / "five", 5)
    (page,) = pages(frame)
    assert not Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks)["tied"].any()
    text = summary.markdown(frame, pivots(frame, tidy), plan, [])
    assert "<ins>" not in text
    assert "with 5 seeds the smallest two-sided p of the exact signed-rank test is 0.0625" in text
    lines = list(csv.DictReader(io.StringIO(str(comparisons_csv.comparisons_csv(pivots(frame, tidy))))))
    assert {line["claim"] for line in lines} == {"too few seeds"}


def test_the_csv_has_every_pair_with_scipys_numbers(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    lines = list(csv.DictReader(io.StringIO(str(comparisons_csv.comparisons_csv(pivots(frame, tidy))))))
    mine = [line for line in lines if line["metric"] == "accuracy"]
    assert len(mine) == 2 * 3  # columns x pairs
    (page,) = pages(frame)
    values, columns = Pivot(page, tidy).by_seed(metric_column("accuracy"), page.attacks)
    raw = []
    for line, (i, (a, b)) in zip(mine, itertools.product(range(2), itertools.combinations(range(3), 2)), strict=True):
        assert (line["attack"], line["first"], line["second"]) == (columns[i].attack, page.rows[a], page.rows[b])
        x, y = values[i, a], values[i, b]
        told = stats.ttest_rel(x, y)
        raw.append(told.pvalue)
        assert float(line["difference"]) == pytest.approx((x - y).mean())
        assert float(line["p_t"]) == pytest.approx(told.pvalue)
        assert float(line["p_wilcoxon"]) == pytest.approx(float(rank_tests.wilcoxon(x - y)))
        assert (float(line["low"]), float(line["high"])) == pytest.approx(told.confidence_interval(0.95))
        assert line["n"] == "10"
        assert line["comparisons"] == "6"
        assert line["claim"] == (
            "first" if "krum" in (line["second"],) else "second" if line["first"] == "krum" else "none"
        )
    assert [float(line["p_t_holm"]) for line in mine] == pytest.approx(statistics.holm(raw).tolist())


@pytest.mark.parametrize(("metric", "better"), [("accuracy", "second"), ("accuracy_damage", "first")])
def test_the_claim_knows_what_is_better(metric: str, better: str) -> None:
    first = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    apart = np.array([0.11, 0.1, 0.09, 0.1, 0.1, 0.12])
    pairs = comparisons.compare(np.stack([[first, first + apart]]))
    assert comparisons_csv._numbers(pairs, metric_column(metric))["claim"].tolist() == [[better]]


def test_statistics_csv_has_the_interval_and_the_mean_of_the_last_rounds(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "ten", 10)
    lines = list(csv.DictReader(io.StringIO(comparisons_csv.statistics_csv(pivots(frame, tidy)))))
    line = next(
        one for one in lines if (one["metric"], one["aggregator"], one["attack"]) == ("accuracy", "krum", "none")
    )
    own = tidy[(tidy["aggregator"] == "krum") & tidy["clean"]]
    assert float(line["mean"]) == pytest.approx(own["accuracy"].mean())
    assert float(line["mean_of_last_rounds"]) == pytest.approx(own["accuracy_last5"].mean())
    assert (float(line["least"]), float(line["most"])) == (own["accuracy"].min(), own["accuracy"].max())
    ends = [float(line[name]) for name in ("student_low", "student_high")]
    assert ends == pytest.approx([float(end) for end in statistics.student_interval(own["accuracy"])])
    assert line["n"] == "10"
    assert {one["mean_of_last_rounds"] for one in lines if one["metric"] == "accuracy_damage"} == {""}


def test_only_common_seeds_are_compared(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "gaps", 8, skip=(("krum", 0), ("krum", 1), ("krum", 2)))
    lines = list(csv.DictReader(io.StringIO(str(comparisons_csv.comparisons_csv(pivots(frame, tidy))))))
    n = {(line["first"], line["second"]): line["n"] for line in lines if line["metric"] == "accuracy"}
    assert n == {("fedavg", "median"): "8", ("fedavg", "krum"): "5", ("median", "krum"): "5"}
    claims = {line["claim"] for line in lines if "krum" in (line["first"], line["second"])}
    assert claims == {"too few seeds"}


def test_tied_by_hand() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=12)
    values = np.stack([base, base + 0.01 * rng.normal(size=12), base - 1 + 0.01 * rng.normal(size=12)])[None]
    best = int(values.mean(-1)[0].argmax())
    all_rivals = np.ones((1, 3), dtype=bool)
    assert comparisons.tied(values, True, all_rivals) == {(0, 0), (0, 1)} - {(0, best)}
    assert comparisons.tied(values, False, all_rivals) == set()  # the third is alone at the bottom
    assert comparisons.tied(values[..., :5], True, all_rivals) == set()
    without = np.arange(3)[None] != best  # the best is no rival
    assert comparisons.tied(values, True, without) == set()  # the other is the best then, and the third far from it


def test_two_twins_of_a_seed_are_one_number() -> None:
    made = comparisons.seed_table([0] * 4, [0, 0, 1, 1], [3, 3, 5, 3], [0.5, 0.7, 0.9, np.nan], (1, 2))
    assert made.shape == (1, 2, 2)
    assert made[0, 0, 0] == pytest.approx(0.6)
    assert np.isnan(made[0, 0, 1])
    assert made[0, 1, 1] == 0.9


@pytest.mark.slow
def test_comparisons_are_written_beside_the_tables(tmp_path: Path) -> None:
    write_three_rules(tmp_path / "ten", 10)
    names = {p.name for p in report.write(tmp_path / "ten")}
    assert {"comparisons.csv", "statistics.csv"} <= names
    assert "cannot be told from it" in report.summary_text(tmp_path / "ten")


def test_how_many_seeds_a_table_of_comparisons_needs() -> None:
    assert comparisons.tests_of(9, 4) == 54
    assert "12 to do so after correction for 54 comparisons" in comparisons.too_few(5, 54)


@pytest.mark.parametrize(
    ("seeds", "rules", "warns"), [("[0, 1, 2]", 2, True), ("[0, 1, 2, 3, 4, 5]", 2, False), ("0", 1, False)]
)
def test_the_plan_warns_before_the_run(tmp_path: Path, seeds: str, rules: int, warns: bool) -> None:
    from typer.testing import CliRunner

    from flipbench.cli.app import app

    grid = tmp_path / "tiny.yaml"
    grid.write_text(
        "name: tiny\n"
        "base: {dataset: digits, model: softmax, clients: 5, rounds: 2, local_steps: 1, malicious_count: 1}\n"
        f"axes: {{aggregator: {['fedavg', 'median'][:rules]}, attack: [mirrored]}}\n"
    )
    done = CliRunner().invoke(app, ["plan", str(grid), "--set", f"seed={seeds}", "--results", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert ("no difference between rules can be claimed" in done.output) == warns
    if warns:
        assert "with 3 seeds the smallest two-sided p" in done.output
        assert "7 to do so after correction for 2 comparisons" in done.output


def test_every_line_says_which_table_it_is_of_and_how_many_were_corrected_there(tmp_path: Path) -> None:
    """Two attacks with source and target classes: their clean lines have other numbers, and are told apart."""
    records.write_grid(
        tmp_path / "g",
        aggregators=("fedavg", "median", "trimmed_mean"),
        attacks={f"targeted(source={s}, target={t})": [(s, t)] for s, t in ((4, 9), (0, 1))} | {"mirrored": None},
        fractions=(0.2,),
        flip_rates=(1.0,),
        seeds=range(3),
    )
    frame = frames.load(tmp_path / "g")
    tidy = metrics.evaluate(frame)
    texts = {
        ("aggregator",): comparisons_csv.statistics_csv(pivots(frame, tidy)),
        ("first", "second"): str(comparisons_csv.comparisons_csv(pivots(frame, tidy))),
        ("aggregator", "metric"): summary.summary_csv(pivots(frame, tidy)),
    }
    for whose, text in texts.items():
        lines = list(csv.DictReader(io.StringIO(text)))
        names = ["metric", "attack", "of_attack", *whose]
        assert len({tuple(line[n] for n in names) for line in lines}) == len(lines)
        for line in lines:
            mapped = line["metric"].startswith(("source_recall", "attack_success_rate"))
            assert bool(line["of_attack"]) == mapped
            assert line["attack"] in ("none", line["of_attack"]) or not mapped
    tested = list(csv.DictReader(io.StringIO(texts["first", "second"])))
    table = Counter((line["metric"], line["of_attack"]) for line in tested if line["p_t"])
    assert {
        (m, a): int(line["comparisons"]) for line in tested for m, a in [(line["metric"], line["of_attack"])]
    } == table
    assert len(table) == 6
