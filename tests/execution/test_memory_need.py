"""The memory of a run is estimated before it: `run` warns, `plan` says it, and what no machine holds is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flipbench as fb
from flipbench.cli.app import app
from flipbench.execution import memory_need
from flipbench.execution.memory_need import Need
from flipbench.grid import reader
from flipbench.spec.cell import Cell

GRID = "base: {dataset: digits, model: softmax, clients: 4, rounds: 1, local_steps: 1}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory_need, "available", lambda: 100 << 20)
    (tmp_path / "g.yaml").write_text(GRID)
    return tmp_path


def test_run_warns_where_the_machine_has_less_and_not_for_cells_that_are_done(folder: Path) -> None:
    command = ["run", "g.yaml", "--workers", "1", "--no-progress"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0
    assert (
        "warning: 1 worker needs about 531 MiB of memory, and 100 MiB are available: not even one fits" in first.output
    )
    assert "of memory" not in CliRunner().invoke(app, command).output


def test_so_does_python(folder: Path) -> None:
    with pytest.warns(UserWarning, match="1 worker needs about"):
        fb.run("g.yaml", workers=1, progress=False)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("mlp(widths=[1000000, 1000000])", "1,000,076,000,010 parameters, 3.64 TiB for each client of a round"),
        ("mlp(widths=[40000, 40000])", "1,603,040,010 parameters, 5.97 GiB"),
    ],
)
def test_a_model_that_no_machine_holds_is_refused_with_its_size(model: str, said: str) -> None:
    with pytest.raises(reader.GridError) as caught:
        reader.read_text(f"base: {{dataset: digits, model: '{model}'}}", "g", "g.yaml")
    assert f"g.yaml:1:32: model: {model} has {said}" in str(caught.value)
    reader.read_text("base: {dataset: digits, model: 'mlp(widths=[9000, 9000])'}", "g", "g.yaml")


def test_with_what_a_cell_would_fit_is_said() -> None:
    cell, mib = Cell(dataset="digits", model="softmax", clients=20, batch_size=32), 1 << 20
    for size in ((10**6, 0, 0, 0), (10**6, 0, mib, 0), (10**6, 0, mib, 1), (10**6, 0, 8 * mib, 0)):
        whole = memory_need.of_cell(cell, *size)
        assert memory_need.need({cell: size}, 1) is not None
        for share in (0.6, 0.8, 0.95):
            free = memory_need.ALONE + int(share * (whole - memory_need.ALONE))
            said = memory_need.smaller(cell, size, free)
            assert said.startswith("it would with ")
            for way in said.removeprefix("it would with ").split(" or with "):
                number = int("".join(c for c in way if c.isdigit()))
                field = "batch_size" if "batch_size" in way else "clients"
                assert memory_need.of_cell(replace(cell, **{field: number}), *size) <= free
                assert memory_need.of_cell(replace(cell, **{field: number + 1}), *size) > free
    assert "not with one client" in memory_need.smaller(cell, (10**6, 0, mib, 0), 1 << 20)


def test_how_many_workers_fit_is_said() -> None:
    assert Need(100 << 20, 3, 400 << 20).warning is None
    assert str(Need(100 << 20, 3, 250 << 20).warning).endswith("at most 2 fit, so run with --workers 2")
    assert str(Need(100 << 20, 3, 99 << 20).warning).startswith("3 workers need about 300 MiB")


def test_the_need_grows_with_parameters_clients_and_rule() -> None:
    small = Cell(dataset="digits", model="softmax", clients=20)
    large = Cell(dataset="digits", model="softmax", clients=20, aggregator="flame")
    assert memory_need.of_cell(small, 10**6, 0) - memory_need.ALONE == pytest.approx(3.4 * 20 * 4e6, rel=0.01)
    assert memory_need.of_cell(large, 10**6, 0) > memory_need.of_cell(small, 10**6, 0)
