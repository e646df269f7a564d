"""LEAF's JSON files: users, num_samples, and the x and y of each user (Caldas et al. 2018).

LEAF's scripts write folders train/ and test/ of them. Each user is a natural client.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.data import file_bytes
from flipbench.data.files import array_cache, file_kinds, places, whole_data
from flipbench.data.pixel_csv import printable
from flipbench.errors import UserError

Parse = Callable[[list[Any], list[Any], str], tuple[NDArray[Any], NDArray[np.int64]]]


@dataclass(frozen=True)
class Side:
    """Examples of one side.

    Attributes:
        x: ``(n, ...)``.
        y: ``(n,)`` int64.
        owners: ``(n,)`` int64, which of the users each example is of.
        users: their names.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    owners: NDArray[np.int64]
    users: tuple[str, ...]


def find(name: str, path: str | None, advice: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The JSON files of the training and of the test side.

    Raises:
        UserError: not found, or one of the two folders is lacking.
    """
    return places.first(
        name,
        path,
        lambda place: _held(name, place),
        needed="LEAF's folders train and test, with JSON files",
        advice=advice,
        inside=("data",),
    )


def _held(name: str, place: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]] | None:
    if os.path.isfile(place):
        if "JSON" not in file_kinds.said(place):
            file_kinds.refuse(place, name, "LEAF's folders train and test, with JSON files")
        raise UserError(f"{place} is one JSON file: name the folder that holds LEAF's folders train and test")
    sides = [tuple(sorted((place / side).glob("*.json"))) for side in ("train", "test")]
    if any(sides) and not all(sides):
        lacking = "train" if not sides[0] else "test"
        raise UserError(
            f"{place} lacks {lacking}/*.json of {name}: LEAF's preprocess.sh writes both with -t sample or user"
        )
    return (sides[0], sides[1]) if all(sides) else None


def sides(name: str, files: tuple[tuple[Path, ...], tuple[Path, ...]], parse: Parse) -> tuple[Side, Side]:
    """What the files of both sides hold.

    Args:
        name: of the data set, for the cache.
        files: of `find`.
        parse: ``(x, y, where) -> (examples, labels)`` of one user.
    """
    return _side(name, files[0], parse), _side(name, files[1], parse)


def _side(name: str, files: tuple[Path, ...], parse: Parse) -> Side:
    def make() -> array_cache.Arrays:
        users, parts = [], []
        for user, x, y, where in _users(files):
            users.append(user)
            parts.append(parse(x, y, where))
        sizes = [len(y) for _, y in parts]
        return {
            "x": np.concatenate([x for x, _ in parts]),
            "y": np.concatenate([y for _, y in parts]),
            "owners": np.repeat(np.arange(len(parts)), sizes),
            "users": np.array(users),
        }

    held = array_cache.cached([name, whole_data.stamps(files)], make)
    return Side(held["x"], held["y"], held["owners"], tuple(map(str, held["users"])))


def _users(files: tuple[Path, ...]) -> Iterator[tuple[str, list[Any], list[Any], str]]:
    """Name, x, y and place of each user that has examples."""
    seen: dict[str, Path] = {}
    for file in files:
        held = _json(file)
        for user in held["users"]:
            if user in seen:
                raise UserError(f"{file}: user {user!r} is in {seen[user]} already")
            seen[user] = file
            where = f"{file}, user {user!r}"
            given = held["user_data"].get(user)
            if not isinstance(given, Mapping) or not all(isinstance(given.get(k), list) for k in "xy"):
                raise UserError(f"{where}: user_data needs lists x and y for each user")
            if len(given["x"]) != len(given["y"]):
                raise UserError(f"{where}: {len(given['x'])} examples x and {len(given['y'])} labels y")
            if given["x"]:
                yield user, given["x"], given["y"], where
    if not seen:
        raise UserError(f"{files[0].parent} holds no user")


def _json(file: Path) -> dict[str, Any]:
    content = file_bytes.read(file)
    try:
        held = json.loads(content)
    except json.JSONDecodeError as error:
        if not content.lstrip().startswith(b"{"):
            file_kinds.refuse(file, "LEAF's reader", "JSON")
        end = "the file is cut off" if error.pos >= len(content.rstrip()) - 1 else error.msg
        raise UserError(f"{file}, line {error.lineno}, column {error.colno}: not JSON ({end}); get it anew") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file}: not JSON ({type(error).__name__}); get it anew") from error
    if (
        not isinstance(held, dict)
        or not isinstance(held.get("users"), list)
        or not isinstance(held.get("user_data"), dict)
    ):
        came = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise UserError(
            f"{file}: a file of LEAF has users, num_samples and user_data, this one {printable(came.encode())}"
        )
    counts = held.get("num_samples")
    if isinstance(counts, list) and len(counts) != len(held["users"]):
        raise UserError(f"{file}: num_samples has {len(counts)} numbers for {len(held['users'])} users")
    return held
