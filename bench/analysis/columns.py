"""Columns of a table: what all squares below one another share, in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.spec.cell import CLEAN
from flipbench.spec.field_groups import OPEN_ENDED
from flipbench.spec.labels import is_nothing

Values = tuple[Any, ...]
WORST = "worst_over_attacks"  # stands where a column has its attack


@dataclass(frozen=True)
class Column:
    """What all squares below one another share.

    Attributes:
        attack: its reference; ``none`` for the clean twins; `WORST` for the worst attack of each aggregator.
        setting: values of the page's settings.
        level: values of the page's levels; empty for the clean twins.
        of: of clean twins measured by the class map of an attack: its reference; else empty.
    """

    attack: str
    setting: Values = ()
    level: Values = ()
    of: str = ""

    @property
    def clean(self) -> bool:
        """Whether the clean twins stand here."""
        return self.attack == CLEAN

    @property
    def attacked(self) -> bool:
        """Whether the cells of an attack stand here."""
        return self.attack not in (CLEAN, WORST)

    @property
    def about(self) -> str:
        """The attack whose cells stand here, or by whose class map clean twins are measured; else empty."""
        return self.attack if self.attacked else self.of


def columns_of(table: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of `squares`, in reading order."""
    return tuple(dict.fromkeys(table["column"]))


def by_place(table: pd.DataFrame) -> dict[tuple[str, Column], dict[Any, Any]]:
    """(aggregator, column) -> the square there, of a table as `analysis.pivot.Pivot.squares` gives it."""
    return {(square["aggregator"], square["column"]): square for square in table.to_dict("records")}


def reading_values(values: Values, fields: Sequence[str] = ()) -> tuple[tuple[int, float, str], ...]:
    """A sorting key: nothing, then numbers, then text.

    Args:
        values: what to sort by.
        fields: their names, where known: nothing is the end for `spec.field_groups.OPEN_ENDED`, and comes last.
    """
    open_ended = [name in OPEN_ENDED for name in fields] or [False] * len(values)
    return tuple(
        (3 if last else 0, 0.0, "")
        if is_nothing(v)
        else ((1, float(v), "") if isinstance(v, int | float) else (2, 0.0, str(v)))
        for v, last in zip(values, open_ended, strict=False)
    )


def level_values(cells: pd.DataFrame, fields: Sequence[str]) -> list[Values]:
    """The values of some fields, a tuple a cell, as `Column` has them."""
    codes, found = coded(cells, fields)
    return [found[code] for code in codes.tolist()]


def coded(cells: pd.DataFrame, fields: Sequence[str]) -> tuple[NDArray[np.int64], list[Values]]:
    """Which of the distinct values of some fields each cell has, and those values, in order of appearance."""
    codes = np.zeros(len(cells), dtype=np.int64)
    for field in fields:
        own, values = pd.factorize(cells[field], use_na_sentinel=False)
        codes = pd.factorize(codes * max(1, len(values)) + own)[0].astype(np.int64)
    first = np.unique(codes, return_index=True)[1]
    if not fields:
        return codes, [()] * len(first)
    columns = ([plain(v) for v in cells[field].iloc[first]] for field in fields)
    return codes, list(zip(*columns, strict=True))


def plain(value: Any) -> Any:
    """A Python value of a pandas one; None for nothing, so that equal fields are equal keys; 3.0 is 3."""
    if is_nothing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
