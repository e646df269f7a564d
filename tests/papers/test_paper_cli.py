"""``flipbench paper`` from end to end: what is run, judged, written, and what is never guessed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from flipbench.cli import reproduction
from flipbench.cli.app import app
from flipbench.papers import figure, reader, results
from flipbench.papers import text as paper_tables
from tests.helpers.legible import assert_legible

TINY = """\
name: tiny
title: A <small> table with 5 % & more
paper: Somebody 2020
source: page 7
caveat: Not more than a test.
base: {dataset: digits, model: softmax, clients: 8, rounds: 4, local_steps: 5, learning_rate: 0.5, malicious_count: 3}
axes: {aggregator: [fedavg, median, krum], attack: [none, mirrored], seed: [0, 1]}
choices:
  - {open: step size, taken: 0.5, why: A guess.}
tables:
  - name: published
    title: Table 1
    metric: accuracy
    unit: percent
    decimals: 0
    tolerance: {within: 12}
    rows:
      fedavg: {label: FedAvg, at: {aggregator: fedavg}}
      median: {at: {aggregator: median}}
      krum: {label: Krum, at: {aggregator: krum}}
      other: {not_run: the suite has no such rule}
    columns: {clean: {label: no attack, at: {attack: none}}, flip: {at: {attack: mirrored}}}
    values:
      fedavg: [85, 3]
      median: [null, {value: 60, tolerance: none}]
      krum: [null, 50]
      other: [null, 77]
    claims:
      - {says: the flip harms, holds: fedavg@clean > fedavg@flip}
      - {says: Krum is worse, holds: krum@flip < fedavg@flip}
  - name: ours
    kind: experiment
    title: why
    about: Is it the rule?
    metric: recall(of=3)
    tolerance: none
    rows: {median: {at: {aggregator: median}}}
    columns: {flip: {at: {attack: mirrored}}}
"""
KRUM = "could not be run: infeasible: krum needs at least 2f + 3 = 9 clients for f = 3, got 8"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")

    def one(*args: str) -> Any:
        return CliRunner().invoke(app, ["paper", *args])

    return one


def rows(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    found = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    return {(r["table"], r["row"], r["column"]): r for r in found}


def test_published_beside_ours_with_a_verdict_on_each(call: Callable[..., Any], tmp_path: Path) -> None:
    done = call("tiny.yaml", "--workers", "1", "--no-progress")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "results/papers/tiny"
    table = rows(folder / "table.csv")
    words = {place: row["verdict"] for place, row in table.items()}
    assert words == {
        ("published", "fedavg", "clean"): "reproduced",
        ("published", "fedavg", "flip"): "missed",
        ("published", "median", "flip"): "not judged",
        ("published", "krum", "flip"): "could not be run",
        ("published", "other", "flip"): "could not be run",
        ("ours", "median", "flip"): "not judged",
    }
    clean = table["published", "fedavg", "clean"]
    assert float(clean["difference"]) == pytest.approx(float(clean["ours"]) - 85)
    assert (clean["allowed_low"], clean["allowed_high"], clean["n"], clean["unit"]) == ("73.0", "97.0", "2", "percent")
    told = (folder / "table.md").read_text("utf-8")
    for text in (
        "# A &lt;small&gt; table with 5 % &amp; more",
        "Reproduced in part. Numbers: 1 reproduced, 1 missed, 2 could not be run, 1 not judged. Claims: 1 holds",
        "Not more than a test.",
        KRUM,
        "could not be run: the suite has no such rule",
        "### Experiment: why",
        "step size: **0.5**. A guess.",
        "Command: flipbench",
    ):
        assert text in told, text
    claims = (folder / "claims.csv").read_text("utf-8").splitlines()
    assert [line.rsplit(",", 1)[1] for line in claims[1:]] == ["holds", "could not be run"]
    assert (folder / "figure.png").stat().st_size > 10_000
    assert r"5 \% \& more" not in told
    assert r"\begin{tabular}" in (folder / "table.tex").read_text("utf-8")


def test_what_is_done_is_not_run_again_and_what_is_lost_is_unfinished(call: Callable[..., Any], tmp_path: Path) -> None:
    call("tiny.yaml", "--workers", "1", "--no-progress")
    folder = tmp_path / "results/papers/tiny"
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("cells/*/*.json")}
    first = (folder / "table.csv").read_bytes()
    again = call("tiny.yaml", "--workers", "1", "--no-progress")
    assert again.exit_code == 0
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("cells/*/*.json")} == before
    assert (folder / "table.csv").read_bytes() == first
    paper = reader.read("tiny.yaml")
    lost = next(k for k, c in _keys(paper) if (c.aggregator, c.attack, c.seed) == ("fedavg", "none", 1))
    next(folder.glob(f"cells/*/{lost}.json")).unlink()
    result = reproduction.compare(paper, folder)
    verdicts = {(n.row, n.column): v for n, v in result.tables[0].numbers}
    assert verdicts["fedavg", "clean"].word == "unfinished"
    assert verdicts["fedavg", "clean"].why == "1 of 2 seeds"
    assert result.word == "unfinished"
    assert "1 unfinished" in paper_tables.headline(result)


def test_an_interrupted_run_leaves_unfinished_tables_and_says_where(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flipbench.federation import run_stack

    perform, asked = run_stack.perform, []

    def third_is_interrupted(*args: Any, **facts: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return perform(*args, **facts)

    with monkeypatch.context() as patched:
        patched.setattr(run_stack, "perform", third_is_interrupted)
        stopped = call("tiny.yaml", "--workers", "1", "--no-progress")
    assert stopped.exit_code == 130
    assert re.search(r"interrupted: \d+ cells? kept", stopped.output)
    assert "unfinished tables: results/papers/tiny\n" in stopped.output
    words = [r["verdict"] for r in rows(tmp_path / "results/papers/tiny/table.csv").values()]
    assert "unfinished" in words
    assert call("tiny.yaml", "--workers", "1", "--no-progress").exit_code == 0


def _keys(paper: Any) -> list[tuple[str, Any]]:
    from flipbench.grid import reader
    from flipbench.spec.key import key

    return [(key(c, reader.contents(c)), c) for c in paper.cells]


@pytest.mark.parametrize("args", [("--quick",), ("--set", "rounds=2")], ids=" ".join)
def test_another_protocol_is_not_judged_and_lies_apart(
    call: Callable[..., Any], tmp_path: Path, args: tuple[str, ...]
) -> None:
    done = call("tiny.yaml", "--workers", "1", "--no-progress", *args)
    assert done.exit_code == 0, done.output
    assert "No verdict: " in done.output
    assert not (tmp_path / "results/papers/tiny").exists()
    words = {r["verdict"] for r in rows(tmp_path / "results/papers/tiny-quick/table.csv").values()}
    assert words == {"not judged", "could not be run"}
    assert "holds" not in (tmp_path / "results/papers/tiny-quick/table.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", reader.shipped())
def test_the_figure_of_every_paper_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = reader.read(name)
    nothing = pd.DataFrame({"key": [], "status": []})
    keys = {cell: str(i) for i, cell in enumerate(paper.cells)}
    assert_legible(name, figure.draw(results.result(paper, keys, nothing)), monkeypatch)


def test_the_list_names_table_data_cells_and_time(call: Callable[..., Any]) -> None:
    done = call()
    assert done.exit_code == 0, done.output
    (line,) = [one for one in done.output.splitlines() if one.startswith("foolsgold ")]
    paper = reader.read("foolsgold")
    for text in ("Table 1 and Figure 5", "mnist", f" {len(paper.cells)} ", "min"):
        assert text in line


def test_mistakes_exit_with_2_and_missing_data_stop_only_their_paper(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("nobody").exit_code == 2
    (tmp_path / "bad.yaml").write_text(TINY.replace("decimals: 0", "decimals: none"), "utf-8")
    done = call("bad.yaml")
    assert (done.exit_code, "bad.yaml:15:15: decimals: needs a whole number" in done.output) == (2, True)
    monkeypatch.setenv("FLIPBENCH_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    absent = TINY.replace("name: tiny", "name: absent").replace("dataset: digits", "dataset: svhn")
    (tmp_path / "absent.yaml").write_text(absent, "utf-8")
    both = call("absent.yaml", "tiny.yaml", "--workers", "1", "--no-progress")
    assert both.exit_code == 2
    assert "absent could not be run: " in both.output
    assert "Reproduced in part" in both.output
