"""Time limits of tests grow with what else the machine has to do."""

from __future__ import annotations

import pytest

from tests.helpers import calibration
from tests.helpers.calibration import eventually, scaled


@pytest.mark.parametrize(("slowness", "limit"), [(1.0, 3.0), (1.4, 3.0), (2.0, 12.0), (4.6, 28.0), (100.0, 60.0)])
def test_a_limit_grows_with_the_slowness(slowness: float, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "slowness", lambda: slowness)
    assert scaled(3.0) == limit


def test_this_machine_is_at_least_as_slow_as_a_free_core() -> None:
    assert calibration.slowness() >= 1.0


def test_a_condition_is_waited_for_and_given_up() -> None:
    asked: list[int] = []
    assert eventually(lambda: len(asked) > 2 or bool(asked.append(1)))
    assert not eventually(lambda: False, seconds=0.01)
