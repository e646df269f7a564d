"""`plan` and `run`: functions in place of names give the numbers of a file plug-in, whoever does the work."""

from __future__ import annotations

import linecache
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from types import ModuleType

import numpy as np
import pytest

import flipbench as fb
from flipbench.api import notebook_progress
from flipbench.execution.runner import Outcome
from flipbench.spec.cell import Cell
from tests.helpers.paths import ROOT

CODE = """\
import math

import torch
from torch import nn

from flipbench import Dataset

STRENGTH = 2.0


def squashed(x, cut):
    return cut * torch.tanh(x / cut)


def my_rule(updates, cohort, /, *, cut: float = 0.5):
    return squashed(updates, STRENGTH * cut).mean(-2)


def my_data(*, n: int = 240):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = torch.randint(0, 90, (n, 1, 5, 5), generator=g, dtype=torch.uint8)
    x[torch.arange(n), 0, 0, y] += 60
    return Dataset("mine", ("a", "b", "c"), x[: n // 2], y[: n // 2], x[n // 2 :], y[n // 2 :], "stratified")


class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))

    def forward(self, x):
        return self.layers(x)


def my_attack(labels, context, /):
    from flipbench.attacks import Proposal

    return Proposal((labels + 1) % context.classes, torch.ones_like(labels, dtype=torch.bool))
"""
BASE = {"clients": 6, "rounds": 3, "malicious_fraction": 0.34, "batch_size": 16}
SCRIPT = (
    "import sys\nfrom functools import partial\nimport flipbench as fb\n"
    + CODE
    + textwrap.dedent(f"""
    grid = fb.read_grid({{"name": "own", "base": {{**{BASE!r}, "dataset": partial(my_data, n=120), "model": Net}},
        "axes": {{"aggregator": ["fedavg", partial(my_rule, cut=0.25)], "attack": [my_attack], "seed": range(2)}}}})
    results = fb.run(grid, workers=int(sys.argv[1]), results=sys.argv[2])
    print(results)
    print(*(c.sum() for c in results.raw["confusion"]), *(float(a) for a in results.cells["accuracy"]))
    print(*sorted(results.cells["key"]))
    """)
)


@pytest.fixture
def main(monkeypatch):
    """The code as a notebook's cell."""
    module, name = ModuleType("__main__"), "<ipython-input-3-run>"
    linecache.cache[name] = (len(CODE), None, CODE.splitlines(keepends=True), name)
    exec(compile(CODE, name, "exec", dont_inherit=True), module.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def grid_of(main, **axes):
    plain = {"aggregator": ["fedavg", main.my_rule], "attack": [main.my_attack], "seed": range(2)}
    base = {**BASE, "dataset": main.my_data, "model": main.Net}
    return fb.read_grid({"name": "own", "base": base, "axes": {**plain, **axes}})


def test_functions_give_the_numbers_of_a_file_plug_in(main, tmp_path, monkeypatch):
    ours = fb.run(grid_of(main), workers=1, results=tmp_path, progress=False, trial=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    named = {"dataset": "code.py:my_data", "model": "code.py:Net"}
    axes = {"aggregator": ["fedavg", "code.py:my_rule"], "attack": ["code.py:my_attack"], "seed": [0, 1]}
    files = {"name": "file", "base": {**BASE, **named}, "axes": axes}
    theirs = fb.run(files, workers=1, results=tmp_path, progress=False, trial=False)
    assert len(ours.raw) == len(theirs.raw) == 8
    assert all(map(np.array_equal, ours.raw["confusion"], theirs.raw["confusion"]))
    assert ours.table().frame.index.tolist() == ["fedavg", "my_rule"]
    assert "code_" not in ours.table().to_markdown()
    kept = sorted(p.name for p in (ours.folder / "functions").iterdir())
    assert len(kept) == 4
    assert all(name.startswith("code_") for name in kept)


@pytest.mark.slow
def test_the_same_code_is_not_run_again_and_a_changed_body_is(main, tmp_path, capsys):
    fb.run(grid_of(main), workers=1, results=tmp_path, progress=False, trial=False)
    assert set(fb.plan(grid_of(main), results=tmp_path).states.values()) == {"done"}
    main.STRENGTH = 3.0  # which only the rule's helper sees
    states = fb.plan(grid_of(main), results=tmp_path, workers=1)
    assert sorted(states.states.values()) == ["done"] * 4 + ["new"] * 4
    assert "about " in repr(states)
    assert "own: 8 cells" in states._repr_html_()


@pytest.mark.process
def test_a_script_needs_no_guard_and_resumes(tmp_path):
    """Two worker processes, then another process that finds everything done, then one process from the start."""
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)

    def ran(workers: str, results: str) -> list[str]:
        command = [sys.executable, str(script), workers, str(tmp_path / results)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    first, again, alone = ran("2", "a"), ran("2", "a"), ran("1", "b")
    assert first[0] == alone[0] == "8 cells, 0 done before"
    assert len(again) == 4
    assert again[0] == "8 cells, 8 done before"
    assert first[-3:] == again[-3:] == alone[-3:]


@pytest.mark.process
def test_an_interrupt_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\nimport flipbench as fb\n"
        "def slow(updates, cohort):\n    time.sleep(0.1)\n    return updates.mean(-2)\n"
        'grid = fb.read_grid("smoke", {"aggregator": ["fedavg", slow], "rounds": 20, "seed": range(4)})\n'
        "print(fb.run(grid, workers=1, results=sys.argv[1]))\n"
    )
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "] done" in line:
                break
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "KeyboardInterrupt: interrupted: " in errors
    assert f"kept in {tmp_path / 'smoke'}; the same call goes on from there" in errors
    assert fb.load(tmp_path / "smoke").cells["status"].eq("done").any()


@pytest.mark.process
def test_workers_of_a_dask_cluster_are_sent_the_source(main, tmp_path):
    command = [sys.executable, str(ROOT / "tests/helpers/dask_cluster.py"), "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        address = cluster.stdout.readline().strip()
        theirs = fb.run(grid_of(main), scheduler=address, results=tmp_path / "a", progress=False)
        cluster.stdin.close()
        cluster.wait(60)
    ours = fb.run(grid_of(main), workers=1, results=tmp_path / "b", progress=False)
    assert all(map(np.array_equal, ours.raw["confusion"], theirs.raw["confusion"]))


@pytest.mark.slow
def test_failed_cells_are_warned_of(tmp_path, monkeypatch):
    main, name = ModuleType("__main__"), "<ipython-input-4-fail>"
    source = "def broken(updates, cohort):\n    raise RuntimeError('no such luck')\n"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    grid = fb.read_grid("smoke", {"aggregator": [main.broken], "seed": [0], "rounds": 2})
    with pytest.warns(UserWarning, match=r"3 cells failed; the first, .*no such luck.*results.failures"):
        results = fb.run(grid, workers=1, results=tmp_path, progress=False, trial=False)
    assert results.failures["reason"].str.contains("no such luck").all()
    assert "no such luck" in fb.plan(grid, results=tmp_path).__repr__()


def test_an_interrupted_run_raises(tmp_path, monkeypatch):
    outcome = Outcome(4, 1, 1, 0, (), interrupted=True)
    monkeypatch.setattr("flipbench.execution.runner.run", lambda *args, **options: outcome)
    with pytest.raises(KeyboardInterrupt, match=r"1 cell is kept in .*the same call goes on"):
        fb.run("smoke", results=tmp_path)


def test_the_device_is_part_of_the_cells(tmp_path):
    with pytest.raises(fb.UserError, match="device is cpu or cuda, got 'gpu'"):
        fb.plan("smoke", device="gpu", results=tmp_path)
    grid = fb.read_grid("smoke", {"device": "cuda"})
    assert set(fb.plan(grid, device="cpu", results=tmp_path).cells) == set(fb.plan("smoke", results=tmp_path).cells)


def test_the_bar_of_a_notebook_counts():
    assert not notebook_progress.in_notebook()
    bar = notebook_progress.Bar()
    updates = []
    bar.total, bar.before, bar.began = 10, 2, time.monotonic()
    bar.handle = type("Handle", (), {"update": lambda self, it: updates.append(repr(it))})()
    for status in ("done", "infeasible", "failed"):
        bar.cell_finished(Cell(aggregator="krum"), status, 0.1)
    assert repr(bar).startswith("5 of 10 cells, 2 done before, 1 failed, 1 infeasible, ")
    assert "krum  clean" in repr(bar)
    assert '<progress value="5" max="10">' in bar._repr_html_()
    bar.stop()
    assert "last" not in updates[-1]


def test_two_dictionaries_without_a_name_are_told_that_they_share_a_folder(tmp_path):
    base = {"dataset": "digits", "model": "softmax", "clients": 4, "rounds": 1, "local_steps": 1}
    quiet = {"workers": 1, "results": tmp_path, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fb.run({"base": base}, **quiet)
        fb.run({"base": base}, **quiet)  # the same again
        fb.run({"name": "mine", "base": {**base, "rounds": 2}}, **quiet)
    with pytest.warns(UserWarning, match=f"{tmp_path / 'grid'} has the results of another dictionary without a name"):
        fb.run({"base": {**base, "seed": 1}}, **quiet)
