"""Connects to a running Dask cluster: cells and data are sent to it, records come back, and this driver stores them.

Workers need flipbench, byte for byte the driver's, with the same torch and plug-ins; they need neither the data, which
the cluster transfers and keeps by its hash, nor a common disk. A worker that differs is refused: its numbers would not
belong to the keys that they are stored under.
"""

from __future__ import annotations

import re
import ssl
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipbench.execution.dask_dispatch import ClusterError, Death, Dispatch, Site, silence
from flipbench.execution.dask_worker import RefusedError
from flipbench.execution.run_context import RunContext, Source, Stack
from flipbench.system.fingerprint import fingerprint
from flipbench.system.signals import Stop

__all__ = ["Address", "ClusterError", "RefusedError", "address", "connected"]

_ADDRESS = re.compile(r"(?:tcp|tls)://(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_PATIENCE = 30.0  # seconds for the scheduler to answer, and for a first worker to join
_WAIT = 0.5  # seconds for the announcement to arrive why a worker was ended


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
        ClusterError: no such address, options that do not go together, or files that are not there or no certificates.
    """
    files = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    given = [name for name, path in files.items() if path is not None]
    if scheduler is None:
        if given:
            raise ClusterError(f"{', '.join(given)} belong to --scheduler tls://HOST:PORT, which is not given")
        return None
    found = _ADDRESS.fullmatch(scheduler)  # Dask waits for what has no host or port, even after it has said so
    if found is None or not 0 < int(found[1]) < 65536:
        raise ClusterError(f"--scheduler needs an address like tcp://host:8786 or tls://host:8786, got {scheduler!r}")
    if scheduler.startswith("tls://") and len(given) < len(files):
        missing = ", ".join(name for name in files if name not in given)
        raise ClusterError(f"--scheduler {scheduler} needs {missing} too")
    if given and not scheduler.startswith("tls://"):
        raise ClusterError(f"{', '.join(given)} are for an encrypted scheduler: write tls:// in place of tcp://")
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise ClusterError(f"{name}: there is no file {path}")
    if ca is not None and cert is not None and key is not None:
        _check_certificates(ca, cert, key)
    return Address(scheduler, ca, cert, key)


def _check_certificates(ca: Path, cert: Path, key: Path) -> None:
    """Load them as Dask will, where the options that gave them can be named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # which ssl.SSLError is
        raise ClusterError(f"--tls-ca: {ca} holds no certificates that can be read (PEM is needed): {error}") from error
    try:
        context.load_cert_chain(cert, key, password=lambda: _refused(key))
    except OSError as error:
        raise ClusterError(
            f"--tls-cert {cert} and --tls-key {key} cannot be used together (a certificate and its own key are needed, "
            f"both PEM): {error}"
        ) from error


def _refused(key: Path) -> str:
    raise ClusterError(f"--tls-key: {key} asks for a passphrase; give a key without one, kept safe by its file's mode")


@contextmanager
def connected(where: Address, stacks: Sequence[Stack], context: RunContext, stop: Stop) -> Iterator[Source]:
    """The cluster as a source of records.

    Raises:
        ClusterError: no scheduler there, or no workers.
        RefusedError: a worker differs from this driver.
    """
    if not stacks:
        yield Source(iter(()), lambda: iter(()))
        return
    silence()
    warnings.filterwarnings("ignore", message="Sending large graph")  # the data sets: once each
    with stop.interruptible():
        client = _client(where)
    try:
        greedy: set[str] = set()
        client.subscribe_topic("worker-restart-memory", lambda event: greedy.add(event[1]["worker"]))
        work = Dispatch(client, context, stop, Site(False, lambda address: _death(address, greedy)))
        with stop.interruptible():
            _inspect(client, where)
        try:
            yield Source(work.results(stacks), work.finished_meanwhile)
        finally:
            work.close()
    finally:
        client.close(timeout=2)


def _death(address: str, greedy: set[str]) -> Death:
    """How the worker at an address died, as far as its nanny announces it; exit codes are not announced."""
    until = time.monotonic() + _WAIT
    while address not in greedy and time.monotonic() < until:
        time.sleep(0.02)
    reason = (
        "was ended for its use of memory" if address in greedy else "ended for a reason that the cluster does not tell"
    )
    return Death(reason)


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
    """Compare every worker with this driver."""
    try:
        answers = client.run(_about, on_error="return")
    except OSError as error:
        raise ClusterError(
            f"the scheduler at {where.scheduler} has gone ({error}): run the same command again"
        ) from error
    wrong = [f"{name}: {why}" for name, about in answers.items() if (why := _difference(about)) is not None]
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong[:10])
        raise RefusedError(
            f"{len(wrong)} of {len(answers)} workers at {where.scheduler} differ from this driver:\n"
            f"{listed}\ninstall the same flipbench on all of them (same commit, same constraints.txt)"
        )


def _about(dask_worker: Any) -> dict[str, Any]:
    """What is compared of a worker, run on it; the parameter's name is Dask's."""
    return {"made of": fingerprint(), "threads": dask_worker.state.nthreads}


def _difference(about: Any) -> str | None:
    """Why a worker is refused; None where it fits."""
    if isinstance(about, BaseException):
        return f"has no usable flipbench ({type(about).__name__}: {about})"
    own = fingerprint()
    for name, value in own.items():
        if about["made of"].get(name) != value:
            other = about["made of"].get(name)
            if name == "source":
                return "its flipbench has other source files"
            return f"it has {name} {other}, the driver has {value}"
    if about["threads"] != 1:
        return f"it runs {about['threads']} threads: start it with --nthreads 1"
    return None
