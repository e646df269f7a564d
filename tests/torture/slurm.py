"""Slurm on this machine alone, for tests: munge, one controller, one node, no accounting, everything in one folder.

Needs root, for slurmd starts jobs under their users' names, and Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.calibration import scaled
from tests.helpers.poisoned_runs import marked

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo")
CONF = """
ClusterName=flipbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str | None:
    """Why there can be no Slurm here; None where there can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The environment for srun and sbatch; Slurm ends with the block."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    facts = {"host": socket.gethostname().split(".")[0], "cpus": os.cpu_count() or 1, "folder": folder}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(**facts, controller=free_port(), node=free_port(), memory=memory // 2))
    env = os.environ | {"SLURM_CONF": str(conf)}
    munge = ["--foreground", "--force"]
    for option, name in [("socket", "munge.socket"), ("key-file", key.name), ("pid-file", "munge.pid")]:
        munge.append(f"--{option}={folder / name}")
    munge += [f"--log-file={folder / 'munge.log'}", f"--seed-file={folder / 'munge.seed'}"]
    commands = [["munged", *munge], ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf)]]
    started = []
    try:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, env=env, start_new_session=True, **quiet))  # type: ignore[call-overload]
            _until(lambda: (folder / "munge.socket").exists(), 10, folder)
        idle = ["sinfo", "--noheader", "--format=%t"]
        _until(lambda: "idle" in subprocess.run(idle, env=env, capture_output=True, text=True).stdout, 60, folder)
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(scaled(20.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in marked(f"SLURM_CONF={conf}"):  # a slurmstepd that still waits for its controller
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _until(there: object, seconds: float, folder: Path) -> None:
    end = time.monotonic() + scaled(seconds)
    while not there():  # type: ignore[operator]
        if time.monotonic() > end:
            logs = {path.name: path.read_text()[-600:] for path in folder.glob("*.log")}
            raise TimeoutError(f"Slurm does not come up: {logs}")
        time.sleep(0.2)
