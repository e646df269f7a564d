"""Sizes of the torture and the table of what was reached.

``FLIPBENCH_TORTURE=full`` (as ``make torture`` sets it) runs every test at full size; without it each runs a short
version, as part of ``make test``. ``FLIPBENCH_TORTURE_TABLE`` names the file that the table goes to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict

import pytest

from tests.helpers.paths import ROOT
from tests.torture.figures import TOLD, Ran, circumstances, table
from tests.torture.torture_size import FULL

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
    """Write the table, where it is asked for; a second session adds its rows to those of the first."""
    name = os.environ.get("FLIPBENCH_TORTURE_TABLE")
    if not name or hasattr(session.config, "workerinput"):
        return
    file, state = ROOT / name, ROOT / f"{name}.json"
    before = json.loads(state.read_text()) if state.exists() else {"seconds": 0.0, "failed": False, "ran": {}}
    seconds, failed = before["seconds"] + time.monotonic() - _began, before["failed"] or exitstatus != 0
    ran = {node: Ran(**one) for node, one in before["ran"].items()} | _ran
    state.write_text(json.dumps({"seconds": seconds, "failed": failed, "ran": {n: asdict(r) for n, r in ran.items()}}))
    lines = [
        "# Torture",
        "",
        "Made by `make torture`; what each test does is in `tests/torture`, and in the files of `tests` named there.",
        "",
        *(f"* {line}" for line in circumstances(ROOT)),
        f"* {'Full size' if FULL else 'SHORT VERSION'}, {seconds / 60:.1f} minutes: "
        f"{'NOT ALL TESTS PASSED' if failed else 'all tests passed'}.",
        "",
        *table(ran),
    ]
    file.write_text("\n".join(lines) + "\n")
