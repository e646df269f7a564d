"""A results folder as it is published names no user, no host and no folder of the machine that made it."""

from __future__ import annotations

import os
import platform
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.plugins import spelling
from flipbench.system import private_paths
from tests.helpers.data_files import rows, text

USER, HOST = "quibblefrotz", "zephyrkiln-7"
PLUGIN = """\
import os, tempfile
import numpy as np

def mine(updates, cohort, /):
    return updates.mean(-2)

def raises(updates, cohort, /):
    with tempfile.NamedTemporaryFile() as file:
        raise OSError(f"{file.name} of {os.path.expanduser('~')} beside {__file__} cannot be used")

def refuses(updates, cohort, /):
    from flipbench.aggregators import Infeasible
    raise Infeasible(f"needs {os.path.expanduser('~/weights.pt')} and {tempfile.gettempdir()}/x")
"""
GRID = """\
name: private
title: private
base: {{dataset: "ham10000(path='{data}')", model: softmax, clients: 4, rounds: 2, local_steps: 1, batch_size: 4,
  malicious_count: 1, attack: mirrored}}
axes: {{aggregator: [fedavg, "{rule}:mine", "{rule}:raises", "{rule}:refuses"], seed: [0, 1]}}
figures: [{{kind: heatmap, metric: accuracy}}]
"""
PAPER = """\
name: tiny
title: A table
paper: Somebody 2020
source: page 7
base: {{dataset: "ham10000(path='{data}')", model: softmax, clients: 4, rounds: 2, local_steps: 1, batch_size: 4}}
axes: {{aggregator: [fedavg, "{rule}:mine"], attack: [none]}}
tables:
  - name: published
    title: Table 1
    metric: accuracy
    unit: percent
    decimals: 0
    tolerance: {{within: 12}}
    rows: {{fedavg: {{at: {{aggregator: fedavg}}}}}}
    columns: {{clean: {{at: {{attack: none}}}}}}
    values: {{fedavg: [85]}}
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a user, a host and folders whose names stand nowhere else; returns the home folder."""
    base = tmp_path / "pl4ce"
    home, work, scratch = base / "homes" / USER, base / "srv" / "w0rk", base / f"tmp-{USER}"
    for folder in (home / "rules", home / "data", work, scratch):
        folder.mkdir(parents=True)
    (home / "rules" / "mine.py").write_text(PLUGIN)
    (home / "data" / "hmnist_28_28_L.csv").write_text(text(rows(140)))
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("HOSTNAME", HOST)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    names = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((names[0], HOST, *names[2:])))
    platform.uname.cache_clear() if hasattr(platform.uname, "cache_clear") else None
    monkeypatch.chdir(work)
    private_paths._folders.cache_clear()
    return home


def leaks(folder: Path, home: Path) -> list[str]:
    """Files that name the user, the host or a folder of the machine, with what stands around."""
    words = [w.encode() for w in (USER, HOST, "pl4ce", str(home), tempfile.gettempdir())]
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        found += [f"{path}: {raw[max(0, i - 60) : i + 60]!r}" for w in words if (i := raw.find(w)) >= 0]
        found += [f"name of {path}" for w in words if w in str(path.relative_to(folder)).encode()]
    return found


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.process
def test_a_whole_folder_of_results_names_no_user_host_or_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, rule = machine / "data" / "hmnist_28_28_L.csv", machine / "rules" / "mine.py"
    Path("grid.yaml").write_text(GRID.format(data=data, rule=rule))
    Path("tiny.yaml").write_text(PAPER.format(data=data, rule=rule))
    command = ["run", "grid.yaml", "--workers", "1", "--no-progress", "--set", f"dataset=ham10000(path='{data}')"]
    monkeypatch.setattr("sys.argv", ["flipbench", *command])
    tried = call(*command)
    assert tried.exit_code == 2, tried.output
    assert "cannot be used" in Path("results/private/trials.txt").read_text()
    ran = call(*command, "--no-trial")
    assert ran.exit_code == 3, ran.output
    for path in ("results/cells.csv", "results/cells.json"):
        assert call("results", "results/private", "--export", path).exit_code == 0
    assert call("results", "results/private", "--failures").output.count(USER) == 0
    paper = call("paper", "./tiny.yaml", "--workers", "1", "--no-progress")
    assert "results/" in paper.output, paper.output
    files = {p.suffix for p in Path("results").rglob("*") if p.is_file()}
    assert {".json", ".html", ".csv", ".md", ".tex"} <= files
    assert "~/rules/mine.py:mine" in Path("results/private/report.html").read_text()
    assert leaks(Path("results"), machine) == []


@pytest.mark.parametrize(
    ("working", "given", "named"),
    [
        ("{base}/srv/w0rk", "{home}/rules/mine.py", "~/rules/mine.py"),
        ("{base}/srv/w0rk", "../../homes/quibblefrotz/rules/mine.py", "~/rules/mine.py"),
        ("{base}/srv/w0rk", "~/rules/mine.py", "~/rules/mine.py"),
        ("{home}", "{home}/rules/mine.py", "rules/mine.py"),
        ("{home}/data", "{home}/rules/mine.py", "../rules/mine.py"),
        ("{home}/data", "~/rules/mine.py", "../rules/mine.py"),
        ("{base}/srv", "{base}/srv/w0rk/mine.py", "w0rk/mine.py"),
        ("{base}/srv/w0rk", "{base}/srv/mine.py", "../mine.py"),
    ],
)
def test_a_plug_in_of_the_home_folder_is_named_without_the_user(
    machine: Path, monkeypatch: pytest.MonkeyPatch, working: str, given: str, named: str
) -> None:
    fill: Callable[[str], str] = lambda text: text.format(home=machine, base=machine.parents[1])  # noqa: E731
    for folder in ("srv/w0rk", "srv"):
        (machine.parents[1] / folder / "mine.py").write_text(PLUGIN)
    monkeypatch.chdir(fill(working))
    assert spelling.spelled("aggregator", f"{fill(given)}:mine") == f"{named}:mine"
    assert spelling.spelled("aggregator", f"{named}:mine") == f"{named}:mine"
