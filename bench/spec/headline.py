"""Headline: which evaluated rounds of a cell its number is of: the last one, the mean of the last k, or their worst.

A grid's ``headline:``, ``--headline`` and the Python API take the same texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from flipbench.errors import UserError
from flipbench.spec.cell import Cell

_FORM = re.compile(r"(mean_last|min_last)\((?:k=)?([1-9][0-9]{0,5})\)")
_NEEDED = "needs last, mean_last(k) or min_last(k), with k the number of evaluated rounds, like mean_last(5)"


@dataclass(frozen=True)
class Headline:
    """How the evaluated rounds of a cell become its number.

    Attributes:
        take: ``last``; ``mean``; ``min``, which is the worst: the greatest where low is good.
        rounds: k, how many of the last evaluated rounds count.
    """

    take: Literal["last", "mean", "min"] = "last"
    rounds: int = 1

    def __str__(self) -> str:
        return "last" if self.take == "last" else f"{self.take}_last({self.rounds})"

    @property
    def said(self) -> str:
        """For sentences: "of the last round", "mean of the last 5 evaluated rounds"."""
        if self.take == "last":
            return "of the last round"
        return f"{'mean' if self.take == 'mean' else 'worst'} of the last {self.rounds} evaluated rounds"

    @property
    def when(self) -> str:
        """For captions: "after the last round", "mean of the last 5 evaluated rounds"."""
        return "after the last round" if self.take == "last" else self.said

    @property
    def short(self) -> str:
        """For heads of columns: "last round", "mean of the last 5"."""
        return self.said.removeprefix("of the ").removesuffix(" evaluated rounds")


LAST_ROUND = Headline()


def late_rounds(cell: Cell) -> int:
    """How many rounds of the second half of training a cell evaluates: what a headline can be of.

    Args:
        cell: the first and the last round are evaluated, every ``evaluate_every``-th, and the ``evaluate_last`` last.
    """
    last = max(1, cell.rounds - cell.evaluate_last + 1)  # of the block at the end the first
    first = -(-cell.rounds // 2)
    every = [r for r in range(first, last) if r == 1 or r % cell.evaluate_every == 0]
    return len(every) + cell.rounds - max(first, last) + 1


def parse(text: str | None) -> Headline:
    """The headline of a text; that of the last round for None.

    Raises:
        UserError: the text is no headline.
    """
    given = "last" if text is None else text.strip().replace(" ", "")
    if given == "last":
        return LAST_ROUND
    if (found := _FORM.fullmatch(given)) is None:
        raise UserError(f"{_NEEDED}; got {str(text)[:80]!r}")
    return Headline("mean" if found[1] == "mean_last" else "min", int(found[2]))
