"""Stacks on a Dask cluster that is already there: cells and data go out, records come back, and this driver writes.

Workers need flipbench, byte for byte the driver's, with the same torch and plug-ins; they need neither the data, which
is sent by the cluster's own means and kept there by its hash, nor a common disk. One that differs is refused: its
numbers would be stored under keys that say otherwise.
"""

from __future__ import annotations

import logging
import signal
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import data, experiment, plugins
from bench.cell import CLEAN
from bench.data.dataset import Dataset
from bench.errors import UserError
from bench.experiment import Job, Record
from bench.fingerprint import fingerprint
from bench.grid_values import REFERENCES
from bench.pool import Errand, Source, Stack
from bench.stopping import Stop

_PATIENCE = 30.0  # seconds for the scheduler to answer, and for a first worker to join
_AHEAD = 2  # stacks in flight for each worker: the scheduler stays small for a grid of 100,000 cells


class ClusterError(UserError):
    """The cluster cannot be reached or used; the message says what to do."""


class RefusedError(UserError):
    """A worker that would compute something else than the driver."""


@dataclass(frozen=True)
class Address:
    """Where a scheduler listens, and how to speak to it.

    Attributes:
        scheduler: ``tcp://host:port`` or ``tls://host:port``.
        ca: file of the authority that signed the cluster's certificates.
        cert: file of our own certificate.
        key: file of its key.
    """

    scheduler: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def address(scheduler: str | None, ca: Path | None, cert: Path | None, key: Path | None) -> Address | None:
    """The address that command-line options give; None without a scheduler.

    Raises:
        ClusterError: options that do not go together, or files that are not there.
    """
    files = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    given = [name for name, path in files.items() if path is not None]
    if scheduler is None:
        if given:
            raise ClusterError(f"{', '.join(given)} belong to --scheduler tls://HOST:PORT, which is not given")
        return None
    if not scheduler.startswith(("tcp://", "tls://")):
        raise ClusterError(f"--scheduler needs an address like tcp://host:8786 or tls://host:8786, got {scheduler!r}")
    if scheduler.startswith("tls://") and len(given) < len(files):
        missing = ", ".join(name for name in files if name not in given)
        raise ClusterError(f"--scheduler {scheduler} needs {missing} too")
    if given and not scheduler.startswith("tls://"):
        raise ClusterError(f"{', '.join(given)} are for an encrypted scheduler: write tls:// in place of tcp://")
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise ClusterError(f"{name}: there is no file {path}")
    return Address(scheduler, ca, cert, key)


@contextmanager
def connected(where: Address, stacks: Sequence[Stack], errand: Errand, stop: Stop) -> Iterator[Source]:
    """The cluster as a source of records.

    Raises:
        ClusterError: no scheduler there, or no workers.
        RefusedError: a worker differs from this driver.
    """
    if not stacks:
        yield Source(iter(()), lambda: iter(()))
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="Sending large graph")  # the data sets: once each
    with stop.interruptible():
        client = _client(where)
    work = _Work(client, errand, stop)
    try:
        with stop.interruptible():
            _inspect(client, where)
        yield Source(work.results(stacks), work.last_words)
    finally:
        client.cancel(list(work.futures), force=True)
        client.close(timeout=2)


def _client(where: Address) -> Any:
    from distributed import Client
    from distributed.security import Security

    security = None
    if where.ca is not None:
        security = Security(
            tls_ca_file=str(where.ca),
            tls_client_cert=str(where.cert),
            tls_client_key=str(where.key),
            require_encryption=True,
        )
    try:
        client = Client(where.scheduler, security=security, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # the last two: certificates that do not load
        raise ClusterError(f"no Dask scheduler answers at {where.scheduler} ({error}): is it running?") from error
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise ClusterError(
            f"the scheduler at {where.scheduler} has no workers after {_PATIENCE:g} s: start some with "
            f"'dask worker {where.scheduler} --nthreads 1', then run the same command again"
        ) from None
    return client


def _inspect(client: Any, where: Address) -> None:
    """Ask every worker who it is."""
    told = client.run(_about, on_error="return")
    wrong = [f"{name}: {why}" for name, about in told.items() if (why := _difference(about)) is not None]
    if wrong:
        shown = "\n".join(f"  {line}" for line in wrong[:10])
        raise RefusedError(
            f"{len(wrong)} of {len(told)} workers at {where.scheduler} would not compute what this driver would:\n"
            f"{shown}\ninstall the same flipbench on all of them (same commit, same constraints.txt)"
        )


def _about(dask_worker: Any) -> dict[str, Any]:
    """What a worker is, told by itself; the parameter's name is Dask's."""
    return {"made of": fingerprint(), "threads": dask_worker.state.nthreads}


def _difference(about: Any) -> str | None:
    """Why a worker is refused; None where it fits."""
    if isinstance(about, BaseException):
        return f"has no usable flipbench ({type(about).__name__}: {about})"
    mine = fingerprint()
    for name, value in mine.items():
        if about["made of"].get(name) != value:
            other = about["made of"].get(name)
            if name == "source":
                return "its flipbench has other source files"
            return f"it has {name} {other}, the driver has {value}"
    if about["threads"] != 1:
        return f"it runs {about['threads']} threads: start it with --nthreads 1"
    return None


class _Work:
    """Stacks in flight on a cluster."""

    def __init__(self, client: Any, errand: Errand, stop: Stop) -> None:
        self.client, self.errand, self.stop = client, errand, stop
        self.futures: dict[Any, Stack] = {}
        self.sent: dict[tuple[str, str], Any] = {}  # data sets on the cluster
        self.waiting: deque[Stack] = deque()

    def results(self, stacks: Sequence[Stack]) -> Iterator[Record]:
        """The records of all cells, as they come."""
        from distributed import as_completed

        self.waiting = deque(stacks)
        finished = as_completed(loop=self.client.loop)
        while True:
            room = _AHEAD * max(1, len(self.client.nthreads()))
            while self.waiting and len(self.futures) < room:
                if stack := self.errand.wanted(self.waiting.popleft()):
                    future = self._submit(stack)
                    self.futures[future] = stack
                    finished.add(future)
            if not self.futures:
                return
            with self.stop.interruptible():
                future = next(finished)
            yield from self._collected(future)

    def last_words(self) -> Iterator[Record]:
        """What has come back already when the run is interrupted."""
        for future in [f for f in self.futures if f.status == "finished"]:
            yield from future.result()

    def _submit(self, stack: Stack) -> Any:
        cell, content = stack[0].cell, stack[0].content
        place = (cell.dataset, content["dataset"])
        if place not in self.sent:
            name = "-".join(("flipbench-data", content["dataset"], fingerprint()["source"][:16]))
            self.sent[place] = self.client.submit(_received, data.load(cell.dataset), key=name)
        jobs, facts, attempts, _ = self.errand.task(stack)
        seconds = None if self.errand.limits.seconds is None else self.errand.limits.seconds * len(stack)
        return self.client.submit(
            _perform, jobs, facts, attempts, seconds, fingerprint(), self.sent[place], pure=False, retries=0
        )

    def _collected(self, future: Any) -> Iterator[Record]:
        from distributed.scheduler import KilledWorker

        stack = self.futures.pop(future)
        if future.status == "finished":
            yield from future.result()
            return
        if future.status in ("cancelled", "lost"):
            raise ClusterError("the scheduler is gone: finished cells are kept, run the same command again")
        error = future.exception()
        if isinstance(error, RefusedError):
            raise error
        if isinstance(error, KilledWorker) and len(stack) > 1:
            self.waiting.extendleft([job] for job in reversed(stack))
            return
        limit = self.errand.limits.seconds
        why = "" if limit is None else f", or took longer than the time limit of {limit:g} s (--cell-timeout)"
        told = f"its worker died each time it was tried{why}" if isinstance(error, KilledWorker) else None
        for job in stack:
            yield self.errand.failed(job, told or f"{type(error).__name__}: {error}")


def _received(dataset: Dataset) -> Dataset:
    """What the cluster keeps of a data set: itself, under its hash."""
    return dataset


def _perform(
    jobs: Sequence[Job],
    facts: Mapping[str, Any],
    attempts: Mapping[str, int],
    seconds: float | None,
    driver: Mapping[str, str],
    dataset: Dataset,
) -> list[Record]:
    """A worker's task."""
    mine = fingerprint()
    if mine != driver:  # it joined after the inspection
        told = ", ".join(f"{name} {mine.get(name)}" for name, value in driver.items() if mine.get(name) != value)
        raise RefusedError(
            f"a worker that joined later is not what the driver is: it has {told}; finished cells are kept"
        )
    for job in jobs:
        _check_content(job, dataset)
    experiment.supply(jobs[0].cell.dataset, dataset)
    with _alarm(seconds):
        return experiment.perform(jobs, facts, attempts)


def _check_content(job: Job, dataset: Dataset) -> None:
    """Data and plug-ins are what the key says."""
    if dataset.sha256 != job.content["dataset"]:
        raise RefusedError(f"data set {job.cell.dataset} has hash {dataset.sha256}, needs {job.content['dataset']}")
    for field, kind in REFERENCES.items():
        text = getattr(job.cell, field)
        if field == "dataset" or text == CLEAN:
            continue
        try:
            mine = plugins.source_hash(kind, text)
        except UserError as error:
            raise RefusedError(f"a worker lacks the {kind} {text}: {error}") from error
        if mine != job.content.get(field):
            raise RefusedError(
                f"a worker has another version of the {kind} {text}: hash {mine}, the driver has "
                f"{job.content.get(field)}; put the same files on all workers"
            )


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """End the worker process after so many seconds, whatever it does; its nanny starts another."""
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles it, so the kernel ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
