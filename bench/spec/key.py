"""Key of a cell, its name in the store: a SHA-256 over everything that can change its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from flipbench.spec import reference
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.field_groups import LATER
from flipbench.spec.twins import normal

SCHEMA = 1  # of the stored record; a change of meaning of any field or number raises it
ENGINE = "engine"  # among the hashes of a key: the numerics version of the code that all cells share

PLACES = frozenset({"path", "metadata"})  # options of a data set that say where its files lie
_SORTED = sorted(FIELDS)
_in_order = itemgetter(*_SORTED)


def key(cell: Cell, content: Mapping[str, str]) -> str:
    """The cell's name in the store, 64 hexadecimal digits.

    Args:
        cell: brought to its normal form first.
        content: hashes of what the fields only name: the data set's bytes, the source of each plug-in used, and what
            `versions.table` says of shipped code.
    """
    return key_of_normal(normal(cell), content)


def key_of_normal(cell: Cell, content: Mapping[str, str]) -> str:
    """`key` of a cell that is in its normal form already, as the cells of a grid are.

    Hashed is the canonical JSON of schema, fields and content, put together of parts: 100,000 cells share few values.
    """
    values = _in_order(vars(cell))
    members = ",".join(filter(None, map(_member, _SORTED, map(type, values), values)))
    text = f'{{"content":{_hashes(tuple(content.items()))},"facts":{{{members}}},"schema":{SCHEMA}}}'
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=65536)
def _member(name: str, kind: type, value: Any) -> str:
    """One field as canonical JSON; empty for a later field at its usual value.

    The type distinguishes 1 from 1.0 and True, which are equal; -0.0 is 0.0.
    """
    if name in LATER and value == LATER[name]:
        return ""
    if name == "dataset":
        value = _without_path(value)
    return canonical_json({name: value + 0.0 if kind is float else value})[1:-1].decode()


@lru_cache(maxsize=4096)
def _hashes(content: tuple[tuple[str, str], ...]) -> str:
    return canonical_json(dict(content)).decode()


@lru_cache(maxsize=4096)
def _without_path(dataset: str) -> str:
    """Where a data file lies changes no number; what it holds enters the key as its hash."""
    return str(reference.parse(dataset).without(*PLACES))


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
