"""The empty store that tests of this folder publish into."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipbench.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "grid")
