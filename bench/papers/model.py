"""A published table as frozen records: what was printed, which cells answer it, and what counts as reproduced.

Read from one YAML file (`papers.reader`); values, verdicts and drawings are functions of these records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flipbench.spec.cell import Cell

# What a number can be: name -> the options that it needs (class numbers). Shares from 0 to 1 of the test set's counts.
METRICS: dict[str, tuple[str, ...]] = {
    "accuracy": (),
    "error": (),  # 1 - accuracy
    "balanced_accuracy": (),
    "macro_f1": (),
    "worst_recall": (),
    "source_recall": (),  # of the cell's own attack, as are the next three
    "attack_success_rate": (),
    "target_precision": (),
    "collateral": (),
    "recall": ("of",),  # of one class, attacked or not
    "accuracy_but": ("of",),  # over all classes but one
    "taken_for": ("source", "target"),  # share of one class that is taken for another
}
UNITS: dict[str, float] = {"fraction": 1.0, "percent": 100.0}
KINDS = ("published", "experiment", "extension")  # of tables


@dataclass(frozen=True)
class Metric:
    """A name of `METRICS` with its class numbers."""

    name: str
    options: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.name}({options})" if options else self.name


@dataclass(frozen=True)
class Window:
    """Which rounds a number is over: ``last``, ``mean(rounds=10)``, ``median(share=0.1)``, ``at(round=100)``, ``max``.

    Attributes:
        take: ``last``, ``mean``, ``median``, ``at``, or of all evaluated rounds ``max`` or ``min``.
        rounds: so many before the end, the last included; for ``at`` the round itself.
        share: this share of all rounds in place of a number of them.
    """

    take: Literal["last", "mean", "median", "at", "max", "min"] = "last"
    rounds: int = 1
    share: float | None = None

    @property
    def of_all(self) -> bool:
        """Whether it is over whatever rounds are evaluated."""
        return self.take in ("max", "min")

    def needed(self, total: int) -> range:
        """The rounds, of so many, that the number is over."""
        if self.take == "at":
            return range(self.rounds, self.rounds + 1)
        if self.of_all:
            return range(1, total + 1)
        number = self.rounds if self.share is None else max(1, round(self.share * total))
        return range(max(1, total - number + 1), total + 1)

    def __str__(self) -> str:
        if self.take == "at":
            return f"round {self.rounds}"
        if self.of_all:
            return f"{self.take} of the evaluated rounds"
        if self.share is not None:
            return f"{self.take} of the last {100 * self.share:g} % of rounds"
        return "last round" if self.take == "last" else f"{self.take} of the last {self.rounds} rounds"


@dataclass(frozen=True)
class Tolerance:
    """How far ours may lie from the published number; fixed in the file before the run.

    Attributes:
        kind: ``within`` an amount of the published number (or of ``around``); ``deviations``: within so many published
            standard deviations, for two finite numbers of runs; ``at_least`` and ``at_most`` an amount; ``none``: shown
            beside the published number and not judged.
        amount: in the table's unit, or in deviations.
        around: a centre other than the published number.
    """

    kind: Literal["within", "deviations", "at_least", "at_most", "none"]
    amount: float = 0.0
    around: float | None = None


@dataclass(frozen=True)
class Number:
    """One place of a table.

    Attributes:
        row, column: names within the table.
        value: as published, in the table's unit; None: nothing was published, only ours is shown.
        sd: published standard deviation between runs.
        metric, window: what ours is.
        tolerance: what counts as reproduced.
        cells: what is run for it, one cell a seed; none where it cannot be run.
        not_run: why it cannot be run here.
    """

    row: str
    column: str
    value: float | None
    sd: float | None
    metric: Metric
    window: Window
    tolerance: Tolerance
    cells: tuple[Cell, ...]
    not_run: str | None = None


@dataclass(frozen=True)
class Term:
    """A place of the table or a constant, less another one."""

    plus: tuple[str, str] | float
    minus: tuple[str, str] | float | None = None

    def __str__(self) -> str:
        return _shown(self.plus) + ("" if self.minus is None else f" - {_shown(self.minus)}")


@dataclass(frozen=True)
class Step:
    """One comparison of a claim; the sign is one of ``<= >= < > ~``."""

    left: Term
    sign: str
    right: Term

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True)
class Claim:
    """What the paper says of its own numbers.

    Attributes:
        says: in words.
        margin: in the table's unit; how far apart the two sides of ``~`` may be, and by how much ``<=`` and ``>=`` may
            be missed.
        steps: all of which must hold; a chain ``a > b ~ c > d`` is written out: whatever stands left of one strict
            sign against whatever stands right of it.
    """

    says: str
    margin: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Head:
    """A row or column of a table: its name, and as people read it."""

    name: str
    label: str


@dataclass(frozen=True)
class Table:
    """One published table, or one of ours beside it.

    Attributes:
        name: within the file.
        title: heading.
        unit: of its numbers: ``fraction`` or ``percent``.
        decimals: printed digits behind the point.
        runs: K, over which the published numbers are means; None: not stated.
        kind: ``published``: counts for the verdict; ``experiment``: explains a published table; ``extension``: ours.
        about: what an experiment asks, what an extension adds.
        after_looking: whether it was thought of after the numbers of the published table were seen.
        rows, columns: in order.
        numbers: of all places that hold one.
        claims: of the paper.
    """

    name: str
    title: str
    unit: str
    decimals: int
    runs: int | None
    kind: str
    about: str
    after_looking: bool
    rows: tuple[Head, ...]
    columns: tuple[Head, ...]
    numbers: tuple[Number, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Choice:
    """What the paper leaves open, and what was taken."""

    open: str
    taken: str
    why: str


@dataclass(frozen=True)
class Paper:
    """A reproduction: published numbers, the cells that answer them, and what counts as an answer.

    Attributes:
        name: names the results folder.
        title: heading.
        paper: citation.
        source: where protocol and numbers were read.
        minutes: about how long all seeds take on one core, as measured; None: not measured.
        choices: what the paper leaves open.
        caveat: what the verdict must not be taken for.
        tables: published ones and ours.
        seeds: of every cell.
        cells: all that are run, in order, once each.
        text: the YAML.
        file: where it was read from.
        changed: why the cells are not those of the file's protocol (then nothing is judged); None: they are.
    """

    name: str
    title: str
    paper: str
    source: str
    minutes: float | None
    choices: tuple[Choice, ...]
    caveat: str
    tables: tuple[Table, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    text: str
    file: str
    changed: str | None = None


def _shown(operand: tuple[str, str] | float) -> str:
    return "@".join(operand) if isinstance(operand, tuple) else f"{operand:g}"
