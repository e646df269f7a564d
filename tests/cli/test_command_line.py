"""Help, versions, completion, hints for options that are not there, and what ``flipbench list`` explains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flipbench.cli import catalogue, completion, explanations
from flipbench.cli.app import COMMANDS, app
from flipbench.grid import reader
from flipbench.plugins.kinds import KINDS
from flipbench.spec.cell import FIELDS


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_short_help(command: str) -> None:
    long, short = call(*command.split(), "--help"), call(*command.split(), "-h")
    assert (short.exit_code, short.output) == (0, long.output)


def test_version() -> None:
    assert call("--version").output == call("version").output
    assert call("--version").output.startswith("flipbench ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "smoke", "--rounds", "5"], "--set rounds=5"),
        (["plan", "smoke", "--rounds=5"], "--set rounds=5"),
        (["run", "smoke", "--malicious-fraction", "0.2"], "--set malicious_fraction=0.2"),
        (["run", "smoke", "--seeds", "[0, 1]"], "--set 'seed=[0, 1]'"),
        (["run", "smoke", "--lr", "0.1"], "--set learning_rate=0.1"),
        (["run", "smoke", "--attack", "--workers", "2"], "--set attack=VALUE"),
        (["run", "smoke", "--dataset.path", "a b"], "--set 'dataset.path=a b'"),
    ],
)
def test_a_field_as_an_option_is_answered_with_set(words: list[str], hint: str) -> None:
    said = call(*words)
    assert said.exit_code == 2
    assert hint in " ".join(said.output.replace("│", " ").split())


@pytest.mark.parametrize("words", [["run", "smoke", "--nonsense", "1"], ["report", "x", "--rounds", "5"]])
def test_other_unknown_options_get_no_such_hint(words: list[str]) -> None:
    said = call(*words)
    assert said.exit_code == 2
    assert "No such option" in said.output
    assert "--set" not in said.output


def test_completion_in_a_shell() -> None:
    words = {"_FLIPBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "flipbench run label_f", "COMP_CWORD": "2"}
    started = [sys.executable, "-c", "from flipbench.cli.app import main; main()"]
    said = subprocess.run(started, env=os.environ | words, capture_output=True, text=True, check=False, timeout=120)
    assert said.stdout.split() == ["label_flip"]


def test_completed_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.py").touch()
    (tmp_path / "folder").mkdir()
    assert completion.grids("m") == ["mine.yaml"]
    assert completion.grids("") == [*reader.shipped(), "folder/", "mine.yaml"]
    assert completion.grids("nowhere/") == []
    assert completion.grids(f"{tmp_path}/mi") == [f"{tmp_path}/mine.yaml"]
    assert {"median", "mine.py"} <= set(completion.aggregators("m"))
    assert completion.fields("malicious_c") == ["malicious_count="]
    assert completion.listed("label_f") == ["label_flip"]


@pytest.mark.slow
def test_every_name_is_explained() -> None:
    for name in explanations.names():
        headings = {explanations.of_name(kind, name) for kind in explanations.kinds_of(name)}
        assert headings
        assert all(heading.startswith((f"{name}  (", f"{name}(")) for heading in headings)


def test_what_an_explanation_says() -> None:
    krum = call("list", "krum").output
    assert krum.startswith("krum(power=2.0, strict=true)  (aggregator)")
    for part in ("Blanchard", "Infeasible", "Needs: n >= 2f + 3", "strict: whether"):
        assert part in krum
    grid = call("list", "label_flip").output
    for part in ("label_flip  (grid of 448 cells)", "Which rule, at which malicious fraction", "flip_rate: [0.5, 1.0]"):
        assert part in grid
    field = call("list", "flip_rate").output
    assert field.startswith("flip_rate  (field of a cell: attack; usual value: 1.0)")
    assert call("list", "field").output.count("\n  ") > len(FIELDS)


def test_a_name_of_several_kinds_is_explained_for_each() -> None:
    kinds = explanations.kinds_of("uniform")
    assert len(kinds) > 1
    said = catalogue.text("uniform")
    assert all(f"({KINDS[kind].noun})" in said for kind in kinds)


def test_grids_are_listed_with_their_purpose() -> None:
    lines = call("list", "grid").output.splitlines()
    names = [line.strip() for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert names == reader.shipped()
    assert sum(line.startswith("      ") for line in lines) >= len(names)


def test_an_unknown_name() -> None:
    said = call("list", "kurm")
    assert said.exit_code == 2
    assert "did you mean 'krum'?" in said.output
