"""A data set read whole, once in a process while its files stay; subsets are taken of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from flipbench.data.dataset import Dataset
from flipbench.errors import UserError

Stamp = tuple[str, int, int]  # of a file: its path, size and time of change


def stamps(files: Iterable[Path]) -> tuple[Stamp, ...]:
    """What tells a changed file from its former self.

    Raises:
        UserError: a file cannot be looked at.
    """
    found = []
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
        found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def whole(read: Callable[..., Dataset], files: Iterable[Path], *arguments: Any) -> Dataset:
    """What ``read(*arguments)`` makes of the files, remembered.

    Args:
        read: a reader.
        files: all that it reads.
        arguments: of the reader, which can be hashed.
    """
    return _whole(read, stamps(files), arguments)


@lru_cache(maxsize=2)
def _whole(read: Callable[..., Dataset], known: tuple[Stamp, ...], arguments: tuple[Any, ...]) -> Dataset:
    return read(*arguments)


def forget() -> None:
    """Read the files again when they are next asked for."""
    _whole.cache_clear()
