"""The one table of aggregation rules under test: what each needs, its oracle, and its declared exceptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flipbench import aggregators
from tests.oracles import aggregator_oracles as oracle


@dataclass(frozen=True)
class Subject:
    """A rule and what holds for it.

    Attributes:
        name: as registered.
        rule: the rule, called with (updates, cohort).
        oracle: the naive one, called with (rows, f, weights).
        clients: the least n for a given f.
        largest: the largest n that the oracle is asked for.
        fragile: one client alone can move the answer anywhere.
        fixed: traits that it is excused from: "translation", "scale", "unanimity".
    """

    name: str
    rule: Callable[..., Any]
    oracle: Callable[..., list[float]]
    clients: Callable[[int], int]
    largest: int = 60
    fragile: bool = False
    fixed: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    def most_liars(self, n: int) -> int | None:
        """The largest f that n clients allow; None where even 0 is too many."""
        fits = [f for f in range(n + 1) if self.clients(f) <= n]
        return max(fits, default=None)


def _any(f: int) -> int:
    return 1


def _majority(f: int) -> int:
    return 2 * f + 1


def _krum(f: int) -> int:
    return 2 * f + 3


def _subject(name: str, clients: Callable[[int], int], **facts: Any) -> Subject:
    return Subject(name, aggregators.RULES[name], getattr(oracle, name), clients, **facts)


SUBJECTS = (
    _subject("fedavg", _any, fragile=True),
    _subject("mean", _any, fragile=True),
    _subject("krum", _krum),
    _subject("multi_krum", _krum),
    _subject("median", _majority),
    _subject("trimmed_mean", _majority),
)
