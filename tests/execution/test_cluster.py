"""A run on somebody's Dask cluster: the driver's numbers, and no worker that would compute others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flipbench.data import load
from flipbench.execution import dask_worker, remote_cluster
from flipbench.execution.remote_cluster import Address, ClusterError, RefusedError, address
from flipbench.federation.records import Job
from flipbench.grid.reader import contents
from flipbench.spec.cell import Cell
from flipbench.system import fingerprint
from flipbench.system.limits import Limits
from tests.helpers.calibration import scaled
from tests.helpers.paths import ROOT, TESTS
from tests.helpers.poisoned_runs import POISON, read, reasons, run
from tests.helpers.tiny_runs import numbers

# The limit only ends tests that hang: a busy machine does not reach it.
pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]


@contextmanager
def dask(*args: str, **env: str) -> Iterator[Address]:
    command = [sys.executable, str(TESTS / "helpers/dask_cluster.py"), *args]
    around = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    # Elsewhere than the driver: nothing is found there by a relative path.
    with subprocess.Popen(command, text=True, env=around, cwd="/", **pipes) as process:
        try:
            assert process.stdout is not None
            yield Address(process.stdout.readline().strip())
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(scaled(30.0))


@pytest.fixture(scope="module")
def two() -> Iterator[Address]:
    with dask("2", FLIPBENCH_DATA="/nowhere") as where:
        yield where


def test_a_cluster_stores_what_one_process_stores(two: Address, tmp_path: Path) -> None:
    of = read(tmp_path)
    outcome = run(of, tmp_path / "r", scheduler=two)
    assert (outcome.done, outcome.ran, outcome.failed) == (4, 4, ())
    assert run(of, tmp_path / "plain", workers=1).done == 4
    assert numbers(tmp_path / "r") == numbers(tmp_path / "plain")
    assert run(of, tmp_path / "r", scheduler=two).ran == 0


@pytest.mark.skipif(
    os.environ.get("FLIPBENCH_TORTURE") != "full", reason="a minute of workers that start: make torture"
)
def test_a_deadly_rule_and_one_that_hangs_fail_alone_there_too(two: Address, tmp_path: Path) -> None:
    of = read(tmp_path, "half", "hangs", overrides=["aggregator=[fedavg]"])
    seconds = scaled(20.0)
    outcome = run(of, tmp_path / "r", scheduler=two, limits=Limits(seconds=seconds))
    told = reasons(tmp_path / "r", outcome)
    assert outcome.done == 3  # fedavg twice, and half where it is harmless
    assert told == {
        "half": {"its worker died 3 times; the last one ended for a reason that the cluster does not tell"},
        "hangs": {f"took longer than the time limit of {seconds:g} s (--cell-timeout)"},
    }


def test_workers_with_another_flipbench_are_refused(
    two: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fingerprint.fingerprint() | {"source": "0" * 64}
    monkeypatch.setattr(remote_cluster, "fingerprint", lambda: other)
    with pytest.raises(RefusedError, match=r"(\d) of \1 workers.*\n.*other source files"):
        run(read(tmp_path), tmp_path / "r", scheduler=two)


@pytest.mark.skipif(os.environ.get("FLIPBENCH_TORTURE") != "full", reason="a cluster of its own: make torture")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_an_encrypted_cluster_takes_those_with_a_certificate_only(tmp_path: Path) -> None:
    made = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=flipbench -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *made.split()], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "ca.pem").write_bytes((tmp_path / "cert.pem").read_bytes())  # signed by itself
    with dask("1", "--tls", str(tmp_path)) as where:
        assert where.scheduler.startswith("tls://")
        files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
        outcome = run(read(tmp_path), tmp_path / "r", scheduler=address(where.scheduler, *files))
        assert (outcome.done, outcome.failed) == (4, ())
        with pytest.raises(ClusterError, match="no Dask scheduler answers"):
            run(read(tmp_path), tmp_path / "other", scheduler=Address(where.scheduler))


def a_worker() -> dict[str, Any]:
    return {"made of": fingerprint.fingerprint(), "threads": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: ImportError("no module named bench"), "no usable flipbench"),
        (lambda: a_worker() | {"threads": 4}, "--nthreads 1"),
        (lambda: {**a_worker(), "made of": fingerprint.fingerprint() | {"torch": "2.0"}}, "it has torch 2.0"),
        (lambda: {**a_worker(), "made of": fingerprint.fingerprint() | {"flipbench": "9"}}, "it has flipbench 9"),
    ],
)
def test_every_difference_is_named(change: Callable[[], Any], said: str) -> None:
    assert said in (remote_cluster._difference(change()) or "")
    assert remote_cluster._difference(a_worker()) is None


def test_plug_ins_and_data_are_what_the_key_says(tmp_path: Path) -> None:
    (tmp_path / "poison.py").write_text(POISON)
    cell = Cell(dataset="digits", aggregator=f"{tmp_path / 'poison.py'}:half")
    job, digits = Job(cell, contents(cell)), load("digits")
    dask_worker.check_content(job, digits)
    (tmp_path / "poison.py").write_text(POISON + "\n# edited\n")
    with pytest.raises(RefusedError, match="another version of the aggregator"):
        dask_worker.check_content(job, digits)
    (tmp_path / "poison.py").unlink()
    with pytest.raises(RefusedError, match="lacks the aggregator"):
        dask_worker.check_content(job, digits)
    with pytest.raises(RefusedError, match="data set digits has hash"):
        dask_worker.check_content(Job(cell, {**job.content, "dataset": "0" * 64}), digits)


def test_nobody_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cluster, "_PATIENCE", 0.5)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run(read(tmp_path), tmp_path / "r", scheduler=Address("tcp://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, Path("ca.pem"), None, None), "--tls-ca belong to --scheduler"),
        *[
            ((text, None, None, None), "needs an address like")
            for text in (
                "host:8786",
                "tcp://",
                "tls://",
                "tcp://h",
                "tcp://:1",
                "tcp://h:0",
                "tcp://h:99999",
                "tcp://h:1/",
            )
        ],
        (("tls://h:1", Path(__file__), None, None), "needs --tls-cert, --tls-key too"),
        (("tcp://h:1", Path(__file__), None, None), "write tls://"),
        (("tls://h:1", *[Path("/nowhere/x.pem")] * 3), "there is no file /nowhere/x.pem"),
    ],
)
def test_options_that_do_not_go_together(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        address(*given)


def test_no_scheduler_is_no_address() -> None:
    assert address(None, None, None, None) is None
    for text in ("tcp://h:1", "tcp://10.0.0.1:8786", "tcp://[::1]:8786", "tcp://[fe80::1%eth0]:1"):
        assert address(text, None, None, None) == Address(text)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_bad_certificates_are_named_by_their_options(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = f"req -x509 -newkey rsa:2048 -days 1 -subj /CN=x -keyout {name}.key -out {name}.pem"
        secret = ["-nodes"] if name == "one" else ["-passout", "pass:secret"]
        subprocess.run(["openssl", *made.split(), *secret], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "bad.pem").write_text("no certificate")
    one, two, bad = (tmp_path / f"{name}.pem" for name in ("one", "two", "bad"))
    key, locked = tmp_path / "one.key", tmp_path / "two.key"
    assert address("tls://h:1", one, one, key) == Address("tls://h:1", one, one, key)
    for files, said in (
        ((bad, one, key), rf"--tls-ca: {bad} holds no certificates"),
        ((one, bad, key), rf"--tls-cert {bad} and --tls-key {key} cannot"),
        ((one, two, key), rf"--tls-cert {two} and --tls-key {key} cannot"),
        ((one, two, locked), rf"--tls-key: {locked} asks for a passphrase"),
    ):
        with pytest.raises(ClusterError, match=said):
            address("tls://h:1", *files)
