"""A table of one's own: layout, filters, marks, every format; names that would be markup or macros stay text."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.cli.app import app
from flipbench.errors import UserError
from flipbench.report import write as report
from flipbench.report.html import templates
from flipbench.report.tables.custom import choose
from tests.helpers import records
from tests.helpers.hostile import HOSTILE, parsed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("chosen") / "label_flip"
    records.write_grid(where, aggregators=("krum", "fedavg", "median"), fractions=(0.1, 0.45))
    return where


def read(folder: Path) -> tuple[Any, Any]:
    frame = frames.load(folder)
    return frame, metrics.evaluate(frame)


def test_papers_layout_fedavg_first_clean_first_attacks_over_fractions(folder: Path) -> None:
    made = choose(*read(folder), where=["flip_rate=1"])
    assert [name for name, _ in made.block.rows] == ["fedavg", "krum", "median"]
    assert made.block.levels == ("attack", "malicious fraction")
    outer, inner = made.block.header
    assert outer == ("clean", *["mirrored"] * 2, *["targeted 4→9"] * 2, *["all to one 0"] * 2)
    assert inner == ("", *["10 %", "45 %"] * 3)


def test_numbers_are_those_of_the_cells(folder: Path) -> None:
    frame, tidy = read(folder)
    made = choose(frame, tidy, where=["flip_rate=1", "attack=mirrored"])
    lines = [dict(zip(made.names, line, strict=True)) for line in made.lines]
    for line in lines:
        mine = tidy[(tidy["aggregator"] == line["aggregator"]) & (tidy["attack"] == line["attack"])]
        if line["attack"] != "none":
            mine = mine[(mine["malicious_fraction"] == line["malicious_fraction"]) & (mine["flip_rate"] == 1)]
        if line["state"] == "infeasible":
            assert not len(mine)
            assert "krum needs" in line["reason"]
        else:
            assert line["mean"] == pytest.approx(mine["accuracy"].mean())
            assert line["n"] == 3
    assert {line["state"] for line in lines} == {"done", "infeasible"}


def test_any_fact_goes_down_and_what_is_averaged_over_is_said(folder: Path) -> None:
    frame, tidy = read(folder)
    made = choose(frame, tidy, "accuracy_damage", rows=["attack", "flip_rate"], columns=["aggregator"])
    assert [name for name, _ in made.block.rows][:2] == ["mirrored, 50 %", "mirrored, 100 %"]  # a damage has no twin
    assert made.block.header == (("fedavg", "krum", "median"),)
    assert "Averaged within each seed over: malicious fraction." in made.said
    assert not any(e.best for _, line in made.block.rows for e in line)  # best of what? the rows are no rivals
    assert "Averaged" not in choose(frame, tidy, columns=["attack", "malicious_fraction", "flip_rate"]).said


def test_the_clean_value_of_a_mapped_metric_is_the_attacks_own(folder: Path) -> None:
    frame, tidy = read(folder)
    made = choose(frame, tidy, "source_recall", where=["attack=targeted(source=4, target=9)"])
    (line,) = [x for x in made.lines if x[1] == "fedavg" and x[2] == "none"]
    own = tidy[(tidy["aggregator"] == "fedavg") & (tidy["attack"] == "targeted(source=4, target=9)")]
    assert dict(zip(made.names, line, strict=True))["mean"] == pytest.approx(own["source_recall_clean"].mean())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"metric": "acuracy"}, "there is no metric"),
        ({"rows": ["rule"]}, "no field of a cell"),
        ({"rows": ["attack"]}, "none of them twice"),
        ({"rows": ["seed"]}, "not the seed"),
        ({"where": ["attack"]}, "FIELD=VALUE"),
        ({"where": ["attack=alie"]}, "there are all_to_one"),
    ],
)
def test_mistakes_are_told(folder: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        choose(*read(folder), **given)


def test_the_command_prints_each_format(folder: Path) -> None:
    def call(*args: str) -> str:
        done = CliRunner().invoke(app, ["report", str(folder), *args])
        assert done.exit_code == 0, done.output
        return done.output

    before = sorted(folder.rglob("*"))
    assert "| aggregator \\\\ attack, malicious fraction |" in call("--metric", "accuracy")
    lines = list(csv.DictReader(io.StringIO(call("--format", "csv", "--rows", "aggregator,flip_rate"))))
    assert {"aggregator", "flip_rate", "attack", "malicious_fraction", "mean"} <= set(lines[0])
    tex = call("--format", "tex", "--where", "attack=mirrored")
    assert r"\toprule" in tex
    assert r"\,$\pm$\," in tex
    assert r"90.0\,[83.9,\,93.9]" in tex  # one side of the interval is longer
    assert r"\textbf{9" in tex
    assert "<table" in call("--format", "html")
    assert CliRunner().invoke(app, ["report", str(folder), "--format", "pdf"]).exit_code == 2
    for empty in ("--rows", "--columns"):  # a shell's empty variable is no wish for the default
        refused = CliRunner().invoke(app, ["report", str(folder), empty, ""])
        assert (refused.exit_code, "needs a field" in str(refused.output) + str(refused.exception)) == (2, True)
    assert sorted(folder.rglob("*")) == before  # a table is printed; nothing is redrawn


def test_hostile_names_stay_text_in_every_format(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    store = records.write_grid(
        folder, aggregators=("fedavg", HOSTILE), fractions=(0.1,), flip_rates=(1.0,), seeds=(0, 1)
    )
    store.write_plan(store.read_plan() | {"title": "</title><script>alert(2)</script>"})
    found = parsed(report.chosen(folder, form="html"))
    assert found.tags.count("script") == 1  # our own
    assert "alert" not in report.chosen(folder, form="html").split("<script>")[1].split("</script>")[0]
    assert "<script" not in report.chosen(folder, form="md")
    tex = report.chosen(folder, form="tex")
    assert not re.search(r"(?<!\\textbackslash\{\})\\input", tex)
    assert not any(v.lstrip().startswith(("=", "+", "-", "@")) for v in report.chosen(folder, form="csv").split(","))


def test_a_page_asks_for_nothing_from_elsewhere_and_runs_only_its_own_script(folder: Path) -> None:
    text = report.chosen(folder, form="html")
    found = parsed(text)
    assert "default-src 'none'" in text
    assert not [v for name, v in found.attributes if name in ("src", "href", "action")]
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    style = text.split("<style>")[1].split("</style>")[0]
    script = text.split("<script>")[1].split("</script>")[0]
    for own in (style, script):
        assert templates.hash_of(own) in text  # else the policy would stop it
    assert 'name="viewport"' in text
