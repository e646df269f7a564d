"""Two grids of several attacks: a few attacks with an infeasible rule, and every made-up attack."""

from __future__ import annotations

import pytest

from tests.helpers import records
from tests.report.attack_cases import FEW, Read, read


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Six attacks on three rules; Krum refuses the higher fraction."""
    folder = tmp_path_factory.mktemp("few") / "attacks"
    rules = ("fedavg", "krum", "median")
    records.write_attacks(folder, aggregators=rules, attacks=FEW, infeasible=(("krum", 0.4),))
    return read(folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Every made-up attack on two rules."""
    folder = tmp_path_factory.mktemp("many") / "attacks"
    records.write_attacks(folder, aggregators=("fedavg", "median"), fractions=(0.2,), seeds=(0, 1))
    return read(folder)
