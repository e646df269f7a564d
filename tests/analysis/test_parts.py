"""Records read by helper processes are those that one process reads."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import parallel_read as parts
from flipbench.errors import UserError
from flipbench.store.background_survey import Underway
from flipbench.store.store import Store
from flipbench.system.subprocess_pipe import Helper
from tests.helpers import records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "grid"
    records.write_grid(made, infeasible=(("krum", 0.3),))
    return made


def test_helpers_read_what_one_process_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = frames.load(folder)
    monkeypatch.setattr(parts, "MANY", 1)
    monkeypatch.setattr(parts, "_AT_ONCE", 7)
    shared = frames.load(folder)
    assert len(shared) > 4 * 7
    assert (shared["status"] == "infeasible").any()
    pd.testing.assert_frame_equal(shared, alone, check_exact=True)


def test_a_record_that_cannot_be_used_is_left_to_the_next_run_by_helpers_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = sorted((folder / "cells").glob("*/*.json"))[3]
    torn.write_bytes(torn.read_bytes()[:-9])
    monkeypatch.setattr(parts, "MANY", 1)
    monkeypatch.setattr(parts, "_AT_ONCE", 5)
    shared = frames.load(folder).set_index("key")
    monkeypatch.undo()
    assert shared.loc[torn.stem, "status"] not in ("done", "infeasible", "failed")
    pd.testing.assert_frame_equal(shared, frames.load(folder).set_index("key"), check_exact=True)


def test_a_helper_that_dies_is_told(folder: Path) -> None:
    keys = [Store(folder).keys()[:2]]
    with Helper("analysis.parallel_read", (folder, keys)) as helper:
        assert len(helper.next()) == len(parts.COLUMNS)
        with pytest.raises(UserError, match=r"ended \(exit status 0\): run it again"):
            helper.next()


def test_a_survey_under_way_finds_what_a_survey_finds(folder: Path, tmp_path: Path) -> None:
    with Underway() as looking:
        looking.begin(folder)
        found = looking.result()
    assert found == Store(folder).survey()
    assert set(found.statuses.values()) >= {"done", "infeasible"}
    with Underway() as looking:
        looking.begin(tmp_path / "nothing")
        assert looking.result().statuses == {}
