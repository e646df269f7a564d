"""Wheel and source distribution in clean environments, run in a folder of files that are named like modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny_runs import numbers
from tests.packaging import hostile_folder
from tests.packaging.distributions import checkout_of, installed_in, ran, sdist_of, wheel_of

pytestmark = [pytest.mark.package, pytest.mark.timeout(1800)]
TABLES = ("*.csv", "*.tex")
OWN = "cells.csv"  # has times


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    checkout = checkout_of(tmp_path_factory.mktemp("checkout"))
    built = tmp_path_factory.mktemp("built")
    return {"wheel": wheel_of(checkout, built), "sdist": sdist_of(checkout, built)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this environment's flipbench computes in its own process, in an empty folder."""
    from typer.testing import CliRunner

    from flipbench.cli.app import app

    folder = tmp_path_factory.mktemp("reference")
    said = CliRunner().invoke(app, ["run", "smoke", "--workers", "1", "--no-progress", "--results", str(folder)])
    assert said.exit_code == 0, said.output
    return folder / "smoke"


def tables(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for pattern in TABLES
        for path in sorted((folder / "tables").rglob(pattern))
        if path.name != OWN
    }


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_runs_anywhere_as_the_checkout_does(
    distributions: dict[str, Path], reference: Path, tmp_path: Path, kind: str
) -> None:
    commands = installed_in(tmp_path / "venv", distributions[kind])
    folder = tmp_path / "work"
    folder.mkdir()
    hostile_folder.fill(folder)
    environment = {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    flipbench = commands / "flipbench"
    assert "how much do robust aggregators save" in ran([flipbench, "--help"], folder, **environment)
    assert "24 cells" in ran([flipbench, "plan", "smoke"], folder, **environment)
    said = ran([flipbench, "run", "smoke", "--workers", "2", "--no-progress"], folder, **environment)
    assert "24 cells run, 24 done" in said
    assert hostile_folder.executed(folder) == []
    assert numbers(folder / "results" / "smoke") == numbers(reference)
    assert tables(folder / "results" / "smoke") == tables(reference)
    assert len(tables(reference)) > 4
