"""Arrays that took long to make of files, kept in the user's cache folder by what the files were.

A cache that cannot be written or read back costs time and fails no run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.data import locations
from flipbench.system import atomic_files

Arrays = Mapping[str, NDArray[Any]]
VERSION = 1  # of the arrays that readers make


def cached(facts: Any, make: Callable[[], Arrays], compressed: bool = False) -> Arrays:
    """The arrays from the cache, or made and put there.

    Args:
        facts: all that they depend on, as JSON can write it: reader, options, stamps of the files.
        make: makes them.
        compressed: they hold mostly zeros, so that it is worth the time.
    """
    text = json.dumps([VERSION, facts], sort_keys=True, default=str)
    file = locations.cache() / "parsed" / f"arrays-{hashlib.sha256(text.encode()).hexdigest()}.npz"
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, RuntimeError):
        pass
    made: dict[str, Any] = dict(make())
    packed = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(packed, **made)
    with contextlib.suppress(OSError):
        atomic_files.replace(file, packed.getvalue())
    return made
