"""A paper's numbers and claims against the store: everything that is printed, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flipbench.papers.model import Claim, Number, Paper, Table
from flipbench.papers.values import ours
from flipbench.papers.verdicts import UNFINISHED, Tested, Verdict, examined, of_claim, of_table, verdict


@dataclass(frozen=True)
class TableResult:
    """One table with what came of it.

    Attributes:
        table: as published.
        numbers: each with its verdict, in order.
        claims: each with its comparisons and its verdict.
    """

    table: Table
    numbers: tuple[tuple[Number, Verdict], ...]
    claims: tuple[tuple[Claim, tuple[Tested, ...], str], ...]


@dataclass(frozen=True)
class Result:
    """A paper with what came of it.

    Attributes:
        paper: the reproduction.
        tables: published ones and ours, in order.
        word: of the published tables as a whole; of a run that is not the paper's protocol: nothing is judged.
    """

    paper: Paper
    tables: tuple[TableResult, ...]
    word: str

    @property
    def unfinished(self) -> bool:
        """Whether cells are still to be run."""
        return any(v.word == UNFINISHED for t in self.tables for _, v in t.numbers)


def result(paper: Paper, keys: Mapping[Any, str], frame: pd.DataFrame) -> Result:
    """Compare a paper with what is stored.

    Args:
        paper: the reproduction.
        keys: cell -> its key in the store.
        frame: of `analysis.frame.load`.
    """
    rows = frame.set_index("key", drop=False)
    at_places = [{(n.row, n.column): ours(n, keys, rows, t.unit) for n in t.numbers} for t in paper.tables]
    judged = paper.changed is None
    every = [(claim, at) for t, at in zip(paper.tables, at_places, strict=True) for claim in t.claims]
    tests = iter(examined(every))
    tables = []
    for t, at in zip(paper.tables, at_places, strict=True):
        numbers = tuple((n, verdict(n, at[n.row, n.column], t.decimals, t.runs, judged)) for n in t.numbers)
        claims = []
        for claim in t.claims:
            steps = tuple(next(tests))
            claims.append((claim, steps, of_claim(steps)))
        tables.append(TableResult(t, numbers, tuple(claims) if judged else ()))
    own = [t for t in tables if t.table.kind == "published"]
    words = [v.word for t in own for _, v in t.numbers]
    claim_words = [word for t in own for _, _, word in t.claims]
    return Result(paper, tuple(tables), of_table(words, claim_words))
