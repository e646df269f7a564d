"""Identifies this flipbench to the byte: two processes with equal fingerprints compute equal numbers."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("flipbench", "flipbench.aggregators", "flipbench.attacks")
LIBRARIES = ("torch", "numpy", "numba")


@cache
def source() -> str:
    """SHA-256 over every Python file of the packages, names included."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint() -> dict[str, str]:
    """Versions and source hash."""
    return {"flipbench": version("flipbench"), "source": source(), **{name: version(name) for name in LIBRARIES}}
