"""Checkpoint files: plain values of a long cell on disk, whole or absent, and never read where they cannot be trusted.

    results/<grid>/checkpoints/<key>.state    SHA-256 in hex, a newline, what `torch.save` writes

They are read by `torch.load(weights_only=True)`, which makes tensors and plain containers and runs nothing. A file
belongs to a cell's key and to one flipbench, torch and numpy to the byte; any other one, and a damaged one, is refused.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flipbench.system import atomic_files
from flipbench.system.fingerprint import fingerprint

FOLDER = "checkpoints"
EVERY = 60.0  # seconds between states, and before the first: shorter cells write none
_TRIALS = "-trials"
_KEPT = 14 * 86400.0  # seconds that the state of a cell outside the plan is kept, should its plan be run again
_KEY = re.compile(r"[0-9a-f]{64}")
_MOST = 4 << 30  # bytes of a file that is read


class UntrustedError(ValueError):
    """A checkpoint file that is damaged, another cell's, or of another version."""


@dataclass(frozen=True)
class Checkpoints:
    """Where the states of long cells are kept, and how often they are written.

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

    def clear(self, pending: Collection[str], finished: Collection[str]) -> None:
        """Remove the states that no run goes on from.

        Args:
            pending: keys of the cells that are to run, whose states stay.
            finished: keys of cells with a result. States of neither are of another plan: they stay for `_KEPT` seconds.
        """
        for path in Path(self.folder).glob("*.state"):
            key = path.stem.removesuffix(_TRIALS)
            if not _KEY.fullmatch(key) or key in pending:
                continue
            with suppress(OSError):
                if key in finished or time.time() - path.stat().st_mtime > _KEPT:
                    path.unlink(missing_ok=True)

    def write(self, key: str, state: dict[str, Any]) -> None:
        """Keep a state in place of an earlier one.

        Args:
            key: names its file.
            state: plain values (`state_codec.plain`).

        Raises:
            OSError: the disk does not take it.
        """
        out = io.BytesIO()
        torch.save({"key": key, "made by": fingerprint(), "state": state}, out)
        raw = out.getvalue()
        atomic_files.replace(self.path(key), hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)

    def read(self, key: str) -> dict[str, Any] | None:
        """A state, with tensors on the CPU; None where there is none.

        Raises:
            UntrustedError: there is one that must not be used; the message says why.
        """
        path = self.path(key)
        try:
            if path.stat().st_size > _MOST:
                raise UntrustedError("it is too large")
            digest, _, raw = path.read_bytes().partition(b"\n")
            if hashlib.sha256(raw).hexdigest().encode() != digest:
                raise UntrustedError("it is damaged")
            content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
            if content["key"] != key:
                raise UntrustedError("it is another cell's")
            if content["made by"] != fingerprint():
                raise UntrustedError("another version made it")
            return dict(content["state"])
        except FileNotFoundError:
            return None
        except UntrustedError:
            raise
        except pickle.UnpicklingError as error:  # its own text is about how to allow more
            raise UntrustedError("it holds more than plain values, or is of another format") from error
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise UntrustedError(str(error)) from error


def trials_of(key: str) -> str:
    """The key under which the trials of a cell's search are kept."""
    return key + _TRIALS
