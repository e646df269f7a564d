"""No cache, no system folder and no data folder of the machine that runs the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipbench import data
from flipbench.data import locations


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FLIPBENCH_DATA", raising=False)
    monkeypatch.setattr(locations, "SYSTEM", (tmp_path / "system",))
    data.forget()
