"""One small grid that has been run, for all tests of the API."""

from __future__ import annotations

from pathlib import Path

import pytest

import flipbench as fb
from flipbench.store.store import Store
from tests.helpers.records import QUICK

SMALL = {"rounds": 4, "aggregator": ["fedavg", "median"], "seed": [0, 1]}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The folder of a grid of 12 cells."""
    results = tmp_path_factory.mktemp("results")
    fb.run(fb.read_grid("smoke", SMALL), workers=1, results=results, progress=False)
    quick_figures(results / "smoke")
    return results / "smoke"


@pytest.fixture
def results(finished) -> fb.Results:
    """What lies there."""
    return fb.load(finished)


def quick_figures(folder: Path) -> None:
    """Leave the PDFs of figures out when the results of a run are drawn again."""
    store = Store(folder)
    store.write_plan({**store.read_plan(), "figure_options": QUICK})
