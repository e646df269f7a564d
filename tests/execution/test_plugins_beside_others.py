"""What a plug-in does to its input in a worker process reaches no other cell, and nothing of it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flipbench as fb
from flipbench.store.store import Store

FILE = """
from flipbench.attacks import Stamped

def mean(updates, cohort, /):
    return updates.mean(-2)

def stamp(examples, labels, context, /):
    examples[..., :3, :3] = context.high
    return Stamped(examples, labels * 0, labels != 0)
"""
BASE = {"dataset": "digits", "clients": 5, "rounds": 2, "local_steps": 2, "malicious_count": 1}


@pytest.mark.process
def test_with_two_workers_too_only_the_cells_of_a_plugin_that_writes_into_its_input_fail(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    axes = {"aggregator": ["median", f"{tmp_path / 'mine.py'}:mean"], "attack": ["mirrored"], "seed": [0, 1]}
    plain = {"name": "both", "base": BASE, "axes": axes}
    both = {**plain, "axes": {**axes, "attack": [f"{tmp_path / 'mine.py'}:stamp", "mirrored"]}}
    with pytest.warns(UserWarning, match="4 cells failed.*mine.py:stamp changed the images"):
        fb.run(both, workers=2, results=tmp_path / "beside", progress=False, trial=False)
    assert set(fb.plan(plain, results=tmp_path / "beside").states.values()) == {"done"}
    fb.run(plain, workers=1, results=tmp_path / "alone", progress=False, trial=False)
    beside, alone = (results_of(tmp_path / name / "both") for name in ("beside", "alone"))
    assert len(alone) == 8  # clean twins among them
    assert beside == alone


def results_of(folder: Path) -> dict[str, Any]:
    """Key -> what is stored of a finished cell."""
    store = Store(folder)
    records = {key: store.read(key) for key, status in store.statuses().items() if status == "done"}
    return {key: record["result"] for key, record in records.items() if record is not None}
