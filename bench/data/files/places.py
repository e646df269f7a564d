"""Where a reader finds its files: the rules of `data.locations`, for any set of names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from flipbench.data import locations
from flipbench.errors import UserError

Found = TypeVar("Found")


def first(
    name: str,
    path: str | None,
    holds: Callable[[Path], Found | None],
    *,
    needed: str,
    advice: str,
    inside: Sequence[str] = (),
    more: Sequence[Path] = (),
) -> Found:
    """What the first place holds.

    Args:
        name: of the data set, and of its folder in the places searched.
        path: the option; None: the usual places.
        holds: what a file or folder holds of the data set; None: nothing. It raises for a part of it.
        needed: what was looked for, for messages.
        advice: how to get it.
        inside: further folders below each place.
        more: places searched last, without a path.

    Raises:
        NotFoundError: no place holds it.
        UserError: the path does not.
    """
    if path is None:
        roots = [*locations.searched(name), *more]
        places = tuple(place for root in roots for place in (root, *(root / part for part in inside)))
    else:
        places = locations.given(path, name, *inside)
    for place in places:
        if os.path.exists(place) and (found := holds(place)) is not None:
            return found
    if path is not None:
        raise UserError(f"{locations.expanded(path)} does not hold {name}: needed is {needed}")
    raise locations.missing(name, tuple(roots), advice)


def file_in(folder: Path, *names: str) -> Path | None:
    """The first of the names that a folder holds, plain or packed by gzip; None: none of them."""
    for name in names:
        for spelled in (name, f"{name}.gz"):
            if os.path.isfile(folder / spelled):
                return folder / spelled
    return None
