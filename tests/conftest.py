"""What all tests share: one thread, and real data where FLIPBENCH_DATA says it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import Browser, chromium, missing

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with mnist/, fashion-mnist/ and ham10000/; skips where there is none."""
    folder = os.environ.get("FLIPBENCH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FLIPBENCH_DATA names no folder with the real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; skips with a reason where there is none."""
    if why := missing():
        pytest.skip(why)
    with chromium() as one:
        yield one
