"""A tuned grid from its trials to its tables: stages, resumption, forms, and that the choice never sees test data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flipbench as fb
from flipbench.api import tuning
from flipbench.grid import reader
from flipbench.store.store import Store

GRID: dict[str, Any] = {
    "name": "small",
    "base": {
        "dataset": "digits(train=200, test=100)",
        "model": "softmax",
        "rounds": 2,
        "clients": 5,
        "malicious_count": 1,
        "validation_share": 0.25,
        "learning_rate": 0.001,
    },
    "axes": {"aggregator": ["fedavg", "centered_clipping"], "attack": ["mirrored", "sign_flip"], "seed": [0, 1]},
    "tune": {"fields": {"learning_rate": [0.001, 0.5], "aggregator.radius": [0.1, 10]}, "seeds": [7, 8], "budget": 3},
}

DIGITS = """
import torch
from flipbench.data.dataset import Dataset

def digits():
    draws = torch.Generator().manual_seed(3)
    patterns = torch.randint(0, 256, (10, 1, 8, 8), generator=draws)
    labels = torch.arange(300) % 10
    images = (patterns[labels] + torch.randint(-60, 60, (300, 1, 8, 8), generator=draws)).clamp(0, 255).to(torch.uint8)
    test, true = images[200:], labels[200:]
    if POISON:
        test, true = torch.randint(0, 256, test.shape, generator=draws, dtype=torch.uint8), (true + 3) % 10
    return Dataset("digits", tuple("0123456789"), images[:200], labels[:200], test, true, "files")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tuned")
    fb.run(GRID, workers=1, results=place, progress=False)
    return place


def test_plan_counts_both_stages_and_knows_tuned_cells_once_trials_are_done(folder: Path, tmp_path: Path) -> None:
    before, after = fb.plan(GRID, results=tmp_path, workers=1), fb.plan(GRID, results=folder, workers=1)
    assert before.stage is not None
    assert len(before.stage.pending) == 2 * 2 * (2 + 3)
    assert (len(before.pending), before.unchosen) == (12, 12)
    assert before.seconds > before.stage.seconds > 0
    assert "fedavg has 2 combinations, fewer than the budget of 3: each is tried once" in repr(before)
    assert "centered_clipping: 3 of 4 combinations are tried, drawn with seed 0" in repr(before)
    assert "for trials and reported cells together" in repr(before)
    assert after.stage is not None
    assert not {**after.pending, **after.stage.pending}
    assert len(after.cells) == 24


def test_what_was_chosen_is_stored_and_follows_from_the_trials(folder: Path) -> None:
    place = folder / "small" / "tuning"
    said = json.loads((place / "chosen.json").read_text())
    results = fb.load(folder / "small")
    rows: dict[Any, list[float]] = {}
    trials = fb.load(place).cells
    for cell in trials.to_dict("records"):
        rows.setdefault((cell["aggregator"], cell["learning_rate"], cell["attack"]), []).append(cell["accuracy"])
    for choice in said["choices"]:
        scores = []
        for tried in choice["tried"]:
            values, rule = tried["values"], choice["aggregator"]
            if "aggregator.radius" in values:
                rule = f"{rule}(radius={values['aggregator.radius']})"
            of = [rows[rule, values["learning_rate"], attack] for attack in ("mirrored", "sign_flip")]
            scores.append(min(sum(v) / len(v) for v in of))
            assert tried["score"] == pytest.approx(scores[-1])
        assert choice["values"] == choice["tried"][scores.index(max(scores))]["values"]
    assert sorted(set(results.raw["form"])) == ["fixed", "tuned"]
    assert results.tuning[results.tuning["chosen"]]["score"].tolist() == [c["score"] for c in said["choices"]]
    assert set(results.sensitivity["source"]) == {"reported"}  # the two rules share no candidate
    assert set(zip(trials["evaluate_on"], trials["seed"], strict=True)) == {("validation", 7), ("validation", 8)}


def test_a_second_run_runs_nothing_and_chooses_the_same(folder: Path) -> None:
    said = (folder / "small" / "tuning" / "chosen.json").read_bytes()
    ran: list[int] = []
    grid = fb.read_grid(GRID)

    def one(cells: reader.Grid, into: Path) -> Any:
        from flipbench.execution import progress, runner

        outcome = runner.run(cells, into, workers=1, progress=progress.Quiet())
        ran.append(outcome.ran)
        return outcome

    tuning.run(grid, folder / "small", one)
    assert ran == [0, 0]
    assert (folder / "small" / "tuning" / "chosen.json").read_bytes() == said


def test_an_interrupted_run_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    grid = fb.read_grid(GRID)
    trials = tuning.of_trials(grid)
    half = fb.read_grid(GRID)
    assert half.tuning is not None
    stopped: list[int] = []

    def first(cells: reader.Grid, into: Path) -> Any:
        from dataclasses import replace

        from flipbench.execution import progress, runner

        part = replace(cells, cells=cells.cells[:5])
        outcome = runner.run(part, into, workers=1, progress=progress.Quiet())
        stopped.append(outcome.ran)
        return replace(outcome, interrupted=True)

    assert tuning.run(grid, tmp_path / "small", first).only_trials
    assert stopped == [5]
    assert not (tmp_path / "small" / "plan.json").exists()
    fb.run(GRID, workers=1, results=tmp_path, progress=False)
    assert len(Store(tmp_path / "small" / "tuning").keys()) == len(trials.cells)
    ours, theirs = (place / "small" / "tuning" / "chosen.json" for place in (tmp_path, folder))
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_choice_does_not_see_the_test_set(tmp_path: Path) -> None:
    """Another test set, of nonsense: other reported numbers, the same trials and the same choice."""
    chosen, reported = [], []
    for poison in ("False", "True"):
        (tmp_path / poison).mkdir()
        file = tmp_path / poison / "mine.py"
        file.write_text(DIGITS.replace("POISON", poison))
        given = {**GRID, "base": {**GRID["base"], "dataset": f"{file}:digits"}}
        results = fb.run(given, workers=1, results=tmp_path / poison, progress=False, trial=False)
        chosen.append((tmp_path / poison / "small" / "tuning" / "chosen.json").read_bytes())
        reported.append(results.cells["accuracy"].tolist())
    assert chosen[0] == chosen[1]
    assert reported[0] != reported[1]


def test_tables_show_one_form_and_say_which_and_what_was_chosen(folder: Path) -> None:
    results = fb.load(folder / "small")
    tuned, fixed = results.table("accuracy"), results.table("accuracy", where={"form": "fixed"})
    assert tuned.frame.index.tolist() == fixed.frame.index.tolist() == ["fedavg", "centered_clipping"]
    assert "Form: tuned settings. Settings were chosen for each rule" in tuned.to_markdown()
    assert "learning rate 0.5 with fedavg" in tuned.to_markdown()
    assert fixed.to_markdown().rstrip().endswith("Form: fixed settings.")
    assert "Averaged" not in tuned.to_markdown()
    own = results.cells
    of = own[(own["form"] == "fixed") & (own["aggregator"] == "fedavg") & (own["attack"] == "mirrored")]
    assert fixed.squares.query("aggregator == 'fedavg' and attack == 'mirrored'")["mean"].item() == pytest.approx(
        of["accuracy"].mean()
    )
    with pytest.raises(fb.UserError, match="a form is tuned or fixed"):
        results.table("accuracy", where={"form": "other"})


def test_the_report_has_both_forms_with_the_chosen_values_in_every_table_of_tuned_cells(folder: Path) -> None:
    results = fb.load(folder / "small")
    results.report(formats=["png"])
    tables = folder / "small" / "tables"
    summary = (tables / "summary.md").read_text()
    tuned, fixed = summary.index("## tuned settings"), summary.index("## fixed settings")
    part = summary[tuned:fixed]
    blocks = part.count("\n### ")
    assert blocks >= 3
    assert part.count("tuned: learning rate 0.5 with fedavg") == blocks
    assert "tuned:" not in summary[fixed:].partition("## Guards")[0].replace("(tuned:", "")
    assert "Fixed for every rule: learning rate 0.001." in summary[fixed:]
    assert "form" in (tables / "cells.csv").read_text().splitlines()[0].split(",")
    assert "learning rate 0.5 with fedavg" in (tables / "summary.tex").read_text()
    assert "learning rate 0.5 with fedavg" in (folder / "small" / "report.html").read_text()
    assert {p.name for p in (folder / "small" / "tuning" / "tables").iterdir()} == {"candidates.csv", "trials.csv"}


def test_failed_trials_stop_the_run_unless_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(
        "def mine(updates, cohort, /, *, k: int = 0):\n"
        "    if k == 1 and updates.shape[-1] > 100:\n"
        "        raise RuntimeError('k is 1')\n"
        "    return updates.mean(-2)\n"
    )
    rule = f"{tmp_path / 'rule.py'}:mine"
    given = {
        **GRID,
        "axes": {**GRID["axes"], "aggregator": [rule]},
        "tune": {"fields": {"aggregator.k": [1, 2]}, "seeds": [7]},
    }
    with pytest.raises(fb.UserError, match="2 trials failed, so nothing is chosen"):
        fb.run(given, workers=1, results=tmp_path, progress=False, trial=False)
    with pytest.warns(UserWarning, match="2 cells failed"):
        fb.run(given, workers=1, results=tmp_path, progress=False, trial=False, retry_failed=False)
    said = json.loads((tmp_path / "small" / "tuning" / "chosen.json").read_text())
    assert [choice["values"] for choice in said["choices"]] == [{"aggregator.k": 2}]


def test_a_rule_that_is_infeasible_with_every_candidate_stays_as_it_is(tmp_path: Path) -> None:
    given = {
        **GRID,
        "base": {**GRID["base"], "malicious_count": 2},
        "axes": {**GRID["axes"], "aggregator": ["krum"]},
        "tune": {"fields": {"learning_rate": [0.1, 1]}, "seeds": [7]},
    }
    results = fb.run(given, workers=1, results=tmp_path, progress=False)
    said = json.loads((tmp_path / "small" / "tuning" / "chosen.json").read_text())
    assert said["choices"][0]["values"] is None
    assert said["choices"][0]["reason"].startswith("infeasible: krum needs")
    assert set(results.raw["form"]) == {"both"}
    assert "nothing with krum" in results.table("accuracy").to_markdown()
