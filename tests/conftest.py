"""Fixtures and settings of all tests: one thread, real data, a browser, and markers that follow from fixtures."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.browser import Browser, chromium, missing

torch.set_num_threads(1)
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & and nohup leave it out; the tests need it


MARKED_BY_FIXTURE = ("browser", "real_data")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a fixture of MARKED_BY_FIXTURE with the marker of that name."""
    for item in items:
        for name in MARKED_BY_FIXTURE:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)


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
