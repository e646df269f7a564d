"""Where data files are looked for: the path given, $FLIPBENCH_DATA, the user's cache folder, system folders.

The first place that holds a data set's files counts. A file that is there but broken is an error: going on to the
next place would run on other data than the user meant, without a message.
"""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from flipbench.errors import UserError

VARIABLE = "FLIPBENCH_DATA"
SYSTEM = (Path("/usr/local/share/datasets"), Path("/usr/share/datasets"))  # the latter is Debian's, fashion-mnist in it


class NotFoundError(UserError):
    """No place holds the files; the text lists the places looked at and how to get the data."""


def cache() -> Path:
    """The user's cache folder for flipbench (``~/.cache/flipbench`` on Linux; ``$XDG_CACHE_HOME`` is respected)."""
    return Path(pooch.os_cache("flipbench"))


def given(path: str | Path, folder: str, *inside: str) -> tuple[Path, ...]:
    """Folders meant by a path option: itself, its subfolder for the data set, and further names inside.

    Raises:
        NotFoundError: nothing lies there.
    """
    root = expanded(path)
    if not os.path.exists(root):
        raise NotFoundError(f"{root} does not exist: path names the file or the folder that holds the data")
    return root, root / folder, *(root / name for name in inside)


def expanded(path: str | Path) -> Path:
    """The path with ``~`` spelled out where there is such a home."""
    return Path(os.path.expanduser(path))


def searched(folder: str) -> tuple[Path, ...]:
    """Folders searched for a data set without a path, in order."""
    named = os.environ.get(VARIABLE)
    roots = [*([expanded(named)] if named else []), cache(), *SYSTEM]
    return tuple(root / folder for root in roots)


def missing(name: str, looked_at: tuple[Path, ...], advice: str) -> NotFoundError:
    """The error for a data set that no place holds."""
    lines = [f"{name} is not on this machine; looked in", *(f"  {p}{_remark(p)}" for p in looked_at)]
    if not os.environ.get(VARIABLE):
        lines.append(f"  (${VARIABLE} is not set)")
    return NotFoundError("\n".join([*lines, advice]))


def _remark(place: Path) -> str:
    return " (does not hold it)" if os.path.exists(place) else " (no such folder)"
