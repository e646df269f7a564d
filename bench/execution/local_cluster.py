"""Worker processes of this machine: a Dask cluster on loopback, started for one run and ended with it.

Workers are forked from a server process that has imported everything and runs no thread, so that a new one starts
fast; where there is no fork they are started afresh. Their messages are encrypted with keys that exist in the memory of
this run only: a Dask scheduler runs whatever it is sent, and others may have accounts on this machine.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny

from flipbench.execution import dask_worker, fork_server, run_security
from flipbench.execution.dask_dispatch import SILENCE, ClusterError, Death, Dispatch, Site, silence
from flipbench.execution.run_context import RunContext, Source, Stack
from flipbench.system import child_processes, import_path, private_parts, process_folder, safe_children
from flipbench.system.signals import Stop

_PATIENCE = 60.0  # seconds for a worker to start
_STARTS = 3  # of a cluster at least, before it is given up
_STARTING = 30.0  # seconds at least: what kills workers while they start may do so several times
_PAUSE = 0.5  # seconds between two starts
_LEAVING = 2.0  # seconds for Dask to close what is left after the worker processes were killed
_EXIT_CODE = 5.0  # seconds until a worker's exit code is known
_SETTINGS: dict[str, Any] = {
    "distributed.nanny.pre-spawn-environ": {},  # they would be set in the driver
    "distributed.scheduler.http.routes": [],  # Dask's web servers start in any case: give them no pages
    "distributed.worker.http.routes": [],
    "distributed.scheduler.worker-ttl": None,  # a plug-in may keep its process from answering
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 1.0,  # of the memory limit
    "distributed.worker.profile.enabled": False,
    "distributed.diagnostics.nvml": False,
    "distributed.deploy.lost-worker-timeout": "1 day",  # on a busy machine a new one may take long
}


@contextmanager
def working(
    devices: Sequence[str | None], stacks: Sequence[Stack], context: RunContext, stop: Stop
) -> Iterator[Source]:
    """Workers as a source of records.

    Args:
        devices: for each worker the CUDA device that it may see; None: as the driver.
        stacks: to run.
        context: what they have in common.
        stop: what signals have asked for.

    Raises:
        ClusterError: no worker starts.
    """
    deaths = _Deaths(stop)
    with _started(devices, context.limits.memory or 0, deaths) as cluster:
        client = Client(cluster, set_as_default=False)
        work = Dispatch(client, context, stop, Site(True, deaths.of, _PATIENCE, partial(_end, cluster, deaths)))
        try:
            yield Source(work.results(stacks), work.finished_meanwhile)
        finally:
            work.close()
            for nanny in cluster.workers.values():
                nanny.close_gracefully()  # start no other
            child_processes.kill_all()  # even in the middle of a task
            _within(_LEAVING, partial(client.close, timeout=2))


@contextmanager
def _started(devices: Sequence[str | None], memory: int, deaths: _Deaths) -> Iterator[Any]:
    silence()
    around = dask_worker.DriverEnvironment(os.getcwd(), import_path.left_out(sys.path), dict(os.environ))
    fork_server.start()
    scratch = {"temporary-directory": str(process_folder.ensure())}
    settings = {**_SETTINGS, **scratch, "distributed.worker.multiprocessing-method": fork_server.method()}
    with dask.config.set(settings), safe_children.safe_children(), fork_server.without_main():
        began = time.monotonic()
        for number in count(1):
            try:
                with fork_server.undisturbed():
                    cluster = _cluster(devices, memory, deaths, around)
                break
            except (RuntimeError, TimeoutError, OSError) as error:  # like a worker killed while it starts
                if number == 1 and (why := fork_server.why_imports_fail()):
                    raise ClusterError(f"no worker process can be started here: {why}") from error
                if number >= _STARTS and time.monotonic() > began + _STARTING:
                    text = f"no worker process can be started here ({error}); --workers 1 needs none"
                    raise ClusterError(text) from error
                time.sleep(_PAUSE)
        try:
            yield cluster
        finally:
            _within(_LEAVING, partial(cluster.close, timeout=_LEAVING))


def _within(seconds: float, end: Callable[[], Any]) -> None:
    """Call what ends something of Dask's, and go on after so many seconds: the processes are killed in any case.

    Dask waits for processes whose end it cannot learn any more, because the fork server that tells it is gone.
    """

    def quietly() -> None:
        with suppress(Exception):
            end()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(seconds)


def _cluster(devices: Sequence[str | None], memory: int, deaths: _Deaths, around: dask_worker.DriverEnvironment) -> Any:
    return LocalCluster(
        n_workers=len(devices),
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tls",
        security=run_security.of_this_run(),
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        silence_logs=SILENCE,
        worker_class=_Nanny,
        memory_limit=memory,
        preload=["flipbench.execution.dask_worker"],
        deaths=deaths,
        environments=[replace(around, gpu=device) for device in devices],
    )


def _end(cluster: Any, deaths: _Deaths, address: str) -> None:
    """Kill the worker process at an address; SIGKILL, because a stopped process handles nothing else."""
    for nanny in list(cluster.workers.values()):
        if nanny.worker_address == address and nanny.pid:
            deaths.late.add(nanny.pid)
            with suppress(OSError):
                os.kill(nanny.pid, signal.SIGKILL)


@dataclass
class _Deaths:
    """How workers died.

    Attributes:
        stop: what signals have asked for.
        known: by address; written in Dask's thread.
        greedy: processes that took more than the memory limit.
        late: processes that the driver ended, beyond the time limit.
    """

    stop: Stop
    known: dict[str, Death] = field(default_factory=dict)
    greedy: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)

    def of(self, address: str) -> Death:
        """How the worker at an address died; its process may not be over yet."""
        until = time.monotonic() + _EXIT_CODE
        while address not in self.known and not self.stop.asked and time.monotonic() < until:
            time.sleep(0.01)
        return self.known.get(address) or Death(child_processes.death(None))


class _Nanny(Nanny):
    """Starts a worker process again whenever it ends, and notes how it ended."""

    def __init__(self, scheduler: str, **options: Any) -> None:
        self._deaths, self._worker_pid = options.pop("deaths"), 0
        around = options.pop("environments")[options["name"]]
        super().__init__(scheduler, config={dask_worker.CONFIG: asdict(around)}, **options)
        private_parts.before_worker_exit(self, self._worker_exited)

    async def instantiate(self) -> Any:
        """Start it."""
        status = await super().instantiate()
        self._worker_pid = self.pid or 0
        if self._worker_pid:
            child_processes.register(self._worker_pid)
        return status

    def log_event(self, topic: Any, msg: Any) -> None:
        """Dask logs here that it ends a worker for its use of memory."""
        if topic == "worker-restart-memory":
            self._deaths.greedy.add(msg["pid"])
        super().log_event(topic, msg)  # type: ignore[no-untyped-call]

    def _worker_exited(self, exitcode: int) -> None:
        """In Dask's thread."""
        limit = "memory" if self._worker_pid in self._deaths.greedy else None
        if self._worker_pid in self._deaths.late or (hasattr(signal, "SIGALRM") and exitcode == -signal.SIGALRM):
            limit = "seconds"
        if self.worker_address is not None:
            self._deaths.known[self.worker_address] = Death(child_processes.death(exitcode), limit)
        if self._worker_pid:
            child_processes.unregister(self._worker_pid)
