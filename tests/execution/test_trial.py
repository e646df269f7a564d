"""What ``flipbench plan`` tries out: somebody else's code cannot end it, hold it up, or write over its words."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.api import planning
from flipbench.cli.app import app
from flipbench.execution import preflight
from flipbench.execution.preflight import Answer, Question
from flipbench.grid import reader
from tests.helpers.calibration import scaled

RULES = """
import ctypes, os, sys, time

def segfault(updates, cohort, /):
    ctypes.string_at(0)

def leaves(updates, cohort, /):
    os._exit(0)

def exits(updates, cohort, /):
    sys.exit(0)

def interrupts(updates, cohort, /):
    raise KeyboardInterrupt

def closes(updates, cohort, /):
    raise GeneratorExit

class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")

def mute(updates, cohort, /):
    raise Mute

def hangs(updates, cohort, /):
    time.sleep(100)

def talks(updates, cohort, /):
    os.write(1, b"{}")
    print("[1]")
    return updates.mean(-2)

def refuses(updates, cohort, /):
    from flipbench.aggregators import Infeasible
    raise Infeasible("needs more clients")

def net(shape, classes):
    sys.exit(0)
"""
SAID = {
    "segfault": "its trial was killed by SIGSEGV",
    "leaves": "its trial ended itself with exit code 0",
    "exits": "SystemExit: 0",
    "interrupts": "KeyboardInterrupt",
    "closes": "GeneratorExit",
    "mute": "Mute: (its text cannot be had: RuntimeError)",
    "hangs": "its trial took longer than {limit:g} s",
}


@pytest.mark.process
def test_whatever_a_rule_does_on_trial_is_told_and_the_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = scaled(2.0)
    monkeypatch.setattr(preflight, "LIMIT", limit)
    file = tmp_path / "rules.py"
    file.write_text(textwrap.dedent(RULES))
    asked = {name: Question("aggregator", f"{file}:{name}", 5, 1) for name in (*SAID, "talks", "refuses")}
    again = Question("aggregator", f"{file}:leaves", 7, 1)  # is not tried a second time
    found = preflight.answers([*asked.values(), again, Question("model", f"{file}:net", dataset="digits")])
    for name, said in SAID.items():
        assert found[asked[name]] == Answer(failed=f"aggregator {file}:{name}: {said.format(limit=limit)}")
    assert found[asked["talks"]] == Answer()
    assert found[asked["refuses"]] == Answer(refused="needs more clients")
    assert found[again] == found[asked["leaves"]]
    said = found[Question("model", f"{file}:net", dataset="digits")].failed
    assert said.startswith(
        f"model {file}:net cannot be made for images of shape (1, 8, 8) and 10 classes: SystemExit: 0 ("
    )


def test_shipped_ones_are_tried_right_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_TrialProcess", None)
    krum = Question("aggregator", "krum", 4, 1)
    softmax = Question("model", "softmax", dataset="digits")
    found = preflight.answers([krum, softmax, Question("aggregator", "nnm | median", 5, 1)])
    assert "krum needs" in (found[krum].refused or "")
    assert found[softmax].size == (1437, 360, 2 * 64 * 10)


@pytest.mark.process
def test_a_plan_counts_what_fails_on_trial_apart_from_the_infeasible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(RULES)
    (tmp_path / "tiny.yaml").write_text("base: {dataset: digits, model: softmax, clients: 5, rounds: 1}\n")
    of = reader.read("tiny.yaml", add_aggregators=["rules.py:leaves", "rules.py:refuses"])
    found = planning.plan(of, tmp_path / "r")
    assert (list(found.refused.values()), len(found.doomed), len(found.pending)) == (["needs more clients"], 1, 3)
    call = CliRunner().invoke(app, ["plan", "tiny.yaml", "--aggregator", "rules.py:leaves", "--list"])
    assert call.exit_code == 2, call.output
    assert (
        "of them likely to fail 1  aggregator rules.py:leaves: its trial ended itself with exit code 0" in call.output
    )
    assert call.output.count("may fail ") == 1
    assert "infeasible, recorded   0" in call.output


def test_a_name_too_long_for_a_file_is_no_grid() -> None:
    for name in ("x" * 300, "x" * 300 + ".yaml", "/" + "y" * 5000):
        call = CliRunner().invoke(app, ["plan", name])
        assert call.exit_code == 2, call.output
        assert "error: there is no grid" in call.output
