"""The key ``seeds:`` of a grid file."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipbench.grid import reader
from flipbench.spec.seed_plan import SeedPlan

GRID = "name: mine\nbase: {dataset: digits, rounds: 2}\naxes: {aggregator: [fedavg, median]}\n"


def read(folder: Path, more: str, *overrides: str) -> reader.Grid:
    path = folder / "mine.yaml"
    path.write_text(GRID + more)
    return reader.read(path, overrides)


def test_the_cells_are_those_of_the_most_seeds(tmp_path: Path) -> None:
    grid = read(tmp_path, "seeds: {least: 4, most: 9, until: decided, step: 2}\n")
    assert grid.seeds == SeedPlan(4, 9, 2)
    assert grid.seeds.looks == (4, 6, 8, 9)
    assert {c.seed for c in grid.cells} == set(range(9))


def test_seeds_of_the_command_line_replace_the_block(tmp_path: Path) -> None:
    grid = read(tmp_path, "seeds: {least: 4, most: 9}\n", "seed=[3, 5]")
    assert grid.seeds is None
    assert {c.seed for c in grid.cells} == {3, 5}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("4", "needs a mapping"),
        ("{least: 4}", "most: needs a whole number"),
        ("{least: 9, most: 4}", "most must be larger"),
        ("{least: 2, most: 4}", "from 3 to 1000"),
        ("{least: true, most: 4}", "needs a whole number"),
        ("{least: 4, most: 9, until: tired}", "needs decided"),
        ("{least: 4, most: 9, metric: source_recall}", "needs one of accuracy"),
        ("{least: 4, most: 9, untill: decided}", "until"),
    ],
)
def test_mistakes_have_their_place(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(reader.GridError, match=r"mine.yaml:4:\d+: seeds: .*" + said):
        read(tmp_path, f"seeds: {block}\n")


def test_seeds_are_given_once(tmp_path: Path) -> None:
    with pytest.raises(reader.GridError, match="seed at 4:16, too"):
        read(tmp_path, "cases: [{seed: 1}]\nseeds: {least: 4, most: 9}\n")
