"""The rules and attacks whose memory was measured by name are shipped under that name."""

from __future__ import annotations

from flipbench.execution import memory_need
from flipbench.plugins import registry


def test_what_was_measured_by_name_is_shipped() -> None:
    assert memory_need._OF_RULES.keys() <= registry.shipped("aggregator").keys()
    assert memory_need._OF_ATTACKS.keys() <= registry.shipped("attack").keys()
