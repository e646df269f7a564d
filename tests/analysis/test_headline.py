"""The headline of a grid: which evaluated rounds numbers are of, from the grid file to every table, figure and test."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.folders.run_comparison import compare_folders
from flipbench.analysis.pivot import pivots
from flipbench.api.results import load
from flipbench.cli.app import app
from flipbench.errors import UserError
from flipbench.grid import reader
from flipbench.report import write
from flipbench.report.tables.comparisons_csv import comparisons_csv
from flipbench.spec.cell import Cell
from flipbench.spec.headline import Headline, late_rounds, parse
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers.records import BASE, QUICK, record

RIGHT = {  # of 1,000 images in rounds 17 to 20, by rule and whether under attack
    ("fedavg", True): (300, 900, 300, 900),
    ("fedavg", False): (900, 910, 920, 930),
    ("median", True): (700, 720, 740, 800),
    ("median", False): (850, 860, 870, 880),
}
ATTACK = "targeted(source=4, target=9)"


def counts(right: int) -> np.ndarray:
    made = np.zeros((10, 10), dtype=int)
    for c in range(10):
        made[c, c], made[c, (c + 1) % 10] = right // 10, 100 - right // 10
    return made


def write_grid(folder: Path, headline: str | None = None, seeds: int = 6) -> Path:
    """Seeds differ by 0, 10, 20, ... images."""
    store, keys = Store(folder), {}
    for rule, seed in product(("fedavg", "median"), range(seeds)):
        cell = replace(BASE, rounds=20, attack=ATTACK, aggregator=rule, malicious_fraction=0.2, seed=seed)
        for own in (cell, clean_twin(cell)):
            matrices = np.stack([counts(right + 10 * seed) for right in RIGHT[rule, own is cell]])
            made = record(own, confusion=matrices, rounds=[17, 18, 19, 20], mapping=[(4, 9)] if own is cell else None)
            store.publish(made)
            keys[made["key"]] = None
    plan = {"grid": folder.name, "title": "made up", "keys": list(keys), "figure_options": QUICK}
    store.write_plan({**plan, "headline": headline} if headline else plan)
    return folder


def by_hand(headline: str, rule: str, attacked: bool, seed: int) -> float:
    own = [(right + 10 * seed) / 1000 for right in RIGHT[rule, attacked]]
    return {"last": own[-1], "mean_last(3)": sum(own[-3:]) / 3, "min_last(2)": min(own[-2:])}[headline]


@pytest.mark.parametrize("headline", ["last", "mean_last(3)", "min_last(2)"])
def test_numbers_twins_and_damage_are_of_these_rounds(tmp_path: Path, headline: str) -> None:
    tidy = metrics.evaluate(frames.load(write_grid(tmp_path / "g", headline, seeds=2)))
    assert set(tidy["headline"]) == {headline}
    for row in tidy.to_dict("records"):
        attacked = row["attack"] != "none"
        own = by_hand(headline, row["aggregator"], attacked, row["seed"])
        twin = by_hand(headline, row["aggregator"], False, row["seed"])
        assert row["accuracy"] == pytest.approx(own)
        assert row["accuracy_clean"] == pytest.approx(twin)
        assert row["accuracy_damage"] == pytest.approx(twin - own)
        if attacked:  # the worst of an attack's success is the greatest; a tenth of the source goes to class 5, not 9
            assert row["source_recall"] == pytest.approx(own)


def test_the_worst_of_what_should_be_low_is_the_greatest(tmp_path: Path) -> None:
    store, cell = Store(tmp_path / "g"), replace(BASE, rounds=3, attack=ATTACK, malicious_fraction=0.2)
    matrices = np.stack([np.diag([100] * 10)] * 3)
    for i, taken in enumerate((70, 10, 30)):
        matrices[i, 4, 4], matrices[i, 4, 9] = 100 - taken, taken
    made = record(cell, confusion=matrices, mapping=[(4, 9)])
    store.publish(made)
    store.write_plan({"grid": "g", "keys": [made["key"]], "headline": "min_last(2)"})
    row = metrics.evaluate(frames.load(tmp_path / "g")).iloc[0]
    assert (row["attack_success_rate"], row["source_recall"]) == (0.3, 0.7)


def test_tables_figures_tests_and_captions_are_of_the_headline(tmp_path: Path) -> None:
    """The order of two rules turns with the headline, and so does the claim."""
    claims = {}
    for headline in ("last", "mean_last(4)"):
        folder = write_grid(tmp_path / headline[:4], headline)
        frame, tidy, _ = write.read(folder)
        lines = csv.DictReader(io.StringIO(str(comparisons_csv(pivots(frame, tidy)))))
        wanted = [("accuracy", ATTACK)]
        claims[headline] = [(x["first"], x["claim"]) for x in lines if (x["metric"], x["attack"]) in wanted]
        said = "of the last round" if headline == "last" else "mean of the last 4 evaluated rounds"
        write.write(folder)
        for name in ("tables/summary.md", "tables/summary.tex", "report.html"):
            assert said in (folder / name).read_text("utf-8")
        assert said in write.summary_text(folder, 100)
        svg = next((folder / "heatmaps").glob("accuracy_targeted*.svg")).read_text("utf-8")
        assert ("after the last round" in svg) == (headline == "last")
    assert claims == {"last": [("fedavg", "first")], "mean_last(4)": [("fedavg", "second")]}


def test_report_and_python_take_another_headline(tmp_path: Path) -> None:
    folder = write_grid(tmp_path / "g")
    ran = CliRunner().invoke(app, ["report", str(folder), "--headline", "mean_last(3)", "--where", "attack=none"])
    assert ran.exit_code == 0, ran.output
    assert "mean of the last 3" in ran.output
    assert "| median | 89.5" in ran.output  # 87.0 and 2.5 for the seeds
    cells = load(folder, headline="min_last(2)").cells
    assert cells.query("aggregator == 'fedavg' and seed == 0 and attack != 'none'")["accuracy"].item() == 0.3
    assert "headline" not in json.loads((folder / "plan.json").read_text("utf-8"))
    for wrong in ("best", "mean_last(0)", "max_last(2)", "mean_last"):
        with pytest.raises(UserError, match="needs last, mean_last"):
            load(folder, headline=wrong)
    with pytest.raises(UserError, match="needs 9 evaluated rounds in the second half of training, and 24 of 24 cells"):
        write.read(folder, headline="mean_last(9)")


def test_folders_of_two_headlines_are_not_compared(tmp_path: Path) -> None:
    first, second = write_grid(tmp_path / "a" / "g", seeds=1), write_grid(tmp_path / "b" / "g", "min_last(2)", seeds=1)
    with pytest.raises(UserError, match="last and min_last"):
        compare_folders(first, second)
    assert compare_folders(first, second, headline="last").identical == 4


GRID = "base: {{dataset: digits, clients: 4, malicious_count: 1, attack: mirrored, rounds: 8, {}}}\n{}"


def test_a_grid_file_has_a_headline() -> None:
    text = GRID.format("evaluate_every: 4, evaluate_last: 3", "headline: mean_last(4)")
    grid = reader.read_text(text, "g", "g.yaml")
    assert grid.headline == Headline("mean", 4)
    assert reader.read_text(GRID.format("seed: 1", ""), "g", "g.yaml").headline == Headline()
    assert reader.read_text(text, "g", "g.yaml", headline="min_last(k=2)").headline == Headline("min", 2)


@pytest.mark.parametrize(
    ("fields", "given", "said"),
    [
        ("seed: 0", "headline: best", "g.yaml:2:11: headline: needs last, mean_last(k) or min_last(k)"),
        ("seed: 0", "headline: [last]", "g.yaml:2:11: headline: needs last"),
        ("seed: 0", "headline: 5", "g.yaml:2:11: headline: needs last"),
        ("evaluate_every: 4", "headline: mean_last(3)", "g.yaml:2:11: headline: mean_last(3) needs 3 evaluated rounds"),
    ],
)
def test_what_is_no_headline_is_refused_with_its_place(fields: str, given: str, said: str) -> None:
    with pytest.raises(reader.GridError) as error:
        reader.read_text(GRID.format(fields, given), "g", "g.yaml")
    assert said in str(error.value)


def test_the_command_lines_headline_is_refused_with_its_name() -> None:
    with pytest.raises(reader.GridError, match="--headline mean_last\\(3\\): mean_last\\(3\\) needs 3"):
        reader.read_text(GRID.format("evaluate_every: 8", ""), "g", "g.yaml", headline="mean_last(3)")


@pytest.mark.parametrize("rounds", [1, 2, 7, 8])
@pytest.mark.parametrize(("every", "last"), [(1, 1), (3, 1), (3, 4), (8, 8), (100, 1)])
def test_late_rounds_are_those_that_the_federation_evaluates(rounds: int, every: int, last: int) -> None:
    """By the sentence in the docstring of `Cell`: the first and the last round, every k-th, and the last ones."""
    cell = Cell(rounds=rounds, evaluate_every=every, evaluate_last=last)
    evaluated = {1, rounds} | {r for r in range(1, rounds + 1) if r % every == 0}
    evaluated |= set(range(max(1, rounds - last + 1), rounds + 1))
    assert late_rounds(cell) == len([r for r in evaluated if r >= rounds / 2])


def test_a_headline_in_words() -> None:
    assert str(parse("mean_last( k=5 )")) == "mean_last(5)"
    assert parse(None) == parse("last")
    assert parse("min_last(5)").said == "worst of the last 5 evaluated rounds"
