"""How many seeds a grid needs, from stored seeds and from a stated spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import flipbench as fb
from flipbench.analysis.seeds import power
from flipbench.api import detection
from tests.helpers import tiny_runs


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> tuple[fb.Grid, Path]:
    folder = tmp_path_factory.mktemp("pilot")
    grid = tiny_runs.read(folder, overrides=["seed=[0, 1, 2]", "aggregator=[fedavg, median]"])
    tiny_runs.run(grid, folder / "tiny")
    return grid, folder


def test_the_spreads_are_those_of_the_stored_seeds(pilot: tuple[fb.Grid, Path]) -> None:
    grid, folder = pilot
    (table,) = detection.detect(grid, folder / "tiny", 2.0).tables
    cells = fb.load(folder / "tiny").cells.set_index("key")
    spreads = []
    for attack in ("mirrored", "all_to_one(target=0)", "none"):
        own = cells[cells["attack"] == attack].groupby(["seed", "aggregator"])["accuracy"].mean().unstack()
        spreads.append((own["fedavg"] - own["median"]).std())
    level, known = 0.05 / 3, table.needed
    assert table.comparisons == 3
    assert table.pilot == (3, 3)
    assert table.seeds == 3
    assert list(known) == sorted(int(power.seeds_needed(0.02, s, level)) for s in spreads)
    assert table.careful is not None
    assert all(c >= n for c, n in zip(table.careful, known, strict=True))
    assert detection.detect(grid, folder / "tiny", 2.0).seeds == np.sort(known)[2]


def test_other_seeds_of_the_same_cells_are_a_pilot_and_other_cells_are_not(pilot: tuple[fb.Grid, Path]) -> None:
    _, folder = pilot
    more = tiny_runs.read(folder, overrides=["seed=[7, 8, 9, 10]", "aggregator=[fedavg, median]"])
    (table,) = detection.detect(more, folder / "tiny", 2.0).tables
    assert table.pilot == (3, 3)
    assert table.seeds == 4
    other = tiny_runs.read(folder, overrides=["rounds=4"])
    with pytest.raises(fb.UserError, match="no two finished seeds of tiny"):
        detection.detect(other, folder / "tiny", 2.0)


def test_without_a_pilot_a_spread_must_be_stated(tmp_path: Path) -> None:
    grid = tiny_runs.read(tmp_path)
    with pytest.raises(fb.UserError, match="or state a --spread"):
        detection.detect(grid, tmp_path / "none", 2.0)
    text = str(detection.detect(grid, tmp_path / "none", 2.0, spread=1.0))
    assert "for each of 9 comparisons" in text
    assert "this grid has 2 seeds: enough for 0 of 9" in text


@pytest.mark.parametrize(("difference", "spread"), [(0.0, 1.0), (-2.0, 1.0), (float("nan"), 1.0), (2.0, 0.0)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, difference: float, spread: float) -> None:
    with pytest.raises(fb.UserError, match="in points, above 0"):
        detection.detect(tiny_runs.read(tmp_path), tmp_path, difference, spread=spread)
