"""Reads the records of many cells as rows; from `MANY` cells on with one child process a core.

Parsing a hundred thousand records takes half a minute on one core. Child processes (`system.subprocess_pipe`) send
arrays of one shape as one block, so that receiving them costs little.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.analysis.record_rows import COLUMNS, Share, row
from flipbench.store.store import Store
from flipbench.system.subprocess_pipe import PipedProcess

Part = Sequence[Sequence[Any]]  # a column a name of `COLUMNS`, a value a cell

MANY = 4096  # cells; fewer are read before a child process has started
_AT_ONCE = 512
_BLOCKS = [i for i, name in enumerate(COLUMNS) if name in {"confusion", "influence", "norms", "fedavg_gap"}]
_OFTEN_EQUAL = {"content", "classes", "mapping", "rounds_evaluated", "participants", "malicious", "flips"}
_OFTEN_EQUAL |= {"examples", "nonfinite", "no_prediction", "clamped"}
_SHARED = [i for i, name in enumerate(COLUMNS) if name in _OFTEN_EQUAL]


def read(folder: Path, keys: Sequence[str], repairs: bool = False) -> Iterator[Part]:
    """The rows of some cells, in order, a part at a time.

    Args:
        folder: ``results/<grid>``.
        keys: of the cells, each once.
        repairs: put damaged files in quarantine; False: leave them where they lie.

    Raises:
        UserError: the folder cannot be read.
    """
    chunks = [keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(keys) < MANY or cores == 1:
        store, share = Store(folder, repairs=repairs), Share()
        yield from (_part(store, chunk, share) for chunk in chunks)
        return
    known: dict[Any, Any] = {}
    with ExitStack() as stack:
        requests = [(folder.absolute(), chunks[i::cores], repairs) for i in range(cores)]
        children = [stack.enter_context(PipedProcess("analysis.parallel_read", request)) for request in requests]
        for number in range(len(chunks)):
            yield _opened(children[number % cores].next(), known)


def _part(store: Store, keys: Sequence[str], share: Share) -> Part:
    rows = (row(store.read(key), key, share) for key in keys)
    return list(zip(*(tuple(map(cell.get, COLUMNS)) for cell in rows), strict=True))


@dataclass(frozen=True)
class _Block:
    """Arrays of one shape and type, stacked."""

    values: NDArray[Any]


def _packed(part: Part) -> list[Any]:
    """The part with its arrays in blocks, where they are alike."""
    columns: list[Any] = list(part)
    for at in _BLOCKS:
        arrays = columns[at]
        if len({None if a is None else (a.shape, a.dtype) for a in arrays}) == 1 and arrays[0] is not None:
            columns[at] = _Block(np.stack(arrays))
    return columns


def _opened(columns: list[Any], known: dict[Any, Any]) -> Part:
    """The part as it was; what is equal to a value of an earlier part is that value."""
    for at in _BLOCKS:
        if isinstance(columns[at], _Block):
            columns[at].values.flags.writeable = False
            columns[at] = list(columns[at].values)
    for at in _SHARED:
        seen: dict[int, Any] = {}
        columns[at] = [seen[id(v)] if id(v) in seen else seen.setdefault(id(v), _first(v, known)) for v in columns[at]]
    return columns


def _first(value: Any, known: dict[Any, Any]) -> Any:
    """The first of all equal values."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
        return known.setdefault((value.dtype, value.shape, value.tobytes()), value)
    return known.setdefault(pickle.dumps(value), value)


def parts(request: tuple[Path, Sequence[Sequence[str]], bool]) -> Iterator[list[Any]]:
    """What a child process computes."""
    folder, chunks, repairs = request
    store, share = Store(folder, repairs=repairs), Share()
    return (_packed(_part(store, chunk, share)) for chunk in chunks)
