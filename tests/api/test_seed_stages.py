"""Sequential runs: which cells are run, whatever interrupts them and whoever runs them; what tables say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis.pivot import pivots
from flipbench.api import planning, seed_stages
from flipbench.execution.runner import Outcome
from flipbench.grid.reader import Grid
from flipbench.report import write
from flipbench.report.tables import comparisons_csv
from flipbench.report.tables import summary as tables
from tests.helpers import tiny_runs

GRID = """
name: tiny
base: {dataset: digits, clients: 10, model: softmax, rounds: 4, local_steps: 4, batch_size: 8, learning_rate: 0.5}
axes:
  aggregator: [fedavg, median]
  attack: ["all_to_one(target=0)"]
  malicious_fraction: [0.1, 0.4]
seeds: {least: 4, most: 10, until: decided}
"""


def run(grid: Grid, folder: Path, stages: int = 99) -> list[str]:
    """What is said of the looks; only so many stages are run, and then an interrupt ends the run."""
    said: list[str] = []
    left = [stages]

    def cells_of(part: Grid, into: Path) -> Outcome:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return tiny_runs.run(part, into)

    seed_stages.run(grid, folder, cells_of, said.append)
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, Path, list[str]]:
    folder = tmp_path_factory.mktemp("whole")
    grid = tiny_runs.read(folder, GRID)
    return grid, folder / "tiny", run(grid, folder / "tiny")


def test_fewer_cells_than_the_most_are_run_and_what_is_decided_is_said(whole: tuple[Grid, Path, list[str]]) -> None:
    grid, folder, said = whole
    keys = json.loads((folder / "plan.json").read_text())["keys"]
    assert set(keys) == set(tiny_runs.numbers(folder))
    assert 4 * 8 < len(keys) < len(grid.cells) == 10 * 8
    assert said[0].startswith("after 4 seeds: 0 of 3 comparisons are decided")
    assert said[-1].endswith(("the run is over", "the others are futile"))  # which, depends on the processor


def test_an_interrupted_run_ends_with_the_same_cells_and_numbers(
    whole: tuple[Grid, Path, list[str]], tmp_path: Path
) -> None:
    grid, folder, said = whole
    with pytest.raises(KeyboardInterrupt):
        run(grid, tmp_path, stages=2)
    assert run(grid, tmp_path) == said
    assert tiny_runs.numbers(tmp_path) == tiny_runs.numbers(folder)


def test_a_seed_has_all_clean_twins_of_its_cells(whole: tuple[Grid, Path, list[str]]) -> None:
    _, folder, _ = whole
    records = [json.loads(text) for text in tiny_runs.numbers(folder).values()]
    attacked = [r for r in records if r["facts"]["attack"] != "none"]
    assert {r["twin"] for r in attacked} <= set(tiny_runs.numbers(folder))


def test_tables_say_how_many_seeds_each_square_has(whole: tuple[Grid, Path, list[str]]) -> None:
    _, folder, _ = whole
    text = write.summary_text(folder, width=120)
    assert "seeds\n" in text
    frame, tidy, plan = write.read(folder)
    with frames.labels_of(frame):
        views = pivots(frame, tidy)
        summary = tables.markdown(frame, views, plan, write.warnings(frame, tidy, plan))
        pairs = comparisons_csv.comparisons_csv(views)
    assert "A sequential run: 4 to 10 seeds" in summary
    assert "group-sequential" in summary
    assert "fewer finished seeds" not in summary
    accuracy = [line for line in csv.DictReader(io.StringIO(pairs)) if line["metric"] == "accuracy"]
    assert len(accuracy) == 3
    assert all(line["p_wilcoxon"] == "" for line in accuracy)
    assert all(4 < int(line["n"]) < 10 for line in accuracy)


def test_the_plan_says_the_least_and_the_most(whole: tuple[Grid, Path, list[str]], tmp_path: Path) -> None:
    text = str(planning.plan(whole[0], tmp_path))
    assert "4 to 10 seeds, until decided: at least 32 cells to run" in text
    assert "at most 80" in text
