"""CSV files of whole numbers from 0 to 255, one image a line: read without pandas, errors with line and column.

A file as it should be is read in a few passes over its bytes (30 MB in about half a second). Anything else is
read again slowly to name the first place that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from flipbench.errors import UserError

Pixels = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
_COMMA, _NEWLINE, _ZERO = 44, 10, 48


def parse(content: bytes, names: Sequence[str], where: str, first_line: int = 1) -> Pixels:
    """The numbers of a CSV without its header.

    CRLF line ends, a missing last line end and empty lines at the end are accepted.

    Args:
        content: the lines.
        names: of the columns, for messages.
        where: names the file in messages.
        first_line: the number of the first line in the file.

    Returns:
        ``(lines, columns)`` uint8.

    Raises:
        UserError: no line; a line with fewer or more columns; a value that is not a whole number from 0 to 255.
    """
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    content = content.rstrip(b"\n")
    if not content:
        raise UserError(f"{where}, line {first_line}: the file ends where the first image should stand")
    content += b"\n"
    values = _fast(content, len(names))
    if values is None:
        _explain(content, names, where, first_line)
    return values


def _fast(content: bytes, columns: int) -> Pixels | None:
    """The numbers, or None where any byte is not as it should be."""
    raw = np.frombuffer(content, np.uint8)
    digits = raw - np.uint8(_ZERO)  # wraps around below '0'
    ends = np.flatnonzero(digits > 9)  # of the fields; every byte that is no digit must be a separator
    if len(ends) % columns:
        return None
    table = raw[ends].reshape(-1, columns)
    if (table[:, -1] != _NEWLINE).any() or (table[:, :-1] != _COMMA).any():
        return None
    widths = np.diff(ends, prepend=-1) - 1
    if widths.min() < 1 or widths.max() > 3:
        return None
    values = digits[ends - 1].astype(np.int16)
    for place, factor in ((2, 10), (3, 100)):
        wide = widths >= place
        values[wide] += digits[ends[wide] - place].astype(np.int16) * np.int16(factor)
    if values.max() > 255:
        return None
    result: Pixels = values.astype(np.uint8).reshape(-1, columns)
    return result


def _explain(content: bytes, names: Sequence[str], where: str, first_line: int) -> NoReturn:
    """Raise for the first place that is wrong."""
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, start=first_line):
        fields = line.split(b",")
        place = f"{where}, line {number}"
        if not line.strip():
            raise UserError(f"{place}: the line is empty; take it out")
        for name, field in zip(names, fields, strict=False):
            if not (field.isdigit() and len(field) <= 3 and int(field) <= 255):
                last = number == first_line + len(lines) - 1 and len(fields) < len(names)
                hint = "; the file is cut off here, get it anew" if last else ""
                raise UserError(
                    f"{place}, column {name}: needs a whole number from 0 to 255, got {printable(field)}{hint}"
                )
        if len(fields) > len(names):
            raise UserError(f"{place}: {len(fields)} columns where {len(names)} are needed: {_extra(names, fields)}")
        if len(fields) < len(names):
            hint = "; the file is cut off here, get it anew" if number == first_line + len(lines) - 1 else ""
            lacking = names[len(fields)]
            raise UserError(f"{place}: {len(fields)} columns where {len(names)} are needed: {lacking} is missing{hint}")
    raise UserError(f"{where}: not a table of whole numbers from 0 to 255")


def _extra(names: Sequence[str], fields: Sequence[bytes]) -> str:
    return f"after {names[-1]} stands {printable(fields[len(names)])}"


def printable(field: bytes) -> str:
    """A field as messages show it, short and printable."""
    text = field[:40].decode("utf-8", "replace")
    return repr(text) + ("..." if len(field) > 40 else "") if text else "nothing"
