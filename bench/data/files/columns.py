"""Columns of a table as float features: numbers as they are, categories one feature for each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.data.array_checks import LARGEST, TOO_LARGE
from flipbench.errors import UserError

MOST_VALUES = 1000  # of one category: more are names of rows, which say nothing of another row


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in the header.
        values: as they are written, a value a row.
        known: all values of a category, in their order; None: numbers, or what stands in the rows.
    """

    name: str
    values: Sequence[str]
    known: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rows:
    """Where rows stand, for messages.

    Attributes:
        files: of the rows.
        lines: of the rows in their files.
    """

    files: Sequence[str]
    lines: Sequence[int]

    def place(self, row: int, column: str) -> str:
        """``data.csv, line 3, column age``."""
        return f"{self.files[row]}, line {self.lines[row]}, column {column}"


def features(columns: Sequence[Column], categories: Sequence[str], rows: Rows) -> tuple[NDArray[np.float32], int]:
    """``(rows, features)`` float32, and how many of the columns are categories.

    A column is one of numbers where its first value is a number, unless it is named among the categories; of a
    category each value becomes a feature that is 1 or 0, in sorted order.

    Raises:
        UserError: a missing value, a text among numbers, a category of very many values; with file, line and column.
    """
    made: list[NDArray[np.float32]] = []
    number = 0
    for column in columns:
        if column.known is None and column.name not in categories and _is_number(column.values[0]):
            made.append(_numbers(column, rows)[:, None])
        else:
            made.append(_one_hot(column, rows))
            number += 1
    return np.ascontiguousarray(np.concatenate(made, axis=1)), number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() in ("", "?", "NA")
    return True


def _numbers(column: Column, rows: Rows) -> NDArray[np.float32]:
    try:
        values = np.array(column.values, dtype=np.float64)
    except ValueError:
        values = None
    if values is not None:
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if bool(np.isfinite(narrow).all()):
            return narrow
    for row, text in enumerate(column.values):
        place = rows.place(row, column.name)
        try:
            value = abs(float(text))
        except ValueError:
            value = np.nan
        if LARGEST < value < np.inf:
            raise UserError(f"{place}: {text[:40]} {TOO_LARGE}")
        if not np.isfinite(value):
            what = f"{text[:40]!r}" if text.strip() else "nothing"
            raise UserError(
                f"{place}: needs a finite number, got {what}; fill in what is missing or name the column among the "
                "categories"
            )
    raise AssertionError(column.name)


def _one_hot(column: Column, rows: Rows) -> NDArray[np.float32]:
    known = column.known or tuple(sorted({*column.values}))
    if len(known) > MOST_VALUES:
        raise UserError(
            f"{rows.files[0]}, column {column.name}: {len(known):,} different texts are too many for a category, at "
            f"most {MOST_VALUES:,}: leave the column out with without=[{column.name}]"
        )
    place = {value: i for i, value in enumerate(known)}
    try:
        at = np.array([place[value] for value in column.values], dtype=np.int64)
    except KeyError as error:
        row = list(column.values).index(error.args[0])
        raise UserError(
            f"{rows.place(row, column.name)}: {str(error.args[0])[:40]!r} is none of {', '.join(known[:8])}"
            + (", ..." if len(known) > 8 else "")
        ) from error
    if any(not value.strip() for value in known):
        row = next(i for i, value in enumerate(column.values) if not value.strip())
        raise UserError(f"{rows.place(row, column.name)}: it is empty; fill in or take out what is missing")
    made = np.zeros((len(at), len(known)), np.float32)
    made[np.arange(len(at)), at] = 1.0
    return made


def in_order(names: Sequence[Any]) -> tuple[str, ...]:
    """Different names: whole numbers by size, texts by their letters."""
    known = {str(name) for name in names}
    if all(name.lstrip("-").isdigit() for name in known):
        return tuple(sorted(known, key=int))
    return tuple(sorted(known))


def numbers_of(values: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """The place of each value among the known ones."""
    place = {name: i for i, name in enumerate(known)}
    return np.array([place[value] for value in values], dtype=np.int64)
