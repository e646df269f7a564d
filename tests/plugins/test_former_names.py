"""Files that import packages by their former names get one sentence with the line to write; a user's own modules of
these names keep working."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import flipbench as fb
from flipbench.errors import UserError
from flipbench.plugins import loading, registry
from tests.helpers.paths import ROOT

RULE = "\n\ndef rule(updates, cohort):\n    return updates.mean(-2)\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from aggregators import Cohort, krum", "write 'from flipbench.aggregators import Cohort, krum'"),
        ("from attacks import Proposal", "write 'from flipbench.attacks import Proposal'"),
        ("from bench.data.dataset import Dataset", "write 'from flipbench.data.dataset import Dataset'"),
        ("from aggregators.guard import guarded", "write 'from flipbench.aggregators.validation import guarded'"),
        ("from aggregators.draws import generator", "write 'from flipbench.aggregators.rng import generator'"),
        ("from bench.features import unit", "write 'from flipbench.data.pixel_scaling import unit'"),
        ("from bench.conformance import check_aggregator", "write 'from flipbench.conformance.aggregators import"),
        ("import bench.kappa as kappa", "write 'import flipbench.conformance.kappa as kappa'"),
        ("import attacks", "write 'import flipbench.attacks'"),
        ("from aggregators.krum import krum", "write 'from flipbench.aggregators.rules.krum import krum'"),
        ("from attacks.label_flip import mirrored", "write 'from flipbench.attacks.labels.label_flip import mirrored'"),
        ("from aggregators.contract import Cohort", "write 'from flipbench.aggregators.contract import Cohort'"),
    ],
)
def test_a_plug_in_with_a_former_name_is_told_the_new_one(line, said, tmp_path, monkeypatch):
    """In a folder that has no such module; the checkout's own folders are not found from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])
    (tmp_path / "mine.py").write_text(line + RULE)
    with pytest.raises(UserError) as caught:
        registry.resolve("aggregator", "mine.py:rule")
    assert str(caught.value).startswith("mine.py:1: there is no module ")
    assert said in str(caught.value)
    with pytest.raises(fb.GridError, match="flipbench's packages are imported as flipbench, write"):
        fb.read_grid("smoke", {"aggregator": "mine.py:rule"})


def test_the_new_names_exist():
    for name in loading._MOVED.values():
        assert importlib.util.find_spec(name), name


def test_from_the_checkout_itself_the_folders_are_not_taken_for_packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from aggregators import Cohort" + RULE)
    with pytest.raises(UserError, match=r"write 'from flipbench.aggregators import Cohort'"):
        registry.resolve("aggregator", "mine.py:rule")


def test_another_missing_module_is_told_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import no_such_module_here" + RULE)
    with pytest.raises(UserError, match=r"mine\.py:1: ModuleNotFoundError: No module named 'no_such_module_here'"):
        registry.resolve("aggregator", "mine.py:rule")


@pytest.mark.process
@pytest.mark.parametrize("program", [["-m", "flipbench"], ["-c", "from flipbench.cli.app import main; main()"]])
def test_a_users_own_attacks_py_keeps_working(program, tmp_path):
    """A project of this field has an ``attacks.py``; a run from its folder uses ours, and its plug-ins theirs."""
    (tmp_path / "attacks.py").write_text("FACTOR = 3.0\n")
    (tmp_path / "aggregators.py").write_text("raise RuntimeError('not ours to import')\n")
    (tmp_path / "mine.py").write_text(
        "from attacks import FACTOR\n\ndef rule(updates, cohort):\n    return FACTOR * updates.mean(-2)\n"
    )
    options = [
        "--aggregator",
        "mine.py:rule",
        "--set",
        "rounds=2",
        "--set",
        "seed=0",
        "--no-progress",
        "--workers",
        "2",
    ]
    command = [sys.executable, *program, "run", "smoke", *options]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert "mine.py:rule" in ran.stdout
    assert set(fb.load(tmp_path / "results/smoke").cells["status"]) == {"done"}
