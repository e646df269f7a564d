"""The data dictionary names what is written, all of it and nothing else; a CSV of rounds agrees with the cells."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flipbench.analysis import frame as frames
from flipbench.analysis.metrics import METRICS, evaluate
from flipbench.cli.app import app
from flipbench.report.tables import dictionary
from flipbench.report.tables.cells_csv import cells_csv
from flipbench.report.tables.rounds_csv import COLUMNS, rounds
from tests.helpers import records
from tests.helpers.paths import GOLDEN
from tests.report.write_dictionary import PAGE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records.write_grid(tmp_path_factory.mktemp("grid") / "g", seeds=(0, 1)).folder


def heading(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)))


def members(record: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield before + name
        if name == "result" and value is not None:
            yield from members(value, "result.")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == dictionary.markdown(), "run make dictionary"


def test_every_column_of_cells_csv_is_described(folder: Path) -> None:
    written = heading(cells_csv(evaluate(frames.load(folder))))
    assert written == [line.name for line in dictionary.cells_columns()]


def test_every_member_of_a_record_is_described() -> None:
    path = next((GOLDEN / "store_before_packages/cells").rglob("*.json"))
    described = {line.name for line in dictionary.MEMBERS}
    assert set(members(json.loads(path.read_text("utf-8")))) <= described


@pytest.mark.slow
def test_every_member_of_a_new_record_is_described(tmp_path: Path) -> None:
    grid = tmp_path / "tiny.yaml"
    grid.write_text(
        "base: {dataset: digits, clients: 4, model: softmax, rounds: 1, malicious_count: 1, attack: mirrored}"
    )
    ran = CliRunner().invoke(app, ["run", str(grid), "--workers", "1", "--results", str(tmp_path), "--no-progress"])
    assert ran.exit_code == 0, ran.output
    path = next((tmp_path / "tiny/cells").rglob("*.json"))
    written, described = list(members(json.loads(path.read_text("utf-8")))), [line.name for line in dictionary.MEMBERS]
    assert sorted(written) == sorted(described)


def test_every_line_says_something() -> None:
    for lines in (dictionary.cells_columns(), dictionary.rounds_columns(), dictionary.MEMBERS):
        assert all(line.name and line.type and line.meaning for line in lines)
        assert len({line.name for line in lines}) == len(lines)
    assert [line.name for line in dictionary.rounds_columns()] == list(COLUMNS)


def test_rounds_agree_with_the_cells(folder: Path) -> None:
    frame = frames.load(folder)
    tidy, table = evaluate(frame), rounds(frame)
    assert len(table) == sum(len(r) for r in frame.loc[frame["status"] == "done", "rounds_evaluated"])
    last = table.groupby("key", sort=False).tail(1).set_index("key").loc[tidy["key"]]
    for name in METRICS:
        np.testing.assert_array_equal(last[name], tidy[name], err_msg=name)
    np.testing.assert_allclose(last["malicious_influence"], tidy["malicious_influence"], rtol=1e-12)
    left_out = table.groupby("key")["nonfinite_updates"].sum().loc[tidy["key"]]
    assert (left_out.to_numpy() <= tidy["nonfinite_updates"].to_numpy()).all()  # rounds between have no line


def test_the_command_writes_the_rounds(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "rounds.csv"
    said = CliRunner().invoke(app, ["results", str(folder), "--export-rounds", str(to)])
    assert said.exit_code == 0, said.output
    read, table = pd.read_csv(to), rounds(frames.load(folder))
    assert list(read.columns) == list(COLUMNS)
    assert len(read) == len(table)
    np.testing.assert_array_equal(read["accuracy"], table["accuracy"])
    assert f"({len(table)} evaluated rounds)" in said.output


def test_rounds_go_to_a_csv_file(folder: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["results", str(folder), "--export-rounds", str(tmp_path / "rounds.xlsx")])
    assert said.exit_code == 2
    assert "--export-rounds needs a file that ends in .csv" in said.output


def test_a_grid_without_finished_cells_has_no_rounds(folder: Path) -> None:
    frame = frames.load(folder)
    assert rounds(frame.assign(status="missing")).empty
