"""Sizes of the torture and the table of what was reached.

``FLIPBENCH_TORTURE=full`` (as ``make torture`` sets it) runs every test at full size; without it each runs a short
version, as part of ``make test``. ``FLIPBENCH_TORTURE_TABLE`` names the file that the table goes to.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from figures import TOLD, Ran, circumstances, table
from torture_size import FULL

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for the helpers beside the other tests

_ran: dict[str, Ran] = {}
_began = time.monotonic()


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the full size."""
    return FULL


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Say what a test reached: of what, and the figure."""
    return lambda what, figure: record_property(TOLD, [what, figure])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what a test did; under xdist the reports of all workers come here."""
    one = _ran.setdefault(report.nodeid, Ran())
    one.seconds += report.duration
    if report.outcome != "passed":
        one.outcome = report.outcome
    if report.skipped:
        one.why = report.longrepr[-1].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "skipped"
    if report.when == "call":
        one.told = [(str(value[0]), str(value[1])) for name, value in report.user_properties if name == TOLD]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table, once, where it is asked for."""
    file = os.environ.get("FLIPBENCH_TORTURE_TABLE")
    if not file or hasattr(session.config, "workerinput"):
        return
    passed = "all tests passed" if exitstatus == 0 else f"NOT ALL TESTS PASSED (exit status {exitstatus})"
    minutes, seconds = divmod(round(time.monotonic() - _began), 60)
    size = "full size" if FULL else "SHORT VERSION"
    lines = [
        "# Torture",
        "",
        "Made by `make torture`; what each test does is in `tests/torture`, and in the files of `tests` named there.",
        "",
        *(f"* {line}" for line in circumstances(ROOT)),
        f"* One run of {minutes} min {seconds} s, {size}: {passed}.",
        "",
        *table(_ran),
    ]
    (ROOT / file).write_text("\n".join(lines) + "\n")
