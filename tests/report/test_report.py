"""From a folder to its files: what is written, what is removed, what is left alone, what is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flipbench.errors import UserError
from flipbench.report import write
from tests.helpers import records
from tests.helpers.paths import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "small"
    records.write_grid(
        where,
        aggregators=("fedavg", "krum"),
        attacks={"targeted(source=4, target=9)": [(4, 9)]},
        fractions=(0.1, 0.45),
        flip_rates=(1.0,),
        seeds=(0, 1),
    )
    return where


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_tables_and_pictures_are_written(folder: Path) -> None:
    written = write.write(folder)
    assert all(p.is_file() for p in written)
    told = {"cells.csv", "summary.md", "summary.csv", "summary.tex", "comparisons.csv", "statistics.csv"}
    told |= {"decomposition.csv", "stability.csv"}
    assert {p.name for p in (folder / "tables").iterdir()} == told
    pictures = {p.name for p in (folder / "heatmaps").iterdir()}
    assert {"accuracy_targeted-4-to-9.svg", "accuracy_targeted-4-to-9.png", "rounds_targeted-4-to-9.svg"} <= pictures
    assert {p.name for p in written} == pictures | told | {"report.html"}


@pytest.mark.slow
def test_twice_gives_the_same_bytes_and_leaves_no_temp_file(folder: Path) -> None:
    write.write(folder)
    before = contents(folder)
    write.write(folder)
    assert contents(folder) == before
    assert not [name for name in before if name.endswith(".tmp")]


@pytest.mark.slow
def test_stale_pictures_go_and_foreign_files_stay(folder: Path) -> None:
    write.write(folder)
    heatmaps = folder / "heatmaps"
    (heatmaps / "accuracy_gone.svg").write_bytes((heatmaps / "accuracy_targeted-4-to-9.svg").read_bytes())
    (heatmaps / "accuracy_gone.png").write_bytes((heatmaps / "accuracy_targeted-4-to-9.png").read_bytes())
    (heatmaps / "mine.png").write_bytes(b"\x89PNG somebody else's")
    (heatmaps / "notes.txt").write_text("flipbench")
    (folder / "tables" / "mine.csv").write_text("a,b\n")
    write.write(folder)
    names = set(contents(folder))
    assert not {n for n in names if "gone" in n}
    assert {"heatmaps/mine.png", "heatmaps/notes.txt", "tables/mine.csv"} <= names


@pytest.mark.slow
def test_cells_of_an_older_plan_are_not_shown(folder: Path) -> None:
    store = records.Store(folder)
    older = records.record(replace(records.BASE, aggregator="median", attack="mirrored", malicious_fraction=0.1))
    store.publish(older)
    write.write(folder)
    assert "median" not in (folder / "tables" / "summary.md").read_text("utf-8")
    assert older["key"] not in (folder / "tables" / "cells.csv").read_text("utf-8")


def test_the_terminal_shows_numbers_then_guards(folder: Path) -> None:
    plan = records.Store(folder).read_plan()
    records.Store(folder).write_plan(plan | {"keys": [*plan["keys"], "f" * 64]})
    text = write.summary_text(folder, width=80)
    assert text.startswith("Label flips, made up")
    assert "Accuracy (%), targeted 4→9" in text
    assert "krum needs at least 2f + 3 = 21 clients, got 20" in text
    assert "have not been run" in text[text.index("! ") :]
    assert text.index("fedavg") < text.index("krum")


def test_a_folder_without_a_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json"):
        write.write(tmp_path)
    with pytest.raises(UserError, match=r"plan\.json"):
        write.summary_text(tmp_path)


def test_a_place_that_is_taken_is_told(folder: Path) -> None:
    (folder / "tables").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        write.write(folder)


def test_the_terminal_does_without_matplotlib() -> None:
    code = "import sys, flipbench.report.write; print(*sorted({'matplotlib', 'seaborn'} & set(sys.modules)))"
    root = ROOT
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
