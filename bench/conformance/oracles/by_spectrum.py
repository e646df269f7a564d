"""Oracles of the rules that look along leading directions, or at the output layer."""

from __future__ import annotations

import numpy as np

from flipbench.conformance.oracles.by_distance import squared_distances
from flipbench.conformance.oracles.definition import (
    ORIGIN,
    CohortValues,
    Numbers,
    average,
    cosine,
    definition,
    lowest,
    one,
)


@definition(ties="open", ulps=256)
def caf(rows: Numbers, cohort: CohortValues) -> Numbers:
    """Of a series of filtered means, the one of least variance along its leading direction."""
    c, best, least = np.ones(len(rows)), rows.mean(0), np.inf
    while c.sum() > len(rows) - 2 * cohort.f:
        mean = (c[:, None] * rows).sum(0) / c.sum()
        apart = rows - mean
        values, vectors = np.linalg.eigh((c[:, None] * apart).T @ apart / c.sum())
        if values[-1] < least:
            best, least = mean, values[-1]
        t = (apart @ vectors[:, -1]) ** 2
        if t[c > 0].max() <= 0:  # no client differs any more
            break
        c = c * np.maximum(1 - t / t[c > 0].max(), 0.0)
    return np.asarray(best)


@definition(
    ties="open",
    excused={
        "malicious": "drops along one direction, from a mean that malicious clients move: some that disagree pass"
    },
)
def dnc(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean without the f largest squared projections on the leading direction; all coordinates count."""
    apart = rows - rows.mean(0)
    t = (apart @ np.linalg.svd(apart, full_matrices=False)[2][0]) ** 2
    return average(rows[lowest(t, len(rows) - cohort.f)])


@definition(
    one,
    options={"starts": 1},
    ties="open",
    excused={
        "translation": ORIGIN,
        "malicious": "looks at the output layer alone: an update changed elsewhere passes",
    },
)
def lfighter(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The mean of the better of two groups, by the rows of the output layer that move most; k-means starts once."""
    seen = _movements(rows, cohort)
    n = len(rows)
    apart = squared_distances(seen)
    a, b = divmod(int(apart.argmax()), n)
    centres = [seen[a], seen[b]]
    label: list[int] = []
    while True:
        new = [int(((s - centres[0]) ** 2).sum() > ((s - centres[1]) ** 2).sum()) for s in seen]
        if len(set(new)) == 1:
            return average(rows)
        if new == label:
            break
        label = new
        centres = [average(seen[np.array(label) == k]) for k in (0, 1)]
    worth = []
    for k in (0, 1):
        own = [s for s, g in zip(seen, label, strict=True) if g == k]
        least = [min([0.0, *(cosine(s, t) for t in own if t is not s)]) for s in own]
        worth.append(len(own) / n * (1 - sum(least) / len(own)))
    return average(rows[np.array(label) == (0 if worth[0] >= worth[1] else 1)])


def _movements(rows: Numbers, cohort: CohortValues) -> Numbers:
    """The rows of the two classes of the output layer that move most, ``(clients, 2 features)``."""
    parameters = list(cohort.layout.values())
    last = max(k for k, (_, shape) in enumerate(parameters) if len(shape) == 2)
    place, (classes, features) = parameters[last]
    weights = rows[:, place].reshape(len(rows), classes, features)
    if classes <= 2:
        return weights.reshape(len(rows), -1)
    moved = np.linalg.norm(weights, axis=2).sum(0)
    if last + 1 < len(parameters) and parameters[last + 1][1] == (classes,):
        moved = moved + np.abs(rows[:, parameters[last + 1][0]]).sum(0)
    two = sorted(lowest(moved, classes)[-2:])
    return np.asarray(weights[:, two].reshape(len(rows), -1))
