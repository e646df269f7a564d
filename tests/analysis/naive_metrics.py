"""Every metric as a loop over Python integers; nothing is shared with the code under test."""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = list[list[int]]
Pairs = list[tuple[int, int]]


def mean_of(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else math.nan


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def recall_of(c: Matrix, k: int) -> float | None:
    return share(c[k][k], sum(c[k]))


def f1_of(c: Matrix, k: int) -> float | None:
    if not sum(c[k]):
        return None
    precision = share(c[k][k], sum(row[k] for row in c)) or 0.0
    sensitivity = c[k][k] / sum(c[k])
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def naive(name: str, c: Matrix, pairs: Pairs | None) -> float:
    n = len(c)
    each = [recall_of(c, k) for k in range(n)]
    if name == "accuracy":
        return mean_of([share(sum(c[k][k] for k in range(n)), sum(map(sum, c)))])
    if name == "balanced_accuracy":
        return mean_of(each)
    if name == "macro_f1":
        return mean_of([f1_of(c, k) for k in range(n)])
    if name == "worst_recall":
        known = [r for r in each if r is not None]
        return min(known) if known else math.nan
    if not pairs:
        return math.nan
    sources, targets = {s for s, _ in pairs}, {t for _, t in pairs}
    if name == "source_recall":
        return mean_of([each[s] for s in sources])
    if name == "attack_success_rate":
        return mean_of([share(c[s][t], sum(c[s])) for s, t in pairs])
    if name == "target_precision":
        return mean_of([share(c[t][t], sum(row[t] for row in c)) for t in targets])
    assert name == "collateral"
    rest = [k for k in range(n) if k not in sources]
    return mean_of([share(sum(c[k][k] for k in rest), sum(sum(c[k]) for k in rest))])
