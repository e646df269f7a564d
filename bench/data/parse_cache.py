"""Parsed tables kept in the user's cache folder, by the hash of the file they came from.

A cache that cannot be written or read back costs time and fails no run.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flipbench.data import locations
from flipbench.data.pixel_csv import Pixels
from flipbench.system import atomic_files

VERSION = 1  # of the table's layout


def cached(digest: str, columns: int, make: Callable[[], Pixels]) -> Pixels:
    """The table from the cache, or made and put there.

    Args:
        digest: SHA-256 of the file's content.
        columns: that the table has.
        make: parses the file.
    """
    file = locations.cache() / "parsed" / f"{digest}.v{VERSION}.npz"
    table = _read(file, columns)
    if table is None:
        table = make()
        _write(file, table)
    return table


def _read(file: Path, columns: int) -> Pixels | None:
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as archive:
            table = archive["table"]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    except (ValueError, KeyError, RuntimeError):  # no array in it; a damaged flag reads as encrypted, or as unsupported
        return None
    sound = table.dtype == np.uint8 and table.ndim == 2 and len(table) > 0 and table.shape[1] == columns
    return table if sound else None


def _write(file: Path, table: Pixels) -> None:
    packed = io.BytesIO()
    np.savez(packed, table=table)
    with contextlib.suppress(OSError):
        atomic_files.replace(file, packed.getvalue())
