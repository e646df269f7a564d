"""Which flipbench this is, to the byte: two processes with equal fingerprints compute equal numbers."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("aggregators", "attacks", "bench")
LIBRARIES = ("torch", "numpy", "numba")


@cache
def source() -> str:
    """SHA-256 over every Python file of the packages, names included."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint() -> dict[str, str]:
    """Versions and source hash."""
    return {"flipbench": version("flipbench"), "source": source(), **{name: version(name) for name in LIBRARIES}}
