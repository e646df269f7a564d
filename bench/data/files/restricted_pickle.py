"""Pickles of containers, numbers, texts, bytes and NumPy arrays: read without running anything that they name.

A pickle is a program that may call whatever it names. Here it can name only the three things of NumPy's arrays, and
gets stand-ins for them: what NumPy would be called for is done here, on plain bytes, and everything else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.errors import UserError

_ARRAYS = {f"{module}._reconstruct" for module in ("numpy.core.multiarray", "numpy._core.multiarray")}
_KINDS = "buif"


class _Marker:
    """Stands for a name that is only handed on."""


class _Type:
    """Stands for an array's type: its code, like ``u1``, and the order of its bytes."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = _text(state[1])

    def real(self) -> np.dtype[Any]:
        kind = np.dtype(self.order.replace("|", "") + _text(self.code))
        if kind.kind not in _KINDS:
            raise ValueError(f"an array of type {kind}")
        return kind


class _Array:
    """Stands for an array until its bytes are known."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, raw = state
        if not isinstance(kind, _Type) or not isinstance(raw, bytes | str):
            raise ValueError("an array without plain bytes")
        numbers = np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, kind.real())
        sizes = tuple(int(size) for size in shape)
        if math.prod(sizes) != len(numbers):
            raise ValueError(f"an array of shape {sizes} with {len(numbers)} numbers")
        self.array = numbers.reshape(sizes, order="F" if by_columns else "C")


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    if arguments:
        raise ValueError("bytes made of something else")
    return b""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match f"{module}.{name}":
            case full if full in _ARRAYS:
                return _Array
            case "numpy.ndarray":
                return _Marker
            case "numpy.dtype":
                return _Type
            case "_codecs.encode":
                return _latin
            case "__builtin__.bytes" | "builtins.bytes":
                return _no_bytes
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside of it")


def loads(content: bytes, where: str) -> Any:
    """What a pickle holds; texts of Python 2 become bytes.

    Args:
        content: of the pickle.
        where: names the file in messages.

    Raises:
        UserError: it is damaged, or names anything but arrays.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(content), encoding="bytes").load(), 0)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle may raise almost anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{where}: not a pickle of arrays, texts and numbers alone ({said}); nothing of it was run; get it anew"
        ) from error


def _plain(value: Any, depth: int) -> Any:
    """The value with arrays for their stand-ins.

    Raises:
        ValueError: a stand-in without an array, or containers within containers without end.
    """
    if depth > 20:
        raise ValueError("containers nested more than 20 deep")
    match value:
        case _Array():
            if value.array is None:
                raise ValueError("an array without its numbers")
            return value.array
        case dict():
            return {_plain(k, depth + 1): _plain(v, depth + 1) for k, v in value.items()}
        case list():
            return [_plain(v, depth + 1) for v in value]
        case tuple():
            return tuple(_plain(v, depth + 1) for v in value)
        case None | bool() | int() | float() | str() | bytes():
            return value
    raise ValueError(f"a {type(value).__name__.lstrip('_').lower()}")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
