"""The records of many cells, read part by part; where there are many, by a process a core.

Reading a record is parsing: a hundred thousand take half a minute on one core. Helpers are this module run as a
program; they send their parts home through a pipe, arrays of one shape as one block, so that fetching costs little.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.rows import COLUMNS, Share, row
from bench.store import Store

Part = Sequence[Sequence[Any]]  # a column a name of `COLUMNS`, a value a cell

MANY = 4096  # cells; fewer are read before a helper has started
_AT_ONCE = 512
_BLOCKS = [i for i, name in enumerate(COLUMNS) if name in {"confusion", "influence", "norms", "fedavg_gap"}]
_SHARED = [
    i
    for i, name in enumerate(COLUMNS)
    if name in {"classes", "mapping", "rounds_evaluated", "participants", "malicious", "flips", "examples", "nonfinite"}
]


def read(folder: Path, keys: Sequence[str]) -> Iterator[Part]:
    """The rows of some cells, in order, a part at a time.

    Args:
        folder: ``results/<grid>``.
        keys: of the cells, each once.

    Raises:
        UserError: the folder cannot be read.
    """
    chunks = [keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(keys) < MANY or cores == 1:
        store, share = Store(folder), Share()
        yield from (_part(store, chunk, share) for chunk in chunks)
        return
    known: dict[Any, Any] = {}
    with ExitStack() as stack:
        helpers = [stack.enter_context(_Helper(folder, chunks[i::cores])) for i in range(cores)]
        for number in range(len(chunks)):
            yield _opened(helpers[number % cores].next(), known)


def _part(store: Store, keys: Sequence[str], share: Share) -> Part:
    rows = (row(store.read(key), key, share) for key in keys)
    return list(zip(*(tuple(map(one.get, COLUMNS)) for one in rows), strict=True))


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


class _Helper:
    """A process that reads some parts."""

    def __init__(self, folder: Path, chunks: Sequence[Sequence[str]]) -> None:
        self._folder, self._chunks = folder, chunks

    def __enter__(self) -> _Helper:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from bench import parts; parts.main()"]
        # In a session of its own, for a Ctrl-C is the parent's to handle; without a parent the pipe ends it.
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
        self._process = subprocess.Popen(command, env=env, **pipes)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pickle.dump((self._folder.absolute(), self._chunks), pipe)
        return self

    def next(self) -> list[Any]:
        """The next part."""
        assert self._process.stdout is not None
        try:
            found = pickle.load(self._process.stdout)  # from our own child, through a pipe that nobody else has
        except EOFError as error:
            code = self._process.wait()
            raise UserError(f"a process that reads results ended (exit status {code}): run it again") from error
        if isinstance(found, UserError):
            raise found
        return list(found)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    """A helper: what to read comes in, parts go out."""
    _serve(sys.stdin.buffer, sys.stdout.buffer)


def _serve(wanted: IO[bytes], out: IO[bytes]) -> None:
    folder, chunks = pickle.load(wanted)
    store, share = Store(folder), Share()
    try:
        for chunk in chunks:
            pickle.dump(_packed(_part(store, chunk, share)), out, protocol=5)
            out.flush()
    except UserError as error:
        pickle.dump(UserError(str(error)), out)
        out.flush()
    except BrokenPipeError:  # nobody wants the rest
        os._exit(0)
