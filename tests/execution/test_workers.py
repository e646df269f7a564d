"""Workers that die, hang or eat cost the cell that caused it; the others never notice, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flipbench.errors import UserError
from flipbench.execution import dask_dispatch
from flipbench.execution.run_context import Retries, RunContext, key_of
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.records import Job
from flipbench.spec.cell import Cell
from flipbench.store.store import Store
from flipbench.system import child_processes
from flipbench.system.limits import LEAST, Limits, parse_size, size_text
from flipbench.system.signals import Stop
from tests.helpers.calibration import eventually, scaled
from tests.helpers.paths import ROOT
from tests.helpers.poisoned_runs import marked, read, reasons, run
from tests.helpers.tiny_runs import numbers

# The limit only ends tests that hang: a busy machine does not reach it.
pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]
RUN = (sys.executable, "-m", "flipbench", "run", "tiny.yaml", "--no-trial")  # what the trial would keep from it


def test_whatever_a_rule_does_to_its_process_costs_its_own_cells_alone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    outcome = run(read(tmp_path, "killed", "segfault", "leaves", "half", "exits"), folder)
    told = reasons(folder, outcome)
    assert told["killed"] == {"its worker died 3 times; the last one was killed by SIGKILL"}
    assert told["segfault"] == {"its worker died 3 times; the last one was killed by SIGSEGV"}
    assert told["leaves"] == {"its worker died 3 times; the last one ended itself with exit code 7"}
    assert all("SystemExit" in why for why in told["exits"])
    assert [len([k for k, why in outcome.failed if why in told[r]]) for r in ("segfault", "leaves")] == [2, 2]
    failed_of_half = [k for k, _ in outcome.failed if "half" in (Store(folder).read(k) or {})["facts"]["aggregator"]]
    assert [(Store(folder).read(k) or {})["facts"]["seed"] for k in failed_of_half] == [1]
    assert (outcome.total, outcome.done) == (14, 5)
    plain = run(read(tmp_path), tmp_path / "plain", workers=1)
    assert plain.done == 4
    assert numbers(tmp_path / "plain").items() <= numbers(folder).items()


def test_a_cell_that_hangs_or_eats_ends_at_its_limit(tmp_path: Path) -> None:
    seconds = scaled(5.0)
    limits = {
        "hangs": Limits(seconds=seconds),
        "greedy": Limits(memory=1 << 30),
    }
    said = {
        "hangs": f"took longer than the time limit of {seconds:g} s (--cell-timeout)",
        "greedy": "took more than the memory limit of 1 GiB (--memory-limit)",
    }
    for rule, limit in limits.items():
        outcome = run(read(tmp_path, rule, overrides=["seed=[0]"]), tmp_path / rule, limits=limit)
        assert reasons(tmp_path / rule, outcome)[rule] == {said[rule]}
        assert outcome.done == 2


def test_a_worker_that_stops_itself_is_ended_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_dispatch, "_GRACE", 1.0)
    of = read(tmp_path, "stops", overrides=["seed=[0]", "aggregator=[fedavg]"])
    seconds = scaled(5.0)
    outcome = run(of, tmp_path / "r", limits=Limits(seconds=seconds))
    why = f"took longer than the time limit of {seconds:g} s (--cell-timeout)"
    assert reasons(tmp_path / "r", outcome) == {"stops": {why}}
    assert outcome.done == 1


STRANGE = {
    "leaves_like_a_generator": "GeneratorExit (poison.py:",
    "interrupts": "KeyboardInterrupt (poison.py:",
    "mute": "Mute: (its text cannot be had: RuntimeError) (poison.py:",
}


@pytest.mark.parametrize("workers", [1, 2])
def test_whatever_a_rule_raises_is_a_failed_cell(tmp_path: Path, workers: int) -> None:
    outcome = run(read(tmp_path, *STRANGE, overrides=["seed=[0]"]), tmp_path / "r", workers)
    told = reasons(tmp_path / "r", outcome)
    assert (outcome.done, outcome.interrupted, told.keys()) == (2, False, STRANGE.keys())
    assert all(why.startswith(STRANGE[rule]) for rule, whys in told.items() for why in whys)


def test_a_cluster_that_is_killed_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from flipbench.execution import local_cluster

    class Fake:
        def close(self, timeout: float) -> None: ...

    tries: list[int] = []

    def killed_four_times(*_: Any) -> Fake:
        tries.append(1)
        if len(tries) <= 4:
            raise RuntimeError("Nanny failed to start")
        return Fake()

    monkeypatch.setattr(local_cluster, "_PAUSE", 0.0)
    monkeypatch.setattr(local_cluster, "_cluster", killed_four_times)
    monkeypatch.setattr(local_cluster.fork_server, "start", lambda: None)
    with local_cluster._started([None], 0, local_cluster._Deaths(Stop())):
        assert len(tries) == 5
    monkeypatch.setattr(local_cluster, "_STARTING", 0.0)
    tries.clear()
    with (
        pytest.raises(UserError, match="Nanny failed to start"),
        local_cluster._started([None], 0, local_cluster._Deaths(Stop())),
    ):
        pass
    assert len(tries) == 3


def test_when_no_worker_starts_the_message_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flipbench.execution import fork_server, local_cluster

    def fails(*_: Any) -> None:
        raise RuntimeError("Nanny failed to start")

    monkeypatch.setattr(local_cluster, "_cluster", fails)
    monkeypatch.setattr(fork_server, "start", lambda: None)
    monkeypatch.setattr(fork_server, "_PRELOAD", ["flipbench.no_such_module"])
    needed = r"(?s)no worker process can be started here: .*exit code 1 .*No module named 'flipbench.no_such_module'"
    with pytest.raises(UserError, match=needed), local_cluster._started([None], 0, local_cluster._Deaths(Stop())):
        pass


def test_a_local_worker_of_another_flipbench_is_refused_and_no_cell_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = dask_dispatch.fingerprint()
    monkeypatch.setattr(dask_dispatch, "fingerprint", lambda: {**ours, "source": "f" * 64})
    needed = rf"differs from the driver: it has source {ours['source']}.*edited or installed"
    with pytest.raises(UserError, match=needed):
        run(read(tmp_path), tmp_path / "r")
    assert list(Store(tmp_path / "r").keys()) == []


def test_a_killed_worker_goes_on_from_the_state_it_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIPBENCH_TEST_ONCE", str(tmp_path / "once"))
    of, folder = read(tmp_path, "stumbles", overrides=["seed=[0]", "rounds=4", "aggregator=[fedavg]"]), tmp_path / "r"
    outcome = run(of, folder, checkpoint_every=0.0)
    assert (outcome.done, outcome.failed) == (2, ())
    notes = [(Store(folder).read(k) or {})["provenance"].get("checkpoint") for k in list(Store(folder).keys())]
    assert sorted(n or "" for n in notes) == ["", "resumed after round 2"]
    assert run(of, tmp_path / "plain", workers=1).done == 2  # which does not stumble a second time
    assert numbers(tmp_path / "plain") == numbers(folder)
    assert list((folder / "checkpoints").iterdir()) == []  # done cells need none


def listening(pids: list[int]) -> set[str]:
    """Addresses that others could speak to these processes at."""
    sockets = [c for pid in pids for c in psutil.Process(pid).net_connections("inet")]
    return {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGTERM and SIGINT", "SIGKILL"])
def test_no_signal_leaves_a_process_behind(tmp_path: Path, how: str) -> None:
    read(tmp_path)
    mark = f"FLIPBENCH_TEST_MARK={os.getpid()}-{how.replace(' ', '-')}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict([mark.split("=")])
    rule = f"{tmp_path / 'poison.py'}:hangs"
    command = [
        sys.executable,
        "-m",
        "flipbench",
        "run",
        "tiny.yaml",
        "--workers",
        "2",
        "--no-trial",
        "--aggregator",
        rule,
    ]
    with (tmp_path / "out").open("w") as out:
        driver = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        while len(list(tmp_path.glob("results/tiny/cells/*/*.json"))) < 4:  # then only the hanging ones are left
            assert driver.poll() is None, (tmp_path / "out").read_text()
            time.sleep(0.05)
        assert len(marked(mark)) >= 3  # the driver, its server, a worker
        assert listening(marked(mark)) == {"127.0.0.1"}
        if how == "SIGKILL":
            driver.kill()
        else:
            driver.terminate()
        if how == "SIGTERM and SIGINT":
            driver.send_signal(signal.SIGINT)
        code = driver.wait(scaled(10.0))
        assert code == (-signal.SIGKILL if how == "SIGKILL" else 130), (tmp_path / "out").read_text()
        assert eventually(lambda: not marked(mark))
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
    said = (tmp_path / "out").read_text()
    assert ("the same command goes on from there" in said) == (how == "SIGTERM")
    assert "Traceback" not in said
    assert len(Store(tmp_path / "results" / "tiny").keys()) == 4


def test_three_tries_and_the_neighbours_alone() -> None:
    jobs = [Job(Cell(seed=seed), {"dataset": "d" * 64}) for seed in range(3)]
    retries = Retries(RunContext({}, {key_of(jobs[0]): 4}))
    assert retries.after(jobs, "was killed by SIGKILL") == ([[jobs[0]], [jobs[1]], [jobs[2]]], [])
    assert retries.after(jobs[:1], "was killed by SIGKILL") == ([[jobs[0]]], [])
    again, given_up = retries.after(jobs[:1], "was killed by SIGSEGV")
    assert again == []
    assert [(r["status"], r["attempts"]) for r in given_up] == [("failed", 5)]
    assert given_up[0]["reason"] == "its worker died 3 times; the last one was killed by SIGSEGV"
    assert retries.after(jobs[1:2], "was killed by SIGKILL")[1] == []


def test_a_long_cell_that_gets_further_between_deaths_is_not_given_up(tmp_path: Path) -> None:
    job = Job(Cell(), {"dataset": "d" * 64})
    places = Checkpoints(str(tmp_path))
    retries = Retries(RunContext({}, {}, checkpoints=places))
    for number in range(1, 6):
        places.path(key_of(job)).write_text("further")
        os.utime(places.path(key_of(job)), (number, number))
        assert retries.after([job], "was killed by SIGKILL") == ([[job]], [])
    assert retries.after([job], "was killed by SIGKILL") == ([[job]], [])
    assert len(retries.after([job], "was killed by SIGKILL")[1]) == 1


def test_a_cell_that_another_driver_finished_is_not_run() -> None:
    jobs = [Job(Cell(seed=seed), {"dataset": "d" * 64}) for seed in range(3)]
    context = RunContext({}, {}, settled=lambda k: k == key_of(jobs[1]))
    assert context.wanted(jobs) == [jobs[0], jobs[2]]


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 << 30), ("1.5GiB", 3 << 29), ("800 MB", 800 << 20), ("2t", 2 << 40), ("1073741824", 1 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "4X", "1e9", "4 G B", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="4G or 800M"):
        parse_size(text)


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"memory": LEAST - 1}])
def test_limits_that_nothing_could_keep(limits: Any) -> None:
    with pytest.raises(UserError, match="needs"):
        Limits(**limits)
    assert size_text(LEAST) == "512 MiB"


def test_where_there_is_no_worker_there_is_nothing_to_kill() -> None:
    child_processes.kill_all()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (7, "ended itself with exit code 7"),
        (255, "ended for an unknown reason"),
        (None, "ended for an unknown reason"),
    ],
)
def test_how_a_process_died(code: int | None, said: str) -> None:
    assert child_processes.death(code) == said


def test_a_crash_without_a_worker_keeps_what_is_done_and_names_the_line(tmp_path: Path) -> None:
    read(tmp_path)
    rule = f"{tmp_path / 'poison.py'}:segfault"
    command = [
        sys.executable,
        "-m",
        "flipbench",
        "run",
        "tiny.yaml",
        "--workers",
        "1",
        "--no-trial",
        "--aggregator",
        rule,
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
    assert "poison.py" in ended.stderr
    assert "in segfault" in ended.stderr
    assert len(Store(tmp_path / "results" / "tiny").keys()) == 4
