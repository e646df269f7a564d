"""Every name that a grid can use stands in the page about its kind."""

from __future__ import annotations

import re

import pytest

from flipbench.plugins import kinds, registry
from flipbench.spec.metric_names import SHEET
from tests.helpers.paths import ROOT

PAGES = {
    "aggregator": "aggregators",
    "preaggregation": "aggregators",
    "attack": "attacks",
    "dataset": "data",
    "partition": "data",
    "features": "grids",
    "model": "grids",
    "schedule": "grids",
    "optimiser": "definitions",
    "algorithm": "grids",
    "server_optimiser": "definitions",
    "initialisation": "grids",
    "augmentation": "grids",
    "loss": "grids",
    "malicious_data": "grids",
}


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_page_of_a_kind_has_every_name(kind: str) -> None:
    text = (ROOT / f"docs/{PAGES[kind]}.md").read_text("utf-8")
    assert [name for name in registry.shipped(kind) if not re.search(rf"`{name}\b", text)] == []


def test_every_metric_has_its_formula() -> None:
    text = (ROOT / "docs/definitions.md").read_text("utf-8").lower()
    assert [m.name for m in SHEET if f"| {m.name.replace('_', ' ')} |" not in text] == []
