"""CSV that a spreadsheet can open: no cell is a formula, floats in shortest exact form, an empty cell for None."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flipbench.spec.labels import is_nothing

_AT_ONCE = 8192  # lines
_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # of a formula, full-width too


def csv_text(names: Sequence[str], lines: Iterable[Iterable[Any]]) -> str:
    """Lines under a heading."""
    return _written([_value(name) for name in names], ([_value(v) for v in line] for line in lines))


def csv_columns(columns: Mapping[str, Any]) -> str:
    """Columns of equal length under their names: many times as fast as line by line.

    Args:
        columns: name -> array, series or sequence.
    """
    return "".join(csv_parts(columns))


def csv_parts(columns: Mapping[str, Any]) -> Iterator[str]:
    """`csv_columns` some thousand lines at a time, for what should not be in memory whole."""
    yield _written([_value(name) for name in columns], ())
    for at in range(0, max(map(len, columns.values()), default=0), _AT_ONCE):
        some = (_column(values[at : at + _AT_ONCE]) for values in columns.values())
        yield _written(None, zip(*some, strict=True))


def _written(names: Sequence[str] | None, lines: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if names is not None:
        writer.writerow(names)
    writer.writerows(lines)  # of a float it writes the repr
    return out.getvalue()


def _column(values: Any) -> list[Any]:
    array = values.to_numpy() if hasattr(values, "to_numpy") else values
    if isinstance(array, np.ndarray) and array.dtype.kind in "biu":
        return list(array.tolist())
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return [v + 0.0 if v == v else "" for v in array.tolist()]  # no negative zero
    plain: list[Any] = array.tolist() if isinstance(array, np.ndarray) else list(array)
    if set(map(type, plain)) == {str}:  # few names, many lines
        texts = {text: _value(text) for text in set(plain)}
        return list(map(texts.__getitem__, plain))
    return [_value(value) for value in plain]


def _value(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is quoted."""
    if is_nothing(value):
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip()[:1] in _STARTS else value
    return float(value) + 0.0 if isinstance(value, float) else value
