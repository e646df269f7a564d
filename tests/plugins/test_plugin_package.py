"""The example package, installed with pip as a user would: its names are listed, resolved and run in a grid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT, TESTS

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]  # installs, trains and draws

PACKAGE = TESTS / "plugin_package"

GRID = """\
name: plugged
base: {dataset: stripes, clients: 6, model: softmax, rounds: 3, local_steps: 4, batch_size: 8, learning_rate: 0.5,
       malicious_fraction: 0.34, attack: to_neighbour(up=false)}
axes:
  aggregator: [median, halfway, halfway(share=0.25), smoothed_median(decay=0.3)]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package installed in it, without touching this environment or the network."""
    folder = tmp_path_factory.mktemp("plug-in")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    made = subprocess.run([*command, "--target", folder / "site", source], capture_output=True, text=True)
    if "No module named pip" in made.stderr:
        pytest.skip("pip is not installed here")
    assert made.returncode == 0, made.stderr
    return folder / "site"


CALLS = """\
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from flipbench.cli.app import app
told = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = app(words, standalone_mode=False)
        except SystemExit as end:
            code = end.code
    told.append((code or 0, out.getvalue(), err.getvalue()))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(site, tmp_path_factory):
    """What the commands say, in one process (each would load torch anew) that has the package on its path."""
    folder = tmp_path_factory.mktemp("grids")
    (folder / "grid.yaml").write_text(GRID)
    (folder / "wrong.yaml").write_text(GRID.replace("decay=0.3", "decay=1.0"))
    run = ["run", "grid.yaml", "--workers", "1", "--no-progress"]
    commands = {"list": ["list"], "run": run, "again": run, "wrong": ["plan", "wrong.yaml"]}
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    words = [sys.executable, "-c", CALLS, json.dumps(list(commands.values()))]
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout.splitlines()[-1])
    return folder, dict(zip(commands, answers, strict=True))


def test_its_names_are_listed_with_their_origin(told):
    code, out, err = told[1]["list"]
    assert code == 0, err
    for name in ("halfway", "smoothed_median", "to_neighbour", "opposite", "dot", "stripes"):
        assert f"  {name}  [flipbench-example 1.0]" in out


def test_all_its_parts_run_together_in_a_grid(told):
    folder, answers = told
    code, out, err = answers["run"]
    assert code == 0, out + err
    for name in ("halfway", "halfway(share=0.25)", "smoothed_median(decay=0.3)"):
        assert name in out
    records = [json.loads(p.read_text()) for p in (folder / "results/plugged/cells").rglob("*.json")]
    assert len(records) == 8  # four rules, attacked and clean
    assert all(r["status"] == "done" for r in records)
    assert all(r["task"]["dataset"] == "stripes" for r in records)
    assert answers["again"][0] == 0
    assert "0 cells run" in answers["again"][1]


def test_a_wrong_option_is_one_message(told):
    code, _, err = told[1]["wrong"]
    assert code == 2
    assert "decay must be at least 0 and below 1, got 1.0" in err
    assert "Traceback" not in err
