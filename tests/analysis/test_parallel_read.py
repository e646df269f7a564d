"""Records read by child processes are those that one process reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import parallel_read
from flipbench.errors import UserError
from flipbench.store.background_survey import BackgroundSurvey
from flipbench.store.store import Store
from flipbench.system.subprocess_pipe import PipedProcess
from tests.helpers import records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "grid"
    records.write_grid(made, infeasible=(("krum", 0.3),))
    return made


def test_child_processes_read_what_one_process_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = frames.load(folder)
    monkeypatch.setattr(parallel_read, "MANY", 1)
    monkeypatch.setattr(parallel_read, "_AT_ONCE", 7)
    shared = frames.load(folder)
    assert len(shared) > 4 * 7
    assert (shared["status"] == "infeasible").any()
    pd.testing.assert_frame_equal(shared, alone, check_exact=True)


def test_a_record_that_cannot_be_used_is_left_to_the_next_run_by_child_processes_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = sorted((folder / "cells").glob("*/*.json"))[3]
    torn.write_bytes(torn.read_bytes()[:-9])
    monkeypatch.setattr(parallel_read, "MANY", 1)
    monkeypatch.setattr(parallel_read, "_AT_ONCE", 5)
    shared = frames.load(folder).set_index("key")
    monkeypatch.undo()
    assert shared.loc[torn.stem, "status"] not in ("done", "infeasible", "failed")
    pd.testing.assert_frame_equal(shared, frames.load(folder).set_index("key"), check_exact=True)


def test_a_child_process_that_ends_early_is_reported(folder: Path) -> None:
    keys = [Store(folder).keys()[:2]]
    with PipedProcess("analysis.parallel_read", (folder, keys, False)) as child:
        assert len(child.next()) == len(parallel_read.COLUMNS)
        with pytest.raises(UserError, match=r"ended \(exit status 0\): run it again"):
            child.next()


def test_a_survey_in_the_background_finds_what_a_survey_finds(folder: Path, tmp_path: Path) -> None:
    with BackgroundSurvey() as looking:
        looking.begin(folder)
        found = looking.result()
    assert found == Store(folder).survey()
    assert set(found.statuses.values()) >= {"done", "infeasible"}
    with BackgroundSurvey() as looking:
        looking.begin(tmp_path / "nothing")
        assert looking.result().statuses == {}


_SCRIPT = """
import sys
from pathlib import Path
from flipbench.analysis import frame, parallel_read
print("runs")
parallel_read.MANY = 1
print(len(frame.load(Path(sys.argv[1]))), "torch" in sys.modules)
"""


@pytest.mark.process
def test_a_script_without_a_main_guard_reads_in_parallel_and_runs_once(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == ["runs", str(len(frames.load(folder))), "False"]


def test_what_a_child_process_imports_does_not_load_torch() -> None:
    code = (
        "import flipbench.analysis.parallel_read, flipbench.store.background_survey, sys; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
