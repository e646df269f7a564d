"""Oracles of averages and of the rules that treat each coordinate on its own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from flipbench.conformance.oracles.definition import CohortValues, Numbers, average, definition, one

_EQUAL = 1e-6  # weights come as float32


def _mean(rows: Numbers, cohort: CohortValues) -> Numbers:
    return average(rows)


@definition(one, robust=False, misread={"equal weights where each client counts by its share of the examples": _mean})
def fedavg(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Sum of w_i x_i."""
    return np.array([sum(w * v for w, v in zip(cohort.weights, column, strict=True)) for column in rows.T])


@definition(one, robust=False)
def mean(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The plain mean."""
    return average(rows)


def middle(values: list[float]) -> float:
    """The median of some numbers; of an even count the mean of the two middle ones."""
    s, n = sorted(values), len(values)
    return s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2


def lower_median(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate the lower of the two middle values (``median(middle="lower")``)."""
    return np.array([sorted(column)[(len(column) - 1) // 2] for column in rows.T.tolist()])


def _upper_median(rows: Numbers, cohort: CohortValues) -> Numbers:
    return np.array([sorted(column)[len(column) // 2] for column in rows.T.tolist()])


@definition(
    misread={
        "the lower of the two middle values (torch.median) where their mean is the median": lower_median,
        "the upper of the two middle values where their mean is the median": _upper_median,
        "the plain mean": _mean,
    }
)
def median(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate; even n: the mean of the two middle values."""
    return np.array([middle(column) for column in rows.T.tolist()])


def _trimmed_below(rows: Numbers, cohort: CohortValues) -> Numbers:
    return average(np.sort(rows, axis=0)[cohort.f :])


@definition(
    misread={"the plain mean: nothing is trimmed": _mean, "only the lowest values trimmed": _trimmed_below},
)
def trimmed_mean(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate, without the f lowest and the f highest."""
    out = []
    for column in rows.T.tolist():
        for _ in range(cohort.f):
            column.remove(min(column))
            column.remove(max(column))
        out.append(sum(column) / len(column))
    return np.array(out)


@definition()
def meamed(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate the mean of the n - f values nearest to the median; equally near: the lower."""
    return nearest(rows, len(rows) - cohort.f)


def nearest(rows: Numbers, keep: int) -> Numbers:
    """Per coordinate the mean of the ``keep`` values nearest to the median; equally near: the lower."""
    ranked = np.sort(rows, axis=0)
    far = np.abs(ranked - np.median(ranked, axis=0))
    near = np.sort(np.argsort(far, axis=0, kind="stable")[:keep], axis=0)
    return average(np.take_along_axis(ranked, near, 0))


@definition(ties="ours")
def phocas(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate the mean of the n - f values nearest to the trimmed mean; in exact fractions, for the ties."""
    out = []
    for column in rows.T.tolist():
        exact = [Fraction(v) for v in column]
        inner = sorted(exact)[cohort.f : len(exact) - cohort.f]
        centre = sum(inner, Fraction(0)) / len(inner)
        near = sorted(exact, key=lambda v: (abs(v - centre), v))[: len(exact) - cohort.f]
        out.append(float(sum(near, Fraction(0)) / len(near)))
    return np.array(out)


def _clients_of_weighted(f: int) -> int:
    """Weights of the tests lie between 0.1 and 1.1: f of 12 f + 1 clients never hold half of them."""
    return 12 * f + 1


@definition(_clients_of_weighted, exact=False)
def weighted_median(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate the value at which the weight of the lower ones reaches one half."""
    out = []
    for column in rows.T.tolist():
        pairs, below = sorted(zip(column, cohort.weights.tolist(), strict=True)), 0.0
        for k, (value, w) in enumerate(pairs):
            below += w
            if abs(below - 0.5) < _EQUAL and k + 1 < len(pairs):
                out.append((value + pairs[k + 1][0]) / 2)
                break
            if below >= 0.5 - _EQUAL:
                out.append(value)
                break
    return np.array(out)


@definition(_clients_of_weighted, exact=False, ulps=64)
def weighted_trimmed_mean(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Per coordinate the weighted mean without the weight of the f heaviest clients at either end."""
    cut = sum(sorted(cohort.weights.tolist())[len(rows) - cohort.f :])
    out = []
    for column in rows.T.tolist():
        pairs = sorted([v, w] for v, w in zip(column, cohort.weights.tolist(), strict=True))
        for end in (pairs, pairs[::-1]):  # the inner lists are the same: what is taken from one side is gone
            owed = cut
            for pair in end:
                taken = min(owed, pair[1])
                pair[1] -= taken
                owed -= taken
        out.append(sum(v * w for v, w in pairs) / sum(w for _, w in pairs))
    return np.array(out)
