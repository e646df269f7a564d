"""The record beside an oracle: what the rule needs, how near an answer must be, and its declared exceptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
ULP = 2.0**-23  # of float32

ORIGIN = "measures lengths or directions from the origin"
ANGLES = "compares directions, which equal updates share"
RADIUS = "a fixed radius"


@dataclass(frozen=True)
class CohortValues:
    """What an oracle may need beside the rows.

    Attributes:
        f: the declared number of malicious clients.
        weights: ``(clients,)``, sums to 1.
        previous: ``(dim,)``, the last update.
        own: ``(dim,)``, the server's own update.
        model: ``(dim,)``, the global model's weights.
        layout: parameter name -> (slice of dim, shape).
    """

    f: int
    weights: Numbers = field(default_factory=lambda: np.zeros(0))
    previous: Numbers = field(default_factory=lambda: np.zeros(0))
    own: Numbers = field(default_factory=lambda: np.zeros(0))
    layout: Mapping[str, tuple[slice, tuple[int, ...]]] = field(default_factory=dict)
    model: Numbers = field(default_factory=lambda: np.zeros(1))


Oracle = Callable[[Numbers, CohortValues], Numbers]
Ties = Literal["published", "ours", "open"]


def majority(f: int) -> int:
    """2f < n."""
    return 2 * f + 1


def one(f: int) -> int:
    """Any number of clients, whatever f is."""
    return 1


@dataclass(frozen=True)
class Definition:
    """One published rule.

    Attributes:
        oracle: rows and the cohort's values to the answer.
        clients: the least n for a given f.
        exact: whether fewer clients are always refused; false where that depends on their weights.
        options: with which the oracle is the rule; other options are not compared.
        largest: the largest n that the oracle is asked for.
        dims: dimensions that the kit tries; in a few, rounding decides between directions that nearly agree.
        ties: ``published``: the definition says what happens where values coincide; ``ours``: it does not, and the
            shipped rule agrees with the oracle all the same; ``open``: rounding decides.
        ulps: how near the answer must be, in float32 roundings of the largest number involved.
        robust: whether up to f malicious clients cannot carry the answer away; false for plain averages.
        excused: property of `conformance.properties` -> why the shipped rule does not have it, by its definition.
        misread: well-known misreadings, so that a rule that disagrees can name the one that it is.
    """

    oracle: Oracle
    clients: Callable[[int], int]
    exact: bool
    options: Mapping[str, Any]
    largest: int
    dims: tuple[int, ...]
    ties: Ties
    ulps: float
    robust: bool
    excused: Mapping[str, str]
    misread: Mapping[str, Oracle]

    @property
    def within(self) -> float:
        """How near the answer must be, in units of the largest number involved."""
        return 2 * self.ulps * ULP


@dataclass(frozen=True)
class Mix:
    """One pre-aggregation: its oracle, rows to rows (None: it draws at random), and its exceptions.

    Attributes:
        oracle: rows and the cohort's values to the mixed rows, called with the options that the test binds.
        excused: property -> why the shipped pre-aggregation does not have it.
    """

    oracle: Callable[..., Numbers]
    excused: Mapping[str, str]


DEFINITIONS: dict[str, Definition] = {}
MIXES: dict[str, Mix] = {}


def definition(
    clients: Callable[[int], int] = majority,
    *,
    exact: bool = True,
    options: Mapping[str, Any] = {},
    largest: int = 64,
    dims: tuple[int, ...] = (1, 3),
    ties: Ties = "published",
    ulps: float = 16,
    robust: bool = True,
    excused: Mapping[str, str] = {},
    misread: Mapping[str, Oracle] = {},
) -> Callable[[Oracle], Oracle]:
    """Enter an oracle into `DEFINITIONS` under its own name; arguments as the attributes of `Definition`."""

    def entered(oracle: Oracle) -> Oracle:
        DEFINITIONS[oracle.__name__] = Definition(
            oracle, clients, exact, options, largest, dims, ties, ulps, robust, excused, misread
        )
        return oracle

    return entered


def preaggregation(*, excused: Mapping[str, str] = {}) -> Callable[[Callable[..., Numbers]], Callable[..., Numbers]]:
    """Enter the oracle of a pre-aggregation into `MIXES` under its own name."""

    def entered(oracle: Callable[..., Numbers]) -> Callable[..., Numbers]:
        MIXES[oracle.__name__] = Mix(oracle, excused)
        return oracle

    return entered


def average(rows: Numbers) -> Numbers:
    """The plain mean of some rows."""
    return np.asarray(rows.mean(axis=0))


def lowest(values: list[float] | Numbers, keep: int) -> list[int]:
    """Numbers of the ``keep`` lowest values; equal ones go to the lower number."""
    return sorted(range(len(values)), key=lambda i: (values[i], i))[:keep]


def clipped(rows: Numbers, radius: float) -> Numbers:
    """Rows no longer than the radius."""
    norms = np.linalg.norm(rows, axis=1)
    return np.array([row * min(1.0, radius / s) if s else row for row, s in zip(rows, norms, strict=True)])


def cosine(a: Numbers, b: Numbers) -> float:
    """Of the angle between two vectors; 0 where one of them is 0."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
