"""Oracles of the rules that measure lengths and directions."""

from __future__ import annotations

from math import log

import numpy as np

from flipbench.conformance.oracles.by_coordinate import middle
from flipbench.conformance.oracles.definition import (
    ANGLES,
    ORIGIN,
    RADIUS,
    CohortValues,
    Numbers,
    average,
    clipped,
    cosine,
    definition,
    lowest,
    one,
    preaggregation,
)


def _lengths(rows: Numbers) -> list[float]:
    return [float(s) for s in np.linalg.norm(rows, axis=1)]


@definition(excused={"translation": ORIGIN})
def norm_clipping(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the rows clipped to the median norm."""
    return average(clipped(rows, middle(_lengths(rows))))


@definition()
def centered_clipping(rows: Numbers, cohort: CohortValues, steps: int = 1) -> Numbers:
    """The last update, moved by the mean of the differences from it, clipped to their median norm."""
    at = cohort.previous
    for _ in range(steps):
        at = at + norm_clipping(rows - at, cohort)
    return at


@definition(excused={"translation": ORIGIN})
def cge(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the n - f rows of least norm."""
    return average(rows[lowest((rows**2).sum(1), len(rows) - cohort.f)])


@definition(
    one,
    ties="ours",
    ulps=40,
    excused={"translation": ORIGIN, "unanimity": "answers at the length of the server's own update"},
)
def fltrust(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Rows at the length of the server's own update, weighted by the positive part of their cosine with it."""
    trust = [max(0.0, cosine(row, cohort.own)) for row in rows]
    if sum(trust) == 0:
        return np.zeros_like(cohort.own)
    goal = float(np.linalg.norm(cohort.own))
    scaled = [row * goal / (s or 1.0) for row, s in zip(rows, _lengths(rows), strict=True)]
    return np.asarray(sum(t / sum(trust) * row for t, row in zip(trust, scaled, strict=True)))


@definition(
    one,
    dims=(30,),
    ties="open",
    ulps=256,
    excused={
        "translation": ORIGIN,
        "unanimity": ANGLES,
        "malicious": "claims no bound: a single malicious client resembles no other",
    },
)
def foolsgold(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The first round: the rows weighted by `foolsgold_weights` of themselves."""
    shares = foolsgold_weights(rows)
    return np.asarray(shares @ rows / (shares.sum() or 1.0))


def foolsgold_weights(history: Numbers, kappa: float = 1.0) -> Numbers:
    """The weights of the clients from the sums of what they sent, before they are made to sum to 1."""
    n = len(history)
    alike = [[cosine(history[i], history[j]) if i != j else 0.0 for j in range(n)] for i in range(n)]
    most = [max(row) for row in alike]
    for i in range(n):
        for j in range(n):
            if most[j] > most[i]:
                alike[i][j] *= most[i] / most[j]
    a = [min(1.0, max(0.0, 1 - max(row))) for row in alike]
    top = max(a)
    out = []
    for v in a:
        share = v / top if top > 0 else v
        logit = 1.0 if share >= 1 else 0.0 if share <= 0 else kappa * (log(share / (1 - share)) + 0.5)
        out.append(min(1.0, max(0.0, logit)))
    return np.array(out)


@definition(
    options={"noise": 0.0},
    largest=20,
    dims=(30,),
    ties="open",
    excused={"translation": ORIGIN, "unanimity": "adds noise"},
)
def flame(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The first majority whose models hang together by cosine, clipped to the median norm, averaged; without noise."""
    n = len(rows)
    models = rows + cohort.model
    apart = [[1 - cosine(a, b) for b in models] for a in models]
    group = list(range(n))
    for reach in sorted({apart[i][j] for i in range(n) for j in range(i)}):
        group = list(range(n))
        for _ in range(n):
            for i in range(n):
                for j in range(n):
                    if apart[i][j] <= reach and group[j] < group[i]:
                        group[i] = group[j]
        if 2 * max(group.count(g) for g in group) > n:
            break
    best = max(group, key=group.count)
    admitted = [i for i in range(n) if group[i] == best or n == 1]
    return average(clipped(rows[admitted], middle(_lengths(rows))))


@definition(options={"share": 1.0}, excused={"translation": ORIGIN})
def signguard(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The norm band and the largest cluster of sign statistics, clipped to the median norm; all coordinates count."""
    n = len(rows)
    lengths = _lengths(rows)
    limit = middle(lengths)
    counts = np.stack([(rows > 0).sum(1), (rows == 0).sum(1), (rows < 0).sum(1)], axis=1).astype(np.float64)
    points = counts / np.maximum(counts.max(0), 1.0)
    apart = [sorted(float(np.linalg.norm(p - q)) for q in points) for p in points]
    width = sum(row[max(n // 2, 1) - 1] for row in apart) / n + 1e-12

    def within(point: Numbers) -> Numbers:
        return np.array([float(np.linalg.norm(point - q)) <= width for q in points])

    ends = []
    for start in points:
        point = start
        for _ in range(300):
            new = average(points[within(point)])
            moved, point = float(np.linalg.norm(point - new)), new
            if moved <= 1e-3 * width:
                break
        ends.append((point, int(within(point).sum())))
    modes: list[Numbers] = []
    for point, _ in sorted(ends, key=lambda end: -end[1]):
        if all(float(np.linalg.norm(point - m)) > width for m in modes):
            modes.append(point)
    label = []
    for q in points:
        away = [float(np.linalg.norm(q - m)) for m in modes]
        label.append(away.index(min(away)) if min(away) <= width else -1)
    best = max(range(len(modes)), key=lambda k: (label.count(k), -k))
    group = [i for i in range(n) if label[i] == best]
    both = [i for i in group if 0.1 * limit <= lengths[i] <= 3 * limit]
    return average(clipped(rows[both or group], limit))


@preaggregation(excused={"translation": ORIGIN})
def arc(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Rows clipped to the (k + 1)-th largest norm, k = floor(2 f (n - f) / n)."""
    n, f = len(rows), cohort.f
    return clipped(rows, sorted(_lengths(rows), reverse=True)[2 * f * (n - f) // n])


@preaggregation(excused={"translation": ORIGIN, "scale": RADIUS, "unanimity": RADIUS})
def clipping(rows: Numbers, cohort: CohortValues, radius: float) -> Numbers:
    """Rows clipped to a radius."""
    return clipped(rows, radius)
