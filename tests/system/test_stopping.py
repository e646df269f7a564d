"""Ctrl-C and SIGTERM at any moment: exit code 130, a word about it, no traceback, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flipbench.system.signals import Interrupted, in_order, is_users, stoppable
from tests.helpers.calibration import eventually, scaled
from tests.helpers.paths import ROOT
from tests.helpers.poisoned_runs import marked

# The limit only ends tests that hang: a busy machine does not reach it.
pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

TINY = (
    "name: tiny\nbase: {dataset: digits, clients: 5, model: softmax, rounds: 1, local_steps: 1}\naxes: {seed: [0, 1]}\n"
)
# As numpy does when it is interrupted while it is imported: another exception comes out, or none.
STUBBORN = """
import time
from pathlib import Path

Path("begun").write_text("")
for _ in range(200):
    try:
        time.sleep(0.1)
    except BaseException:
        pass
"""
DRAWING = """
import sys, time
from pathlib import Path
from flipbench.report import write as report
from flipbench.cli.app import main

def write(*_):
    Path("begun").write_text("")
    try:
        time.sleep(60)
    except BaseException:
        raise AttributeError("partially initialized module") from None

report.read = lambda folder, repairs, headline=None: None
report.write = write
sys.argv = ["flipbench", "report", "r"]
main()
"""


def stopped(
    folder: Path, command: list[str], number: signal.Signals, ready: Callable[[int], bool] | None
) -> tuple[int, str]:
    """Exit code and output of a command that gets a signal once it is ready; nothing of it may be left.

    Args:
        folder: in which it runs.
        command: arguments of Python.
        number: of the signal.
        ready: whether it is, by the id of its process; None: as soon as it has processes of its own.
    """
    mark = f"FLIPBENCH_TEST_MARK={os.getpid()}-{folder.name}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict([mark.split("=")])
    with (folder / "out").open("w") as out:
        started = subprocess.Popen([sys.executable, *command], cwd=folder, env=env, stdout=out, stderr=out)
        try:
            # The third process after the program and multiprocessing's tracker is the fork server.
            while not (ready(started.pid) if ready else len(marked(mark)) > 2):
                assert started.poll() is None, (folder / "out").read_text()
                time.sleep(0.01)
            started.send_signal(number)
            code = started.wait(scaled(10.0))
            assert eventually(lambda: not marked(mark))
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)
    return code, (folder / "out").read_text()


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")


@NEEDS_PROC
@SIGNALS
def test_while_a_run_starts(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    code, said = stopped(tmp_path, ["-m", "flipbench", "run", "tiny.yaml", "--workers", "2"], number, None)
    assert (code, said) == (130, "interrupted\n")


@NEEDS_PROC
@SIGNALS
def test_while_code_that_swallows_interrupts_is_imported(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = ["-m", "flipbench", "run", "tiny.yaml", "--workers", "1", "--aggregator", "stubborn.py:rule"]
    assert stopped(tmp_path, command, number, lambda _: (tmp_path / "begun").exists()) == (130, "interrupted\n")


WAITS = "import time\n\n\ndef rule(updates, cohort, /):\n    time.sleep(600)\n    return updates.mean(-2)\n"


def harmed(driver: int, how: str) -> None:
    """Kill the fork server of a driver, or stop it or its workers, as a debugger or ``kill -STOP`` does."""
    children = psutil.Process(driver).children()
    (server,) = [child for child in children if any("forkserver" in word for word in child.cmdline())]
    workers = [child for child in server.children() if "resource_tracker" not in " ".join(child.cmdline())]
    assert workers
    if how == "the fork server killed":
        server.kill()
    for process in {"the workers stopped": workers, "the fork server stopped": [server]}.get(how, []):
        process.suspend()


@NEEDS_PROC
@pytest.mark.parametrize("how", ["the fork server killed", "the workers stopped", "the fork server stopped"])
def test_while_processes_of_the_run_are_dead_or_stopped(tmp_path: Path, how: str) -> None:
    (tmp_path / "slow.py").write_text(WAITS)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("[0, 1]}", "[0, 1], aggregator: [fedavg, 'slow.py:rule']}"))
    command = ["-m", "flipbench", "run", "tiny.yaml", "--workers", "2", "--no-trial", "--no-progress"]

    def ready(driver: int) -> bool:
        if len(list(tmp_path.glob("results/tiny/cells/*/*.json"))) < 2:
            return False
        harmed(driver, how)
        return True

    code, said = stopped(tmp_path, command, signal.SIGINT, ready)
    assert code == 130, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said


STARTING = """
import time
from pathlib import Path
from flipbench.system import signals
from flipbench.system.subprocess_pipe import PipedProcess

class Slow:
    def __reduce__(self):  # the child process sleeps as it reads the request, as it would at a slow import
        return time.sleep, (600,)

signals.from_the_start()
with PipedProcess("store.background_survey", Slow()):
    Path("begun").write_text("")
    time.sleep(600)
"""


@NEEDS_PROC
@SIGNALS
def test_while_a_child_process_that_reads_results_starts(tmp_path: Path, number: signal.Signals) -> None:
    assert stopped(tmp_path, ["-c", STARTING], number, lambda _: (tmp_path / "begun").exists()) == (
        130,
        "interrupted\n",
    )


@NEEDS_PROC
@SIGNALS
def test_while_tables_are_drawn(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "plan.json").write_text("{}")
    begun, said = tmp_path / "begun", "drawing tables, figures and the report page in r\ninterrupted\n"
    assert stopped(tmp_path, ["-c", DRAWING], number, lambda _: begun.exists()) == (130, said)


def test_an_interrupt_that_is_swallowed_is_one_at_the_end() -> None:
    seen = []

    def swallowed() -> None:
        with in_order():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except BaseException as error:
                seen.append(type(error))

    with pytest.raises(Interrupted):
        swallowed()
    assert seen == [Interrupted]


def test_a_plug_ins_own_interrupt_is_not_the_users() -> None:
    assert is_users(Interrupted())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert is_users(KeyboardInterrupt())  # where Python handles the signal, nobody could tell
        with stoppable():
            assert not is_users(KeyboardInterrupt())
        assert not is_users(GeneratorExit())
    finally:
        signal.signal(signal.SIGINT, before)
