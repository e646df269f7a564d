"""The rules beyond the mean, Krum and the coordinate-wise ones, once more: naive, in float64, after the definitions.

Nothing here is shared with the rules. Where a choice hangs on comparing sums (who is farthest from a mean), numbers are
exact fractions, so that ties are ties.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import log, sqrt

import numpy as np

Vector = list[float]
Rows = list[Vector]


def average(rows: Rows) -> Vector:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def square(a: Vector, b: Vector) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def dot(a: Vector, b: Vector) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    lengths = sqrt(dot(a, a)) * sqrt(dot(b, b))
    return dot(a, b) / lengths if lengths else 0.0


def middle(values: Vector) -> float:
    s, n = sorted(values), len(values)
    return s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2


def combine(shares: Vector, rows: Rows) -> Vector:
    return [sum(s * v for s, v in zip(shares, column, strict=True)) for column in zip(*rows, strict=True)]


def geometric_median(rows: Rows, f: int, weights: Vector) -> Vector:
    x, w = np.array(rows), np.array(weights)
    for k in range(len(x)):  # an update is the answer where the others cannot pull it away (Kuhn 1973)
        d = np.sqrt(((x - x[k]) ** 2).sum(1))
        pull = sum((w[i] * (x[i] - x[k]) / d[i] for i in range(len(x)) if d[i] > 0), np.zeros(x.shape[1]))
        if np.sqrt((pull**2).sum()) <= w[d == 0].sum():
            return x[k].tolist()
    y = w @ x
    for _ in range(100_000):
        d = np.maximum(np.sqrt(((x - y) ** 2).sum(1)), 1e-300)
        new = (w / d) @ x / (w / d).sum()
        if np.abs(new - y).max() < 1e-14:
            break
        y = new
    return y.tolist()


def phocas(rows: Rows, f: int, weights: Vector) -> Vector:
    out = []
    for column in zip(*rows, strict=True):
        exact = [Fraction(v) for v in column]
        inner = sorted(exact)[f : len(exact) - f]
        centre = sum(inner) / len(inner)
        near = sorted(exact, key=lambda v: (abs(v - centre), v))[: len(exact) - f]
        out.append(float(sum(near) / len(near)))
    return out


def bulyan(rows: Rows, f: int, weights: Vector) -> Vector:
    left, chosen = list(range(len(rows))), []
    while len(chosen) < len(rows) - 2 * f:
        count = max(len(left) - f - 2, 1)
        scores = [sum(sorted(square(rows[i], rows[j]) for j in left if j != i)[:count]) for i in left]
        winner = left[scores.index(min(scores))]
        chosen.append(winner)
        left.remove(winner)
    out = []
    for column in zip(*(rows[i] for i in sorted(chosen)), strict=True):
        centre = middle(list(column))
        near = sorted(column, key=lambda v: (abs(v - centre), v))[: len(rows) - 4 * f]
        out.append(sum(near) / len(near))
    return out


def mda(rows: Rows, f: int, weights: Vector) -> Vector:
    n = len(rows)
    apart = [[square(a, b) for b in rows] for a in rows]

    central = sorted(range(n), key=lambda i: (sum(apart[i]), i))

    def diameter(chosen: tuple[int, ...]) -> float:
        return max((apart[i][j] for i in chosen for j in chosen), default=0.0)

    return average([rows[i] for i in min(combinations(central, n - f), key=diameter)])


def clipped(rows: Rows, radius: float) -> Rows:
    lengths = [sqrt(dot(r, r)) for r in rows]
    return [[v * min(1.0, radius / s) if s else v for v in r] for r, s in zip(rows, lengths, strict=True)]


def norm_clipping(rows: Rows, f: int, weights: Vector) -> Vector:
    return average(clipped(rows, middle([sqrt(dot(r, r)) for r in rows])))


def centered_clipping(rows: Rows, f: int, weights: Vector, start: Vector | None = None, steps: int = 1) -> Vector:
    v = start or [0.0] * len(rows[0])
    for _ in range(steps):
        moves = [[a - b for a, b in zip(r, v, strict=True)] for r in rows]
        short = average(clipped(moves, middle([sqrt(dot(m, m)) for m in moves])))
        v = [a + b for a, b in zip(v, short, strict=True)]
    return v


def caf(rows: Rows, f: int, weights: Vector) -> Vector:
    x = np.array(rows)
    c, best, least = np.ones(len(x)), x.mean(0), np.inf
    while c.sum() > len(x) - 2 * f:
        mean = (c[:, None] * x).sum(0) / c.sum()
        apart = x - mean
        values, vectors = np.linalg.eigh((c[:, None] * apart).T @ apart / c.sum())
        if values[-1] < least:
            best, least = mean, values[-1]
        t = (apart @ vectors[:, -1]) ** 2
        c = c * np.maximum(1 - t / t[c > 0].max(), 0.0)
    return best.tolist()


def dnc(rows: Rows, f: int, weights: Vector) -> Vector:
    x = np.array(rows)
    apart = x - x.mean(0)
    t = (apart @ np.linalg.svd(apart, full_matrices=False)[2][0]) ** 2
    return average([rows[i] for i in sorted(range(len(x)), key=lambda i: (t[i], i))[: len(x) - f]])


def cge(rows: Rows, f: int, weights: Vector) -> Vector:
    order = sorted(range(len(rows)), key=lambda i: (dot(rows[i], rows[i]), i))
    return average([rows[i] for i in order[: len(rows) - f]])


def faba(rows: Rows, f: int, weights: Vector) -> Vector:
    left = list(range(len(rows)))
    for _ in range(f):
        exact = {i: [Fraction(v) for v in rows[i]] for i in left}
        mean = [sum(column) / len(left) for column in zip(*exact.values(), strict=True)]
        away = [sum((p - q) ** 2 for p, q in zip(exact[i], mean, strict=True)) for i in left]
        del left[away.index(max(away))]
    return average([rows[i] for i in left])


def aksel(rows: Rows, f: int, weights: Vector) -> Vector:
    centre = [middle(list(column)) for column in zip(*rows, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: (square(rows[i], centre), i))
    return average([rows[i] for i in order[: (len(rows) + 1) // 2]])


def monna(rows: Rows, f: int, own: Vector) -> Vector:
    order = sorted(range(len(rows)), key=lambda i: (square(rows[i], own), i))
    return average([rows[i] for i in order[: len(rows) - f]])


def fltrust(rows: Rows, own: Vector) -> Vector:
    trust = [max(0.0, cosine(r, own)) for r in rows]
    if sum(trust) == 0:
        return [0.0] * len(own)
    goal = sqrt(dot(own, own))
    scaled = [[v * goal / (sqrt(dot(r, r)) or 1.0) for v in r] for r in rows]
    return combine([t / sum(trust) for t in trust], scaled)


def foolsgold(rows: Rows, history: Rows, kappa: float = 1.0) -> Vector:
    """The weights of the clients, before they are made to sum to 1."""
    n = len(rows)
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
    return out


def flame(rows: Rows, f: int, weights: Vector) -> Vector:
    """Without the noise."""
    n = len(rows)
    links = sorted({1 - cosine(rows[i], rows[j]) for i in range(n) for j in range(i)})
    group = list(range(n))
    for reach in links:
        group = list(range(n))
        for _ in range(n):
            for i in range(n):
                for j in range(n):
                    if 1 - cosine(rows[i], rows[j]) <= reach and group[j] < group[i]:
                        group[i] = group[j]
        if 2 * max(group.count(g) for g in group) > n:
            break
    best = max(group, key=group.count)
    limit = middle([sqrt(dot(r, r)) for r in rows])
    admitted = [r for r, g in zip(rows, group, strict=True) if g == best or n == 1]
    return average(clipped(admitted, limit))


def lfighter(rows: Rows, f: int, classes: int, features: int, bias: bool) -> Vector:
    def part(row: Vector, c: int) -> Vector:
        return row[c * features : (c + 1) * features]

    def moves(c: int) -> float:
        biases = sum(abs(r[classes * features + c]) for r in rows) if bias else 0.0
        return sum(sqrt(dot(part(r, c), part(r, c))) for r in rows) + biases

    order = sorted(range(classes), key=lambda c: (moves(c), c))
    two = sorted(order[-2:]) if classes > 2 else range(classes)
    seen = [[v for c in two for v in part(r, c)] for r in rows]
    n = len(rows)
    pairs = [(square(seen[i], seen[j]), -i, -j) for i in range(n) for j in range(n)]
    _, a, b = max(pairs)
    centres = [seen[-a], seen[-b]]
    label = None
    while True:
        new = [0 if square(s, centres[0]) <= square(s, centres[1]) else 1 for s in seen]
        if len(set(new)) == 1:
            return average(rows)
        if new == label:
            break
        label = new
        centres = [average([s for s, g in zip(seen, label, strict=True) if g == k]) for k in (0, 1)]
    worth = []
    for k in (0, 1):
        own = [s for s, g in zip(seen, label, strict=True) if g == k]
        least = [min([0.0, *(cosine(s, t) for t in own if t is not s)]) for s in own]
        worth.append(len(own) / n * (1 - sum(least) / len(own)))
    keep = 0 if worth[0] >= worth[1] else 1
    return average([r for r, g in zip(rows, label, strict=True) if g == keep])


def signguard(rows: Rows, f: int, weights: Vector) -> Vector:
    """With all coordinates looked at."""
    n = len(rows)
    lengths = [sqrt(dot(r, r)) for r in rows]
    mid = middle(lengths)
    counts = [[sum(v > 0 for v in r), sum(v == 0 for v in r), sum(v < 0 for v in r)] for r in rows]
    top = [max(1, *column) if n > 1 else max(1, column[0]) for column in zip(*counts, strict=True)]
    points = [[c / t for c, t in zip(row, top, strict=True)] for row in counts]
    apart = [sorted(sqrt(square(p, q)) for q in points) for p in points]
    width = sum(row[max(n // 2, 1) - 1] for row in apart) / n + 1e-12
    ends = []
    for p in points:
        for _ in range(300):
            new = average([q for q in points if sqrt(square(p, q)) <= width])
            moved, p = sqrt(square(p, new)), new
            if moved <= 1e-3 * width:
                break
        ends.append((p, sum(sqrt(square(p, q)) <= width for q in points)))
    modes: Rows = []
    for p, _ in sorted(ends, key=lambda e: -e[1]):
        if all(sqrt(square(p, m)) > width for m in modes):
            modes.append(p)
    label = []
    for q in points:
        away = [sqrt(square(q, m)) for m in modes]
        label.append(away.index(min(away)) if min(away) <= width else -1)
    best = max(range(len(modes)), key=lambda k: (label.count(k), -k))
    group = [i for i in range(n) if label[i] == best]
    both = [i for i in group if 0.1 * mid <= lengths[i] <= 3 * mid]
    return average(clipped([rows[i] for i in both or group], mid))


def weighted_median(rows: Rows, f: int, weights: Vector) -> Vector:
    out = []
    for column in zip(*rows, strict=True):
        pairs, below = sorted(zip(column, weights, strict=True)), 0.0
        for k, (value, w) in enumerate(pairs):
            below += w
            if abs(below - 0.5) < 1e-6 and k + 1 < len(pairs):
                out.append((value + pairs[k + 1][0]) / 2)
                break
            if below >= 0.5 - 1e-6:
                out.append(value)
                break
    return out


def weighted_trimmed_mean(rows: Rows, f: int, weights: Vector) -> Vector:
    cut = sum(sorted(weights)[len(weights) - f :])
    out = []
    for column in zip(*rows, strict=True):
        pairs = sorted([v, w] for v, w in zip(column, weights, strict=True))
        for end in (pairs, pairs[::-1]):  # the inner lists are the same: what is taken from one side is gone
            owed = cut
            for pair in end:
                taken = min(owed, pair[1])
                pair[1] -= taken
                owed -= taken
        out.append(sum(v * w for v, w in pairs) / sum(w for _, w in pairs))
    return out


def nnm(rows: Rows, f: int) -> Rows:
    out = []
    for r in rows:
        order = sorted(range(len(rows)), key=lambda j: (square(r, rows[j]), j))
        out.append(average([rows[j] for j in order[: len(rows) - f]]))
    return out


def arc(rows: Rows, f: int) -> Rows:
    n = len(rows)
    return clipped(rows, sorted((sqrt(dot(r, r)) for r in rows), reverse=True)[int(Fraction(2 * f * (n - f), n))])
