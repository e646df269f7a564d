"""Sizes of the torture and the table of what was reached.

``FLIPBENCH_TORTURE=full`` (as ``make torture`` sets it) runs every test at full size and writes ``results/torture.md``;
without it each runs a short version, as part of ``make test``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torture_size import FULL

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for the helpers beside the other tests

_reached: dict[str, tuple[str, str]] = {}


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the full size."""
    return FULL


@pytest.fixture
def told() -> Callable[[str, str], None]:
    """Say what a test reached: the row of the table, and the figure."""
    began = time.monotonic()

    def tell(row: str, figure: str) -> None:
        _reached[row] = (figure, f"{time.monotonic() - began:.0f} s")

    return tell


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table."""
    if not (FULL and _reached):
        return
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    date = time.strftime("%Y-%m-%d", time.gmtime())
    passed = "all tests passed" if exitstatus == 0 else f"NOT ALL TESTS PASSED (exit status {exitstatus})"
    lines = [
        "# Torture",
        "",
        "Made by `make torture`; what each test asks is in `tests/torture`.",
        "",
        f"{date}, commit {commit or 'unknown'}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; {passed}.",
        "",
        "| test | reached | took |",
        "|---|---|---|",
        *(f"| {row} | {figure} | {took} |" for row, (figure, took) in _reached.items()),
    ]
    (ROOT / "results" / "torture.md").write_text("\n".join(lines) + "\n")
