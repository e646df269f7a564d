"""The state of a long cell's federation on disk: a worker that is killed costs the rounds since, not the cell.

    results/<grid>/checkpoints/<key>.state    SHA-256 in hex, a newline, an npz archive of arrays (never a pickle)

A state belongs to a cell's key and to one flipbench, torch and numpy to the byte; any other one, and a damaged one, is
ignored. What a federation draws at random comes from named seeds, so weights, momenta, memories, counters and logs are
all there is to keep, and the rounds after a resume have the bits that they would have had without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import secrets
import sys
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flipbench.system.fingerprint import fingerprint

if TYPE_CHECKING:
    from flipbench.federation.federation import Federation

FOLDER = "checkpoints"
EVERY = 60.0  # seconds between states, and before the first: shorter cells write none
_HEAD = "head"
_TENSORS = ("weights", "previous", "velocity", "momenta", "buffers")  # of a federation, cells in front
_MOST = 4 << 30  # bytes of a state that is read back


class UnsaveableError(TypeError):
    """A memory that holds more than tensors, numbers, texts and containers of them."""


@dataclass(frozen=True)
class Checkpoints:
    """Where states go and how often.

    Attributes:
        folder: of them all.
        every: seconds between two.
    """

    folder: str
    every: float = EVERY

    def path(self, key: str) -> Path:
        """The file of a cell."""
        return Path(self.folder) / f"{key}.state"

    def written(self, key: str) -> int:
        """When the state of a cell, or its trials, were last written, in nanoseconds; 0 without any."""
        latest = 0
        for path in (self.path(key), self.path(trials_of(key))):
            with suppress(OSError):
                latest = max(latest, path.stat().st_mtime_ns)
        return latest

    def forget(self, key: str) -> None:
        """Remove the state of a cell that is done, and its trials."""
        for path in (self.path(key), self.path(trials_of(key))):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def trials_of(key: str) -> str:
    """Under which name the trials of a cell are kept."""
    return f"{key}-trials"


class Keeper:
    """Keeps the state of one federation at work.

    Attributes:
        note: what the record's provenance says of it; None where nothing happened.
    """

    def __init__(self, places: Checkpoints, keys: Sequence[str]) -> None:
        self.places, self.keys = places, list(keys)
        self.note: str | None = None
        self._since = time.monotonic()
        self._off = False

    def even(self) -> bool:
        """Whether the cells can go on together: all have a usable state of the same round, or none has any."""
        return len({None if (state := self.read(key)) is None else state["round"] for key in self.keys}) == 1

    def resume(self, federation: Federation) -> int:
        """Bring a new federation to where its cells were; how many rounds are done, 0 without usable states."""
        states = [self.read(key) for key in self.keys]
        if any(state is None for state in states) or len({state["round"] for state in states if state}) != 1:
            return 0
        rounds = 0
        for s, state in enumerate(state for state in states if state is not None):
            try:
                _put(federation, s, state)
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                self.places.forget(self.keys[s])
                raise RuntimeError(f"a checkpoint did not fit ({error}); it is removed, run the cell again") from error
            rounds = int(state["round"])
        self.note = f"resumed after round {rounds}"
        return rounds

    def round_done(self, federation: Federation, r: int) -> None:
        """Save the states when it is time."""
        if self._off or time.monotonic() - self._since < self.places.every:
            return
        try:
            for s, key in enumerate(self.keys):
                self.write(key, {"round": r, **_taken(federation, s)}, _modules(federation, s))
        except (UnsaveableError, OSError) as error:
            self._off = True  # a federation does without
            self.note = f"no checkpoints: {error}"
        self._since = time.monotonic()

    def write(self, key: str, state: dict[str, Any], modules: frozenset[str]) -> None:
        """Keep a state, all of it or nothing.

        Args:
            key: names its file.
            state: nested plain values and tensors.
            modules: whose classes may be among them.

        Raises:
            UnsaveableError: there is something else in it.
            OSError: the disk does not take it.
        """
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        head = {"key": key, "made by": fingerprint(), "state": _folded(state, arrays, modules)}
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **{_HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8)}, **arrays)
        raw, path = out.getvalue(), self.places.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temp, "xb") as file:
                file.write(hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)

    def read(self, key: str) -> dict[str, Any] | None:
        """A state, classes aside; None where there is none that can be trusted, and `note` says why."""
        path = self.places.path(key)
        try:
            if path.stat().st_size > _MOST:
                raise ValueError("it is too large")
            digest, _, raw = path.read_bytes().partition(b"\n")
            if hashlib.sha256(raw).hexdigest().encode() != digest:
                raise ValueError("it is damaged")
            with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
                arrays = dict(archive)
            head = json.loads(arrays.pop(_HEAD).tobytes())
            if head["key"] != key:
                raise ValueError("it is another cell's")
            if head["made by"] != fingerprint():
                raise ValueError("another version made it")
            state = _unfolded(head["state"], arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            self.note = f"checkpoint ignored: {error}"
            return None
        return dict(state)


def _taken(federation: Federation, s: int) -> dict[str, Any]:
    """All that moves in one cell of a federation."""
    if federation.state is not None and len(federation.cells) > 1:
        raise UnsaveableError("the memory of a rule in a stack cannot be told apart by cell")
    sender, relabeller = federation.senders[s], federation.relabellers[s]
    seconds = {k: v / len(federation.cells) for k, v in asdict(federation.clock).items() if not k.startswith("_")}
    return {
        **{name: getattr(federation, name)[s] for name in _TENSORS},
        "turns": federation.turns[s],
        "rule": federation.state,
        "sender": None if sender is None else sender.memory,
        "asked": None if relabeller is None else (relabeller.asked, relabeller.changed),
        "log": asdict(federation.logs[s]),
        "seconds": seconds,
    }


def _put(federation: Federation, s: int, state: dict[str, Any]) -> None:
    """The reverse of `_taken`."""
    device = federation.weights.device
    for name in _TENSORS:
        mine: Tensor = getattr(federation, name)[s]
        if mine.shape != state[name].shape or mine.dtype != state[name].dtype:
            raise ValueError(f"{name} has shape {tuple(state[name].shape)}, needs {tuple(mine.shape)}")
        mine.copy_(state[name])
    federation.turns[s] = list(state["turns"])
    if state["rule"] is not None:
        federation.state = _rebuilt(state["rule"], device, _modules(federation, s))
    sender, relabeller = federation.senders[s], federation.relabellers[s]
    if sender is not None:
        sender.memory = _rebuilt(state["sender"], device, _modules(federation, s))
    if relabeller is not None:
        relabeller.asked, relabeller.changed = (dict(one) for one in state["asked"])
    for name, value in state["log"].items():
        setattr(federation.logs[s], name, value)
    for phase, spent in state["seconds"].items():
        setattr(federation.clock, phase, getattr(federation.clock, phase) + spent)


def _modules(federation: Federation, s: int) -> frozenset[str]:
    """Where the classes of memories may come from: the modules of the rule and of the attack on updates."""
    sender = federation.senders[s]
    owners = [federation.parts.rule, getattr(federation.parts.rule, "rule", None), sender and sender.attack]
    return frozenset(type(one).__module__ for one in owners if one is not None)


def _folded(value: Any, arrays: dict[str, np.ndarray[Any, Any]], modules: frozenset[str]) -> Any:
    """A JSON value for a nested one; tensors go to ``arrays``."""

    def fold(one: Any) -> Any:
        return _folded(one, arrays, modules)

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = f"a{len(arrays)}"
        try:
            arrays[name] = value.detach().cpu().contiguous().numpy()
        except TypeError as error:
            raise UnsaveableError(f"a tensor of {value.dtype} cannot be saved") from error
        return ["tensor", name]
    if type(value) is list:
        return ["list", *map(fold, value)]
    if type(value) is tuple:
        return ["tuple", *map(fold, value)]
    if type(value) is dict:
        return ["dict", *([fold(k), fold(v)] for k, v in value.items())]
    kind = type(value)
    if kind.__module__ in modules and kind.__qualname__.isidentifier():
        if dataclasses.is_dataclass(value):
            members = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            members = value._asdict()
        else:
            raise UnsaveableError(f"a memory of {kind.__name__} cannot be saved")
        return ["class", kind.__module__, kind.__qualname__, fold(members)]
    raise UnsaveableError(f"a memory of {kind.__name__} cannot be saved")


def _unfolded(value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The reverse of `_folded`, but for classes, which stay names until it is known who owns them."""

    def unfold(one: Any) -> Any:
        return _unfolded(one, arrays)

    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "tensor":
        return torch.from_numpy(arrays[rest[0]]).clone()  # clone: memory aligned as torch aligns it
    if kind == "list":
        return [unfold(v) for v in rest]
    if kind == "tuple":
        return tuple(unfold(v) for v in rest)
    if kind == "dict":
        return {unfold(k): unfold(v) for k, v in rest}
    if kind == "class":
        return _Folded(rest[0], rest[1], unfold(rest[2]))
    raise ValueError(f"it holds an unknown {kind!r}")


@dataclass(frozen=True)
class _Folded:
    """An instance of a class that is looked up only when the rule that owns it is known."""

    module: str
    name: str
    members: dict[str, Any]


def _rebuilt(value: Any, device: torch.device, modules: frozenset[str]) -> Any:
    """Tensors on the device, and instances of the plain classes that the rule's or attack's own module defines."""

    def rebuild(one: Any) -> Any:
        return _rebuilt(one, device, modules)

    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(map(rebuild, value))
    if isinstance(value, dict):
        return {k: rebuild(v) for k, v in value.items()}
    if isinstance(value, _Folded):
        kind = getattr(sys.modules.get(value.module), value.name, None) if value.module in modules else None
        if not isinstance(kind, type) or kind.__module__ != value.module:
            raise ValueError(f"{value.name} is no class of the rule or the attack")
        return kind(**rebuild(value.members))
    return value
