"""Keys of a run: no clock makes them invalid, no file holds them, and only their holders are spoken to."""

from __future__ import annotations

import pickle
import ssl
import tempfile
from pathlib import Path

import pytest

from flipbench.execution import run_security
from flipbench.execution.run_security import RunSecurity


def shaken(client: RunSecurity, server: RunSecurity) -> ssl.SSLObject:
    """The client's end after a handshake in memory."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.get_connection_args("client")["ssl_context"].wrap_bio(here, there)
    other = server.get_listen_args("scheduler")["ssl_context"].wrap_bio(there, here, server_side=True)
    for _ in range(4):
        for end in (one, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return one


def test_a_worker_that_got_the_keys_is_spoken_to_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys = run_security.of_this_run()
    end = shaken(pickle.loads(pickle.dumps(keys)), keys)
    certificate = end.getpeercert()
    assert certificate is not None
    assert end.version() == "TLSv1.3"
    assert ssl.cert_time_to_seconds(str(certificate["notBefore"])) == 0
    assert ssl.cert_time_to_seconds(str(certificate["notAfter"])) > 2**37
    assert "ENCRYPTED" in keys.tls_worker_key
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_another_run_are_refused() -> None:
    with pytest.raises(ssl.SSLError):
        shaken(run_security.of_this_run(), run_security.of_this_run())
