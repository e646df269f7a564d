"""Every update attack once more: naive, in float64, with Python loops, after the published definition.

Nothing here is shared with the attacks; the strengths that the attacks know in closed form are found by halving, as
the papers do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf, sqrt

Vector = list[float]
Rows = list[Vector]


def _mean(rows: Rows) -> Vector:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _deviation(rows: Rows) -> Vector:
    out = []
    for column in zip(*rows, strict=True):
        middle = sum(column) / len(column)
        out.append(sqrt(sum((v - middle) ** 2 for v in column) / len(column)))
    return out


def _square(a: Vector, b: Vector) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def _sign(value: float) -> float:
    return (value > 0) - (value < 0)


def sign_flip(own: Rows, scale: float) -> Rows:
    return [[-scale * v for v in row] for row in own]


def scaled(honest: Rows, own: Rows, factor: float | None) -> Rows:
    times = (len(honest) + len(own)) / len(own) if factor is None else factor
    return [[times * v for v in row] for row in own]


def ipm(honest: Rows, epsilon: float) -> Vector:
    return [-epsilon * v for v in _mean(honest)]


def alie_z(n: int, m: int) -> float:
    """The largest z with Phi(z) < (n - m - s)/(n - m), by halving; 0 where that is below 0."""
    s = int(n / 2 + 1) - m
    low, high = 0.0, 40.0
    for _ in range(200):
        z = (low + high) / 2
        if (1 + erf(z / sqrt(2))) / 2 < (n - m - s) / (n - m):
            low = z
        else:
            high = z
    return low


def alie(honest: Rows, z: float) -> Vector:
    return [u - z * s for u, s in zip(_mean(honest), _deviation(honest), strict=True)]


def perturbation(honest: Rows, kind: str) -> Vector:
    mean = _mean(honest)
    if kind == "std":
        return [-s for s in _deviation(honest)]
    if kind == "sign":
        return [-_sign(v) for v in mean]
    length = sqrt(sum(v * v for v in mean))
    return [-v / length if length else 0.0 for v in mean]


def _largest(allowed: Callable[[float], bool]) -> float:
    """The largest strength that is allowed, where all smaller ones are."""
    low, high = 0.0, 1e-6
    while allowed(high) and high < 1e12:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if allowed(middle):
            low = middle
        else:
            high = middle
    return low


def min_max(honest: Rows, kind: str) -> Vector:
    mean, p = _mean(honest), perturbation(honest, kind)
    most = max(_square(a, b) for a in honest for b in honest)

    def sent(gamma: float) -> Vector:
        return [u + gamma * v for u, v in zip(mean, p, strict=True)]

    return sent(_largest(lambda g: max(_square(sent(g), x) for x in honest) <= most) if any(p) else 0.0)


def min_sum(honest: Rows, kind: str, bound: Callable[..., float] = max) -> Vector:
    mean, p = _mean(honest), perturbation(honest, kind)
    most = bound(sum(_square(a, b) for b in honest) for a in honest)

    def sent(gamma: float) -> Vector:
        return [u + gamma * v for u, v in zip(mean, p, strict=True)]

    return sent(_largest(lambda g: sum(_square(sent(g), x) for x in honest) <= most) if any(p) else 0.0)


def krum_winner(rows: Rows, f: int) -> int:
    n = len(rows)
    scores = []
    for i in range(n):
        near = sorted(_square(rows[i], rows[j]) for j in range(n) if j != i)
        scores.append(sum(near[: n - f - 2]))
    return scores.index(min(scores))


def fang_krum(honest: Rows, own: Rows, threshold: float) -> Vector:
    """Theorem 1's bound, halved until Krum chooses a malicious client or the threshold is reached."""
    m, n = len(own), len(honest) + len(own)
    everyone = honest + own
    s = [_sign(v) for v in everyone[krum_winner(everyone, m)]]
    d = sum(1 for v in s if v)
    zero = [0.0] * len(s)
    if not d:
        return zero
    closest = []
    for i, x in enumerate(honest):
        near = sorted(_square(x, y) for j, y in enumerate(honest) if j != i)
        closest.append(sum(near[: n - m - 2]))
    strength = sqrt(min(closest) / ((n - 2 * m - 1) * d)) + max(sqrt(_square(x, zero)) for x in honest) / sqrt(d)
    while strength > threshold:
        row = [-strength * v for v in s]
        if krum_winner(honest + [row] * m, m) >= len(honest):
            return row
        strength /= 2
    return [-strength * v for v in s]


def fang_interval(honest: Rows, own: Rows, spread: float) -> list[tuple[float, float]]:
    """From where to where each coordinate may be drawn."""
    out = []
    for j in range(len(honest[0])):
        values = [row[j] for row in honest]
        everyone = values + [row[j] for row in own]
        if sum(everyone) < 0:
            edge = max(values)
            out.append((edge, spread * edge) if edge > 0 else (edge, edge / spread))
        else:
            edge = min(values)
            out.append((edge / spread, edge) if edge > 0 else (spread * edge, edge))
    return out


def mimicked(rounds: list[Rows], start: Vector) -> tuple[int, Vector]:
    """The honest client that mimic settles on after these rounds and z, from the direction that it starts with."""
    z, mu = start, [0.0] * len(start)
    for t, honest in enumerate(rounds):
        mean = _mean(honest)
        mu = [t / (1 + t) * a + b / (1 + t) for a, b in zip(mu, mean, strict=True)]
        step = [0.0] * len(z)
        for x in honest:
            away = [a - b for a, b in zip(x, mu, strict=True)]
            along = sum(a * b for a, b in zip(away, z, strict=True))
            step = [s + along * a for s, a in zip(step, away, strict=True)]
        length = sqrt(sum(v * v for v in step))
        z = [t / (1 + t) * a + b / length / (1 + t) for a, b in zip(z, step, strict=True)]
        length = sqrt(sum(v * v for v in z))
        z = [v / length for v in z]
    last = [sum(a * b for a, b in zip(x, z, strict=True)) for x in rounds[-1]]
    return last.index(max(last)), z
