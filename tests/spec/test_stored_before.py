"""What the code before the packages stored: keys of a broad set of cells, and a store that is complete as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import LATER, TABLE, USUAL
from flipbench.spec.key import key
from flipbench.spec.twins import clean_twin
from tests.helpers.paths import GOLDEN

KEYS: list[dict[str, Any]] = json.loads((GOLDEN / "keys_before_packages.json").read_text("utf-8"))
STORE = GOLDEN / "store_before_packages"


def test_keys_are_those_of_the_code_before() -> None:
    changed = []
    for stored in KEYS:
        cell = Cell(**stored["facts"])
        made = {"key": key(cell, stored["content"]), "twin": key(clean_twin(cell), stored["content"])}
        changed += [] if made == {name: stored[name] for name in made} else [stored["facts"]]
    assert len(KEYS) > 250
    assert not changed


@pytest.mark.parametrize("name", [n for n, about in TABLE.items() if about.since <= 2])  # all that there were
def test_the_keys_from_before_meet_every_field_off_its_usual_value(name: str) -> None:
    assert any(stored["facts"].get(name, USUAL[name]) != USUAL[name] for stored in KEYS)


@pytest.mark.parametrize("name", [n for n, value in LATER.items() if value is not None and TABLE[n].since <= 2])
def test_the_keys_from_before_meet_every_later_field_at_its_usual_value(name: str) -> None:
    assert any(stored["facts"].get(name) == LATER[name] for stored in KEYS)


def test_a_store_from_before_is_read_and_nothing_runs_again(tmp_path: Path) -> None:
    folder = tmp_path / STORE.name
    shutil.copytree(STORE, folder)
    cells = {path: path.read_bytes() for path in sorted((folder / "cells").rglob("*.json"))}
    command = ["run", str(folder / "grid.yaml"), "--workers", "1", "--results", str(tmp_path)]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    assert "0 cells run" in ran.output
    assert {path: path.read_bytes() for path in sorted((folder / "cells").rglob("*.json"))} == cells
    drawn, before = (pd.read_csv(path / "tables" / "summary.csv", dtype=str) for path in (folder, STORE))
    pd.testing.assert_frame_equal(drawn[list(before.columns)], before)  # columns may have been added
    assert (folder / "report.html").exists()
