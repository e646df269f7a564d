"""Published rules once more, straight from their definitions: slow, in float64, sharing nothing with `aggregators`.

Each takes one cell, rows ``(clients, dim)`` as float64, and its facts. `WRONG` holds the well-known misreadings, so
that a rule that disagrees can be told which of them it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """What an oracle may need besides the rows: f, the weights, the last update, the server's own update."""

    f: int
    weights: Numbers
    previous: Numbers
    own: Numbers


Oracle = Callable[[Numbers, Facts], Numbers]


@dataclass(frozen=True)
class Definition:
    """One published rule.

    Attributes:
        oracle: rows and facts to the answer.
        clients: the least n for a given f.
        largest: the largest n that the oracle is asked for.
        ties: whether the definition says what happens on ties.
        within: how near the answer must be, in units of the largest number involved.
    """

    oracle: Oracle
    clients: Callable[[int], int] = lambda f: 2 * f + 1
    largest: int = 64
    ties: bool = True
    within: float = 4e-6


def squares(rows: Numbers) -> Numbers:
    """Squared distances, from differences."""
    return np.array([((rows - row) ** 2).sum(1) for row in rows])


def fedavg(rows: Numbers, facts: Facts) -> Numbers:
    """Sum of w_i x_i."""
    return facts.weights @ rows


def mean(rows: Numbers, facts: Facts) -> Numbers:
    """The plain mean."""
    return _mean(rows)


def krum_scores(rows: Numbers, near: int, power: float = 1.0, itself: bool = False) -> Numbers:
    """Sums over the ``near`` nearest others, of squared distances to the given power."""
    apart = squares(rows)
    if not itself:
        np.fill_diagonal(apart, np.inf)
    return np.asarray((np.sort(apart, axis=1)[:, :near] ** power).sum(1))


def krum(rows: Numbers, facts: Facts) -> Numbers:
    """The row with the least sum of squared distances to its n - f - 2 nearest others."""
    return np.asarray(rows[np.argmin(krum_scores(rows, len(rows) - facts.f - 2))])


def multi_krum(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the n - f - 2 rows of lowest Krum score."""
    kept = len(rows) - facts.f - 2
    return _mean(rows[np.argsort(krum_scores(rows, kept), kind="stable")[:kept]])


def median(rows: Numbers, facts: Facts) -> Numbers:
    """Per coordinate; even n: the mean of the two middle values."""
    return np.median(rows, axis=0)


def trimmed_mean(rows: Numbers, facts: Facts) -> Numbers:
    """Per coordinate, without the f lowest and the f highest."""
    return _mean(np.sort(rows, axis=0)[facts.f : len(rows) - facts.f])


def meamed(rows: Numbers, facts: Facts) -> Numbers:
    """Per coordinate the mean of the n - f values nearest to the median; equally near: the lower."""
    return _nearest(rows, np.median(rows, axis=0), len(rows) - facts.f)


def phocas(rows: Numbers, facts: Facts) -> Numbers:
    """Per coordinate the mean of the n - f values nearest to the trimmed mean."""
    return _nearest(rows, trimmed_mean(rows, facts), len(rows) - facts.f)


def bulyan(rows: Numbers, facts: Facts) -> Numbers:
    """Krum n - 2f times without replacement, then the mean of the n - 4f values nearest to the median of the chosen."""
    left, chosen = list(range(len(rows))), []
    for _ in range(len(rows) - 2 * facts.f):
        near = max(len(left) - facts.f - 2, min(1, len(left) - 1))
        chosen.append(left.pop(int(np.argmin(krum_scores(rows[left], near)))))
    some = rows[sorted(chosen)]
    return _nearest(some, np.median(some, axis=0), len(rows) - 4 * facts.f)


def mda(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the n - f rows of least diameter; of several such sets the one with the most central rows."""
    apart = squares(rows)
    order: list[int] = np.argsort(apart.sum(1), kind="stable").tolist()
    sets = combinations(order, len(rows) - facts.f)  # in lexical order, and min takes the first
    return _mean(rows[list(min(sets, key=lambda s: float(apart[np.array(s)][:, np.array(s)].max())))])


def geometric_median(rows: Numbers, facts: Facts) -> Numbers:
    """Weiszfeld from the mean, until it stands still; a row where that is better."""
    y = facts.weights @ rows
    for _ in range(20_000):
        pull = facts.weights / np.maximum(np.linalg.norm(rows - y, axis=1), 1e-12)
        new = pull @ rows / pull.sum()
        moved, y = float(np.abs(new - y).max()), new
        if moved < 1e-11:
            break
    candidates = [y, *rows]
    return np.asarray(min(candidates, key=lambda p: float(facts.weights @ np.linalg.norm(rows - p, axis=1))))


def norm_clipping(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the rows clipped to the median norm."""
    return _mean(_clipped(rows))


def centered_clipping(rows: Numbers, facts: Facts) -> Numbers:
    """The last update, moved by the mean of the differences from it, clipped to their median norm."""
    return facts.previous + _mean(_clipped(rows - facts.previous))


def cge(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the n - f rows of least norm."""
    return _mean(_lowest(rows, (rows**2).sum(1), len(rows) - facts.f))


def faba(rows: Numbers, facts: Facts) -> Numbers:
    """F times without the row farthest from the mean of those left; the mean."""
    for _ in range(facts.f):
        rows = np.delete(rows, int(np.argmax(((rows - _mean(rows)) ** 2).sum(1))), axis=0)
    return _mean(rows)


def aksel(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the half (rounded up) of the rows nearest to the median."""
    return _mean(_lowest(rows, ((rows - np.median(rows, axis=0)) ** 2).sum(1), (len(rows) + 1) // 2))


def monna(rows: Numbers, facts: Facts) -> Numbers:
    """The mean of the n - f rows nearest to the server's own update."""
    return _mean(_lowest(rows, ((rows - facts.own) ** 2).sum(1), len(rows) - facts.f))


def fltrust(rows: Numbers, facts: Facts) -> Numbers:
    """Rows at the length of the server's own update, weighted by the positive part of their cosine with it."""
    norms, own = np.linalg.norm(rows, axis=1), float(np.linalg.norm(facts.own))
    norms = np.where(norms > 0, norms, np.inf)
    trust = np.maximum(rows @ facts.own / norms / own, 0)
    return (trust * own / norms) @ rows / trust.sum() if trust.sum() > 0 else 0 * facts.own


def _mean(rows: Numbers) -> Numbers:
    return np.asarray(rows.mean(axis=0))


def _lowest(rows: Numbers, values: Numbers, keep: int) -> Numbers:
    return np.asarray(rows[np.argsort(values, kind="stable")[:keep]])


def _clipped(rows: Numbers) -> Numbers:
    norms = np.linalg.norm(rows, axis=1)
    factors = np.minimum(1, np.median(norms) / np.where(norms > 0, norms, np.inf))
    return np.asarray(rows * factors[:, None])


def _nearest(rows: Numbers, centre: Numbers, keep: int) -> Numbers:
    values = np.sort(rows, axis=0)  # equally near: the lower comes first
    order = np.argsort(np.abs(values - centre), axis=0, kind="stable")[:keep]
    return _mean(np.take_along_axis(values, order, axis=0))


def _lower_median(rows: Numbers, facts: Facts) -> Numbers:
    return np.asarray(np.sort(rows, axis=0)[(len(rows) - 1) // 2])


def _upper_median(rows: Numbers, facts: Facts) -> Numbers:
    return np.asarray(np.sort(rows, axis=0)[len(rows) // 2])


def _krum_as(shift: int, power: float = 1.0, itself: bool = False, many: bool = False) -> Oracle:
    def rule(rows: Numbers, facts: Facts) -> Numbers:
        scores = krum_scores(rows, len(rows) - facts.f - 2 + shift, power, itself)
        kept = len(rows) - facts.f - 2 if many else 1
        return _mean(rows[np.argsort(scores, kind="stable")[:kept]])

    return rule


def _krums(many: bool) -> dict[str, Oracle]:
    return {
        "n - f - 1 neighbours where the definition has n - f - 2": _krum_as(1, many=many),
        "n - f neighbours where the definition has n - f - 2": _krum_as(2, many=many),
        "distances that are not squared": _krum_as(0, 0.5, many=many),
        "distances that are squared twice": _krum_as(0, 2.0, many=many),
        "every client counted as a neighbour of its own": _krum_as(0, itself=True, many=many),
    }


def _trimmed_once(rows: Numbers, facts: Facts) -> Numbers:
    return _mean(np.sort(rows, axis=0)[facts.f :]) if facts.f else _mean(rows)


DEFINITIONS: Mapping[str, Definition] = {
    "fedavg": Definition(fedavg, lambda f: 1),
    "mean": Definition(mean, lambda f: 1),
    "krum": Definition(krum, lambda f: 2 * f + 3),
    "multi_krum": Definition(multi_krum, lambda f: 2 * f + 3),
    "median": Definition(median),
    "trimmed_mean": Definition(trimmed_mean),
    "geometric_median": Definition(geometric_median, ties=False, within=2e-5),
    "meamed": Definition(meamed),
    "phocas": Definition(phocas, ties=False),
    "bulyan": Definition(bulyan, lambda f: 4 * f + 3),
    "mda": Definition(mda, largest=11, ties=False),
    "norm_clipping": Definition(norm_clipping),
    "centered_clipping": Definition(centered_clipping),
    "cge": Definition(cge),
    "faba": Definition(faba, ties=False),
    "aksel": Definition(aksel),
    "monna": Definition(monna),
    "fltrust": Definition(fltrust, lambda f: 1, ties=False, within=1e-5),
}

WRONG: Mapping[str, Mapping[str, Any]] = {
    "krum": _krums(many=False),
    "multi_krum": _krums(many=True),
    "median": {
        "the lower of the two middle values (torch.median) where their mean is the median": _lower_median,
        "the upper of the two middle values where their mean is the median": _upper_median,
        "the plain mean": mean,
    },
    "trimmed_mean": {"the plain mean: nothing is trimmed": mean, "only the lowest values trimmed": _trimmed_once},
    "fedavg": {"equal weights where each client counts by its share of the examples": mean},
}
