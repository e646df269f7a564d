"""Clusters as users have them, Slurm and several hosts: workers are killed, and the numbers are those of one process.

The Slurm script is the one that docs/cluster.md shows.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flipbench.execution.remote_cluster import address
from flipbench.grid import reader
from tests.helpers.calibration import eventually, scaled
from tests.helpers.paths import ROOT
from tests.helpers.poisoned_runs import marked, read, run
from tests.helpers.tiny_runs import numbers
from tests.torture import slurm
from tests.torture.torture_size import FULL

DASK = [sys.executable, "-m", "dask"]
Told = Callable[[str, str], None]
pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not FULL, reason="clusters that start and stop: make torture"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]


def certificate(folder: Path) -> list[str]:
    """As docs/cluster.md makes it; the options by which Dask's programs are given it."""
    made = "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=flipbench -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *made.split()], cwd=folder, check=True, capture_output=True)
    files = {"ca-file": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
    return [text for option, name in files.items() for text in (f"--tls-{option}", str(folder / name))]


def documented() -> str:
    """The batch script of docs/cluster.md."""
    blocks = re.findall(r"(?:^    .*\n)+", (ROOT / "docs" / "cluster.md").read_text(), re.MULTILINE)
    (script,) = [block for block in blocks if "#!/bin/bash" in block]
    return re.sub(r"^    ", "", script, flags=re.MULTILINE)


def workers(mark: str) -> list[int]:
    """The processes that train: children of nannies."""
    return [pid for pid in marked(mark) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(slurm.lacking() is not None, reason=str(slurm.lacking()))
def test_a_slurm_job_whose_workers_are_killed_stores_what_one_process_does(tmp_path: Path, told: Told) -> None:
    job, daemons, killed = tmp_path / "job", tmp_path / "slurm", 0
    job.mkdir()
    daemons.mkdir()
    (job / ".venv").symlink_to(sys.prefix)
    certificate(job)
    script = documented().replace("label_flip", "smoke").replace("8786", str(slurm.free_port()))
    (job / "job.sh").write_text(script)
    mark = f"FLIPBENCH_TEST_MARK={os.getpid()}-slurm"
    here = ["--nodes=1", "--ntasks-per-node=2", "--mem-per-cpu=0", "--output=out"]
    with slurm.running(daemons) as env:
        env |= dict([mark.split("=")])
        waiting = subprocess.Popen(["sbatch", "--wait", *here, "job.sh"], cwd=job, env=env, stdout=subprocess.DEVNULL)
        cells = job / "results" / "smoke" / "cells"
        while waiting.poll() is None:
            time.sleep(0.5)
            victims = workers(mark)
            if killed < 2 and len(list(cells.glob("*/*.json"))) > 4 * killed and len(victims) > 1:
                os.kill(victims[0], signal.SIGKILL)
                killed += 1
        assert waiting.returncode == 0, (job / "out").read_text()[-3000:]
        eventually(lambda: not marked(mark))
    left = marked(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []  # Slurm ends what a job leaves behind, the scheduler among it
    assert killed == 2
    plain = run(reader.read("smoke"), tmp_path / "plain", workers=1)
    assert plain.failed == ()
    assert numbers(job / "results" / "smoke") == numbers(tmp_path / "plain")
    told("Slurm job of smoke.yaml, workers killed", f"{plain.done} cells, {killed} kills: the same numbers")


@contextmanager
def hosts(number: int) -> Iterator[list[tuple[str, list[str]]]]:
    """Network namespaces on one bridge: address, and the words before a command that is to run there."""

    def ip(words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)

    tag, made = f"fb{os.getpid() % 10000}", []
    try:
        ip(f"link add {tag} type bridge")
        ip(f"addr add 10.213.77.1/24 dev {tag}")
        ip(f"link set {tag} up")
        for i in range(number):
            name, there = f"{tag}h{i}", f"10.213.77.{i + 2}"
            ip(f"netns add {name}")
            made.append((there, ["ip", "netns", "exec", name]))
            ip(f"link add {name}o type veth peer name eth0 netns {name}")
            ip(f"link set {name}o master {tag} up")
            ip(f"-n {name} addr add {there}/24 dev eth0")
            ip(f"-n {name} link set eth0 up")
            ip(f"-n {name} link set lo up")
        yield made
    finally:
        for _, words in made:
            subprocess.run(["ip", "netns", "del", words[-1]], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", tag], check=False, capture_output=True)


def can_make_hosts() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    try:
        with hosts(1):
            return True
    except subprocess.CalledProcessError:
        return False


@pytest.mark.skipif(not (FULL and can_make_hosts()), reason="network namespaces need root and iproute2")
def test_three_hosts_that_have_no_data(tmp_path: Path, told: Told) -> None:
    """A scheduler on one, a worker on each of the two others, the driver on a fourth; encrypted."""
    tls = certificate(tmp_path)
    of = read(tmp_path, "half", overrides=["aggregator=[fedavg, median]"])
    env = os.environ | {"OMP_NUM_THREADS": "1", "FLIPBENCH_DATA": "/nowhere"}
    with hosts(3) as three, (tmp_path / "log").open("w") as log:
        (head, at_head), *others = three
        where = f"tls://{head}:8786"
        commands = [[*at_head, *DASK, "scheduler", *tls, "--protocol", "tls", "--host", head, "--no-dashboard"]]
        commands += [
            [*at, *DASK, "worker", where, *tls, "--host", there, "--nthreads", "1", "--no-dashboard"]
            for there, at in others
        ]
        started = [subprocess.Popen(c, cwd="/", env=env, stdout=log, stderr=log) for c in commands]
        try:
            files = [tmp_path / name for name in ("cert.pem", "cert.pem", "key.pem")]
            outcome = run(of, tmp_path / "r", scheduler=address(where, *files))
        finally:
            for process in reversed(started):  # workers first: without a scheduler they would wait for it
                process.terminate()
                try:
                    process.wait(scaled(20.0))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        said = (tmp_path / "log").read_text()
        assert all(f"Start worker at: tls://{there}:" in re.sub(" +", " ", said) for there, _ in others)
    (why,) = {why for _, why in outcome.failed}
    assert why == "its worker died 3 times; the last one ended for a reason that the cluster does not tell"
    assert (outcome.total, outcome.done, len(outcome.failed)) == (6, 5, 1)
    plain = run(read(tmp_path, overrides=["aggregator=[fedavg, median]"]), tmp_path / "plain", workers=1)
    assert plain.done == 4
    assert numbers(tmp_path / "plain").items() <= numbers(tmp_path / "r").items()
    told("three hosts (network namespaces), TLS", "5 cells done, a deadly one failed after 3 workers")
