"""Keys of one run: its messages between processes are encrypted, and the keys are nowhere but in these processes.

Dask's own temporary keys fall short of that in two ways. They pass through a file in the temporary folder, where a kill
leaves them; and their certificate begins at this very moment, so that a clock which is set back ends the run.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed.security import Security

# The keys live as long as the run: dates protect nothing here, and clocks are changed.
_FROM, _UNTIL = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NAME = "flipbench-run"


class RunSecurity(Security):
    """Security of a Dask cluster with one key for all; it reaches worker processes by multiprocessing's pipe."""

    def __init__(self, certificate: str, key: str, passphrase: str) -> None:
        roles = ("client", "scheduler", "worker")
        super().__init__(  # type: ignore[no-untyped-call]
            require_encryption=True,
            tls_ca_file=certificate,
            **{f"tls_{role}_cert": certificate for role in roles},
            **{f"tls_{role}_key": key for role in roles},
        )
        self.passphrase = passphrase

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """What a connection is made with."""
        return {**self.get_listen_args(role, ssl.Purpose.SERVER_AUTH), "extra_conn_args": self.extra_conn_args}

    def get_listen_args(self, role: str, purpose: ssl.Purpose = ssl.Purpose.CLIENT_AUTH) -> dict[str, Any]:
        """What a listener is made with."""
        tls = self.get_tls_config_for_role(role)  # type: ignore[no-untyped-call]
        context = ssl.create_default_context(purpose, cadata=tls["ca_file"])
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # both sides must hold the run's own key
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with _readable(tls["cert"] + tls["key"]) as path:
            context.load_cert_chain(path, password=self.passphrase)
        return {"ssl_context": context, "require_encryption": True}


def of_this_run() -> RunSecurity:
    """A new key and its certificate, which is valid whatever the clock says."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .sign(key, hashes.SHA256())
    )
    passphrase = secrets.token_hex(32)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    return RunSecurity(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode(), passphrase)


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """A path that OpenSSL reads a text from: in memory on Linux; elsewhere a file, whose key needs the passphrase."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory(prefix="flipbench-") as folder:
            path = Path(folder) / "key.pem"
            path.write_text(text)
            yield str(path)
        return
    handle = os.memfd_create("flipbench-key", os.MFD_CLOEXEC)
    try:
        os.write(handle, text.encode())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
