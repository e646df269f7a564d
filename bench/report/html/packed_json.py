"""JSON inside a page: inert as markup; large parts deflated, so that a page of 10,000 cells stays small.

A browser inflates them by itself (`DecompressionStream`), and only those that the reader opens.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flipbench.report.tables.model import number


def embedded(value: Any) -> str:
    """JSON for a data block of a page: no text in it ends the block or begins a comment or tag."""
    return _json(value).replace("<", "\\u003c")


def packed(value: Any) -> str:
    """JSON, deflated (zlib, RFC 1950), in base64."""
    return base64.b64encode(zlib.compress(_json(value).encode(), 6)).decode()


def unpacked(text: str) -> Any:
    """What was packed."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def tenths(shares: ArrayLike) -> list[int | None]:
    """Shares as tables show them (`tables.model.number`), in tenths of a per cent: 0.8765 is 877; None where
    there is no finite number."""
    flat = np.asarray(shares, dtype=np.float64).ravel()
    known = np.isfinite(flat)
    each = 1000 * np.where(known, flat, 0.0)
    found: list[int | None] = np.rint(each).astype(np.int64).tolist()
    # How the tables round matters only near the middle between two tenths.
    near = known & (np.abs(each - np.floor(each) - 0.5) < 1e-6 * np.maximum(1.0, np.abs(each)))
    for i in np.flatnonzero(near).tolist():
        found[i] = int(number(flat[i]).replace(".", ""))
    for i in np.flatnonzero(~known).tolist():
        found[i] = None
    return found


def rounded(values: ArrayLike, factor: float) -> list[int | None]:
    """Whole numbers of 1 / factor, for counts and seconds; None where there is no finite number."""
    flat = np.asarray(values, dtype=np.float64).ravel() * factor
    if np.isfinite(flat).all():
        return list(np.rint(flat).astype(np.int64).tolist())
    return [round(v) if np.isfinite(v) else None for v in flat.tolist()]


class Dictionary:
    """Each text once, and its number wherever it stands."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._places = {text: i for i, text in enumerate(dict.fromkeys(known))}

    def number(self, text: str | None) -> int:
        """The place of a text in `texts`; -1 for none."""
        return -1 if text is None else self._places.setdefault(text, len(self._places))

    @property
    def texts(self) -> list[str]:
        """All texts, in the order of their numbers."""
        return list(self._places)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
