"""Every aggregation rule once more: naive, in float64, with Python loops, after the published definition.

Nothing here is shared with the rules or between their definitions beyond the plainest arithmetic.
"""

from __future__ import annotations

from itertools import combinations
from math import sqrt

Vector = list[float]
Rows = list[Vector]


def _mean(rows: Rows) -> Vector:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _square(a: Vector, b: Vector) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def _norm(a: Vector) -> float:
    return sqrt(sum(p * p for p in a))


def _middle(values: Vector) -> float:
    s, n = sorted(values), len(values)
    return s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2


def fedavg(rows: Rows, f: int, weights: Vector) -> Vector:
    return [sum(w * v for w, v in zip(weights, column, strict=True)) for column in zip(*rows, strict=True)]


def mean(rows: Rows, f: int, weights: Vector) -> Vector:
    return _mean(rows)


def median(rows: Rows, f: int, weights: Vector) -> Vector:
    return [_middle(list(column)) for column in zip(*rows, strict=True)]


def lower_median(rows: Rows, f: int, weights: Vector) -> Vector:
    return [sorted(column)[(len(column) - 1) // 2] for column in zip(*rows, strict=True)]


def trimmed_mean(rows: Rows, f: int, weights: Vector) -> Vector:
    out = []
    for column in zip(*rows, strict=True):
        left = list(column)
        for _ in range(f):
            left.remove(min(left))
            left.remove(max(left))
        out.append(sum(left) / len(left))
    return out


def krum_scores(rows: Rows, f: int, neighbours: int | None = None, power: float = 2) -> Vector:
    n = len(rows)
    count = n - f - 2 if neighbours is None else neighbours
    near = [sorted(sqrt(_square(rows[i], rows[j])) ** power for j in range(n) if j != i) for i in range(n)]
    if power == 2:
        near = [sorted(_square(rows[i], rows[j]) for j in range(n) if j != i) for i in range(n)]
    return [sum(one[:count]) for one in near]


def krum(rows: Rows, f: int, weights: Vector, power: float = 2) -> Vector:
    scores = krum_scores(rows, f, power=power)
    return rows[scores.index(min(scores))]


def multi_krum(rows: Rows, f: int, weights: Vector, keep: int | None = None, power: float = 2) -> Vector:
    scores = krum_scores(rows, f, power=power)
    order = sorted(range(len(rows)), key=lambda i: (scores[i], i))
    return _mean([rows[i] for i in order[: keep or len(rows) - f - 2]])


def meamed(rows: Rows, f: int, weights: Vector) -> Vector:
    out = []
    for column in zip(*rows, strict=True):
        centre = _middle(list(column))
        near = sorted(column, key=lambda v: (abs(v - centre), v))[: len(rows) - f]
        out.append(sum(near) / len(near))
    return out


def mda(rows: Rows, f: int, weights: Vector) -> Vector:
    def diameter(chosen: tuple[int, ...]) -> float:
        return max((_square(rows[i], rows[j]) for i in chosen for j in chosen), default=0.0)

    return _mean([rows[i] for i in min(combinations(range(len(rows)), len(rows) - f), key=diameter)])
