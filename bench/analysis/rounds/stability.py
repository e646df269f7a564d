"""Whether a number still moves at the end of training: oscillates, rises, collapses, is steady, or that is not known.

The late rounds of a cell are those evaluated in the last fifth of training, and at least the last three evaluated
rounds of the second half, where there are so many. In them the number falls by at most F (max over i < j of a_i - a_j)
and rises by at most R (max over i < j of a_j - a_i). With the threshold T = max(0.10, 2.5 / sqrt(n)), n test examples
behind the number (ten percentage points, or five binomial standard errors at 50 %, whichever is more), it

- oscillates where F > T and R > T,
- collapses where only F > T, and rises where only R > T,
- is steady where neither is.

That can be said where three or more rounds one after the other were evaluated at the end. Where they were not, a cycle
of two rounds looks like a rise, like a fall or like nothing, as the evaluated rounds fall on it. Then a number

- still oscillates where F > T and R > T,
- changes where one of the two is, for which reason is not known,
- and else nothing is known.

For a metric of which little is good, it is the other way round: "collapses" is always what a defender loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

STEADY, OSCILLATES, COLLAPSES, RISES, CHANGES, UNKNOWN = CLASSES = (
    *("steady", "oscillates", "collapses", "rises", "changes", "unknown"),
)
UNSTABLE = (OSCILLATES, COLLAPSES, RISES, CHANGES)
PART = 5  # late is the last fifth of training
LEAST_ROUNDS = 3  # two rounds show a difference, no oscillation
THRESHOLD = 0.10  # of a share: more than what most published differences between rules are
ERRORS = 2.5  # over sqrt(n): five standard errors of a share of 0.5

Values = NDArray[np.float64]


def late(evaluated: NDArray[np.int64], rounds: int) -> int:
    """How many of the last evaluated rounds are looked at; at least one.

    Args:
        evaluated: their numbers, ascending, ``(rounds evaluated,)``.
        rounds: how many rounds the training has.
    """
    late = int((PART * evaluated > (PART - 1) * rounds).sum())
    half = int((2 * evaluated >= rounds).sum())
    return max(1, late, min(LEAST_ROUNDS, half))


def in_sequence(evaluated: NDArray[np.int64]) -> bool:
    """Whether enough late rounds stand one after the other to see an oscillation from round to round."""
    ends = np.flatnonzero(np.diff(evaluated) != 1)
    return len(evaluated) - (int(ends[-1]) + 1 if len(ends) else 0) >= LEAST_ROUNDS


def threshold(examples: Any) -> Values:
    """T, from which a change counts; ``examples``: n test examples behind the number."""
    n = np.asarray(examples, dtype=np.float64)
    return np.maximum(THRESHOLD, ERRORS / np.sqrt(np.maximum(n, 1.0)))


def falls(values: Values) -> Values:
    """F of each row, ``(..., rounds) -> (...)``: how far it falls below an earlier round at most; NaN stays NaN."""
    return np.asarray((np.maximum.accumulate(values, -1) - values).max(-1))


def classes(values: Values, limit: Values, seen: bool, higher_is_better: bool = True) -> NDArray[np.object_]:
    """The class of each row.

    Args:
        values: ``(..., rounds)``, of the late rounds; shares.
        limit: ``(...)``, of `threshold`.
        seen: whether rounds one after the other were evaluated (`in_sequence`).
        higher_is_better: of the values.

    Returns:
        ``(...)``, of `CLASSES`; of a row with NaN: unknown.
    """
    good = values if higher_is_better else -values
    fall, rise = falls(good) > limit, falls(-good) > limit
    found = np.full(fall.shape, STEADY if seen else UNKNOWN, dtype=object)
    found[rise], found[fall] = (RISES, COLLAPSES) if seen else (CHANGES, CHANGES)
    found[rise & fall] = OSCILLATES
    found[np.isnan(good).any(-1)] = UNKNOWN
    return found


class Movement(NamedTuple):
    """How a number of one cell moved, of those that are not steady.

    Attributes:
        label: of the metric.
        kind: of `UNSTABLE`.
        higher_is_better: of the metric.
        low, high: its least and greatest value in the late rounds, shares.
        first, last: numbers of the first and the last of these rounds.
    """

    label: str
    kind: str
    higher_is_better: bool
    low: float
    high: float
    first: int
    last: int


_WORDS = {
    (OSCILLATES, True): "oscillates",
    (OSCILLATES, False): "oscillates",
    (RISES, True): "still rises",
    (RISES, False): "still falls",
    (COLLAPSES, True): "collapses",
    (COLLAPSES, False): "shoots up",
    (CHANGES, True): "changes",
    (CHANGES, False): "changes",
}


def text(some: Sequence[Sequence[Movement]], of: int) -> str | None:
    """What must be known of the cells behind a number, in words; None where there is nothing to say.

    Args:
        some: of each of its cells: how the number moved, and that of the clean twin where it is their difference.
        of: how many cells stand behind it.
    """
    parts = []
    for kind in UNSTABLE:
        own = [move for moves in some for move in moves if move.kind == kind]
        if not own:
            continue
        cells = sum(any(move.kind == kind for move in moves) for moves in some)
        first = own[0]
        ends = [min(move.low for move in own), max(move.high for move in own)]
        if first.higher_is_better == (kind == COLLAPSES):
            ends.reverse()
        span = "from {:.1f} to {:.1f} %" if kind in (COLLAPSES, RISES) else "between {:.1f} and {:.1f} %"
        said = span.format(*(100 * end for end in (ends if kind in (COLLAPSES, RISES) else sorted(ends))))
        rounds = f"rounds {min(move.first for move in own)} to {max(move.last for move in own)}"
        parts.append(
            f"{first.label} {_WORDS[kind, first.higher_is_better]} {said} in {rounds}"
            + (" (too few of them evaluated to say why)" if kind == CHANGES else "")
            + (f", {cells} of {of} cells" if of > 1 else "")
        )
    return "; ".join(parts) or None


def examples(support: Values, rows: Sequence[int] | None = None, *, mean_of_rows: bool) -> Values:
    """How many independent test examples a number is worth: the n that its binomial error has.

    Args:
        support: ``(..., L)``, test examples of each class.
        rows: classes that the number is about; None: all.
        mean_of_rows: whether it is a mean over classes, |S|^2 / sum 1/n_c, rather than a share of their examples.
    """
    own = support if rows is None else support[..., list(rows)]
    if not mean_of_rows:
        return np.asarray(own.sum(-1))
    there = own > 0
    inverse = np.where(there, 1.0 / np.where(there, own, 1.0), 0.0).sum(-1)
    return np.asarray(np.where(inverse > 0, there.sum(-1) ** 2 / np.where(inverse > 0, inverse, 1.0), 0.0))


def counted(column: pd.Series[Any]) -> dict[str, int]:
    """How many cells are of each class, in the order of `CLASSES`."""
    found = column.value_counts()
    return {name: int(found.get(name, 0)) for name in CLASSES}


def sentence(kinds: pd.Series[Any]) -> str | None:
    """What the preface of tables and the terminal say of all cells of a grid; None without a cell.

    Args:
        kinds: the classes of their accuracy.
    """
    count = counted(kinds)
    total = sum(count.values())
    if not total:
        return None
    said = [
        f"{count[name]} {words}"
        for name, words in (
            (STEADY, "steady"),
            (OSCILLATES, "oscillate"),
            (COLLAPSES, "collapse"),
            (RISES, "still rise"),
            (CHANGES, "change"),
            (UNKNOWN, "not known"),
        )
        if count[name]
    ]
    few = (
        " Not known, and why it changes: too few rounds one after the other are evaluated at the end; evaluate_last: 5 "
        "evaluates the last five."
    )
    text = f"Stability of accuracy at the end of training: of {total} cells {', '.join(said)}."
    return text + few * bool(count[UNKNOWN] or count[CHANGES])
