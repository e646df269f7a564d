"""The table of ``results/torture.md``: one row a figure to reach, made of what the tests of this run reported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOLD = "torture"  # the property under which a test tells what it reached
PACKAGES = ("flipbench", "torch", "numpy", "pandas", "dask", "hypothesis", "selenium")


@dataclass(frozen=True)
class Row:
    """A figure to reach.

    Attributes:
        name: what is done.
        asked: the figure.
        tests: regular expressions; the tests whose node ids one of them is found in prove it.
    """

    name: str
    asked: str
    tests: tuple[str, ...]


@dataclass
class Ran:
    """What is known of one test.

    Attributes:
        outcome: passed, failed or skipped.
        seconds: setup, call and teardown.
        why: of a skip.
        told: (what, figure) as the test told it.
    """

    outcome: str = "passed"
    seconds: float = 0.0
    why: str = ""
    told: list[tuple[str, str]] = field(default_factory=list)


ROWS = (
    Row(
        "SIGKILL of random drivers, two on one folder",
        "200 kills, >= 10,000 cells: 0 lost, 0 corrupt, 0 twice, <= 120 s",
        ("test_kills.py::test_drivers",),
    ),
    Row(
        "kill at every named step of publishing",
        "each step x 20 seeds: same end state",
        ("test_kills.py::test_a_kill",),
    ),
    Row(
        "real training cells and their drivers killed, resumed",
        "20 kills: bit-identical to an unbroken run",
        ("test_runs.py::.*killed", "test_workers.py::.*(killed|deaths)"),
    ),
    Row(
        "checkpoints of long cells",
        "resumed cells bit-identical; damaged states ignored",
        ("test_checkpoint.py",),
    ),
    Row(
        "disk full; I/O error at the nth call",
        "exit code != 0, disk named, nothing lost",
        ("test_disk.py::(?!.*torn)",),
    ),
    Row(
        "torn results: every byte of 3 files, 1,000 bit flips, empty, foreign; fuzz",
        "100 % quarantined and made again, never in a report",
        ("test_disk.py::.*torn", "test_fuzz.py::test_result_files"),
    ),
    Row(
        "worker: SIGKILL, SIGSEGV, os._exit, out of memory, hang, sys.exit",
        "others unaffected, the poison cell failed after 3 tries, a hang ends at its limit",
        (
            "test_workers.py::.*(process_costs|hangs_or_eats|three_tries|nothing_to_kill)",
            "test_runner.py::.*(leaves_the_program|broken_plug_in)",
        ),
    ),
    Row(
        "Ctrl-C once, twice, SIGTERM",
        "published, exit 130 within 10 s, no orphan; resume works",
        ("test_workers.py::.*signal", "test_runner.py::.*ctrl_c"),
    ),
    Row("clusters: loopback, TLS, Slurm, several hosts", "the numbers of one process", ("test_clusters?.py",)),
    Row(
        "NaN, inf, 1e38, denormal, wrong shape or dtype, empty, duplicates into every rule",
        "10,000 cases a rule: the declared policy kept",
        ("test_fuzz_rules.py",),
    ),
    Row(
        "CSV and IDX fuzz",
        "10,000 inputs each: right, or a typed error with the line",
        ("test_fuzz.py::test_(csv|idx)",),
    ),
    Row(
        "grid fuzz",
        "5,000 mutations: accepted, or every mistake with file:line:column",
        ("test_fuzz.py::test_grids",),
    ),
    Row(
        "hostile plug-in names (../, <script>, =cmd, newline, 10 kB)",
        "0 path escapes, 0 live markup in a real browser, 0 formula cells",
        ("test_hostile.py",),
    ),
    Row(
        "grid edited between runs",
        "only new cells run; every field changes the key",
        ("test_cell.py", "test_runner.py::.*(only_new|second_run|joins_a_finished)"),
    ),
    Row(
        "determinism: twice, 1 or 2 workers, shuffled, PYTHONHASHSEED, stacked or not",
        "identical stored numbers",
        ("test_runner.py::.*(another_order|two_workers|cell_alone)", "test_runs.py::.*hash_seed", "test_lockstep.py"),
    ),
    Row(
        "scale: 100,000 cells in the store",
        "plan <= 10 s, report <= 60 s, <= 1 GiB",
        ("test_scale.py",),
    ),
    Row(
        "same cells",
        "byte-identical CSV, TeX, HTML, SVG and PNG",
        ("test_same_bytes.py", "test_report.py::.*same_bytes"),
    ),
    Row("records of every earlier version", "read, and not run again", ("test_store.py::.*(earlier_form|all_forms)",)),
)


def table(ran: dict[str, Ran]) -> list[str]:
    """The rows as lines of Markdown.

    Args:
        ran: node id -> what is known of the test.
    """
    lines = ["| test | asked | reached | tests | took |", "|---|---|---|---|---|"]
    for row in ROWS:
        some = [one for node, one in ran.items() if any(re.search(pattern, node) for pattern in row.tests)]
        took = f"{sum(one.seconds for one in some):,.0f} s"
        lines.append(f"| {row.name} | {row.asked} | {_cell(_reached(some))} | {_verdict(some)} | {took} |")
    return lines


def _reached(some: Sequence[Ran]) -> str:
    """What the tests told, each once, and why tests were skipped."""
    told = Counter(f"{what}: {figure}" for one in some for what, figure in one.told)
    texts = [text if number == 1 else f"{text} ({number} times)" for text, number in told.items()]
    skipped = Counter(one.why for one in some if one.outcome == "skipped")
    return "; ".join([*texts, *(f"not run: {why}" for why in skipped)])


def _verdict(some: Sequence[Ran]) -> str:
    if not some:
        return "NOT RUN"
    count = Counter(one.outcome for one in some)
    return ", ".join(
        f"{count[name]} {name.upper() if name == 'failed' else name}"
        for name in ("passed", "failed", "skipped")
        if count[name]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def circumstances(root: Path) -> list[str]:
    """Date, commit and machine, one line each."""
    with_git = ["git", "-C", str(root)]
    commit = _said([*with_git, "describe", "--always"]) or "unknown"
    changed = _said([*with_git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"])
    versions = [f"{name} {v}" for name in PACKAGES if (v := _version(name))]
    browser = shutil.which("chromium") and _said(["chromium", "--version"]).replace(" built on", ", built on")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {commit}{' with changes' if changed else ''}.",
        f"{cores} cores ({_processor()}), {_memory()} of memory, {_system()}.",
        f"Python {platform.python_version()}, {', '.join([*versions, *filter(None, [browser])])}.",
    ]


def _said(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    lines = _lines("/proc/cpuinfo")
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    kilobytes = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), None)
    return "unknown size" if kilobytes is None else f"{int(kilobytes) / 2**20:.0f} GiB"


def _system() -> str:
    names = dict(line.partition("=")[::2] for line in _lines("/etc/os-release"))
    return f"{names.get('PRETTY_NAME', platform.system()).strip(chr(34))}, {platform.machine()}"


def _lines(path: str) -> Iterable[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
