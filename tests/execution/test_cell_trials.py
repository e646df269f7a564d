"""Before a run, one small cell of each kind with a plug-in is tried; what cannot work is one message."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.execution import cell_trials, preflight
from flipbench.spec.cell import Cell

PLUGINS = """\
import os
import torch


def nan(updates, cohort, /):
    return updates.mean(-2) * float("nan")


def half(updates, cohort, /):
    return updates.mean(-2).half()


def raises(updates, cohort, /):
    raise KeyError("no such thing")


def dies(updates, cohort, /):
    os.abort()


def fine(updates, cohort, /):
    return updates.mean(-2)


CALLS = [0]


def counts(updates, cohort, /):
    CALLS[0] += 1
    return updates.mean(-2) * CALLS[0]


def mixes(updates, cohort, /):
    return updates.flatten(0, -2).mean(0).expand(*updates.shape[:-2], -1)


def mixes_a_little(updates, cohort, /):
    mean = updates.mean(-2)
    return mean * mean.norm() / mean.norm(dim=-1, keepdim=True)  # the first norm is that of all cells


def draws(updates, context, /):
    return updates + torch.randn(updates.shape, generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(4))))


def short(updates, context, /):
    return updates[:, :3]


def no_data():
    os.abort()
"""
GRID = """\
name: mine
base: {dataset: digits, model: softmax, clients: 5, rounds: 2, local_steps: 1, malicious_count: 1, attack: mirrored}
axes:
  aggregator: [fedavg, "bad.py:nan", "bad.py:half", "bad.py:raises", "bad.py:dies", "bad.py:fine"]
"""
pytestmark = pytest.mark.process


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(PLUGINS)
    (tmp_path / "mine.yaml").write_text(GRID)
    return tmp_path


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_all_that_cannot_work_is_one_message_and_nothing_is_run(folder: Path) -> None:
    code, text = call("run", "mine.yaml", "--workers", "1", "--no-progress")
    assert code == 2
    for said in (
        "bad.py:nan returned an update that is not finite",
        "bad.py:half must return torch.float32",
        "KeyError: 'no such thing' (bad.py:14)",
        "bad.py:dies (2 cells): one small round: its trial was killed by SIGABRT",
    ):
        assert said in text, text
    assert "bad.py:fine" not in text
    assert "Traceback" not in text
    assert "full tracebacks: results/mine/trials.txt" in text
    assert "in raises" in (folder / "results" / "mine" / "trials.txt").read_text()
    assert not (folder / "results" / "mine" / "cells").exists()
    code, text = call("plan", "mine.yaml", "--set", "aggregator=[bad.py:half, bad.py:raises]")
    assert code == 2
    assert "bad.py:half must return torch.float32" in text
    assert "KeyError: 'no such thing' (bad.py:14)" in text
    assert "full tracebacks: " in text


def test_a_data_set_that_ends_the_process_is_loaded_in_another(folder: Path) -> None:
    for reference in ("os:abort", "bad.py:no_data"):
        code, text = call("plan", "mine.yaml", "--set", f"dataset={reference}")
        assert code == 2
        assert f"data set {reference}: its trial was killed by SIGABRT" in text


def test_an_attack_of_the_wrong_shape_is_found(folder: Path) -> None:
    (failure,) = cell_trials.tried([_cell(attack="bad.py:short"), _cell(attack="bad.py:short", aggregator="krum")])
    assert failure.names == ("bad.py:short",)
    assert failure.cells == 2
    assert "must return updates of shape (malicious, dim)" in failure.why


def test_what_keeps_state_between_calls_or_draws_elsewhere_is_found(folder: Path) -> None:
    failures = cell_trials.tried(
        [_cell(aggregator="bad.py:counts"), _cell(attack="bad.py:draws"), _cell(aggregator="bad.py:fine")]
    )
    assert sorted(f.names for f in failures) == [("bad.py:counts",), ("bad.py:draws",)]
    assert all("gave other numbers when it was run again" in f.why for f in failures)


def test_a_rule_that_computes_across_cells_is_found(folder: Path) -> None:
    failures = cell_trials.tried(
        [_cell(aggregator=f"bad.py:{name}") for name in ("mixes", "mixes_a_little", "fine")]
        + [_cell(aggregator="bad.py:mixes", attack="none"), _cell(aggregator="bad.py:fine", attack="none")]
    )
    assert sorted({f.names for f in failures}) == [("bad.py:mixes",), ("bad.py:mixes_a_little",)]
    assert all("it computes across cells" in f.why for f in failures)


def test_without_plug_ins_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_in_child_processes", lambda questions: pytest.fail("started") if questions else ())
    assert cell_trials.tried([_cell(), _cell(attack="sign_flip", aggregator="krum")]) == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_device_that_is_not_here_is_refused_with_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, text = call(command, "smoke", "--device", "cuda")
    assert (code, text.count("error:")) == (2, 1)
    assert text.startswith("error: device is cuda, but PyTorch sees no CUDA device here")
    assert not (folder / "results").exists()


def test_plug_ins_are_tried_before_remote_workers_get_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    where = ("--scheduler", "tcp://127.0.0.1:9", "--device", "cuda")  # no scheduler listens there
    code, text = call("run", "mine.yaml", "--no-progress", "--set", "aggregator=bad.py:half", *where)
    assert code == 2
    assert "bad.py:half must return torch.float32" in text
    assert "CUDA" not in text


def _cell(**fields: object) -> Cell:
    usual = {"dataset": "digits", "model": "softmax", "clients": 5, "malicious_count": 1, "attack": "mirrored"}
    return Cell(**{**usual, **fields})  # type: ignore[arg-type]
