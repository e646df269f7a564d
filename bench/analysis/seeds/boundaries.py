"""Group-sequential boundaries of the paired t test: what p a difference needs when one looks at the data several times.

Who looks after every seed and stops at the first p < 0.05 claims a false difference far more often than in 5 % of the
cases. A spending function says how much of the error alpha may be used up after n of N seeds (Lan & DeMets 1983,
Biometrika 70:659-663); here alpha (n / N)^rho (Kim & DeMets 1987, Biometrika 74:149-154). From it follows, look by
look, the nominal level that the t test must reach. The levels are exact for normal differences of unknown variance, as
those of Jennison & Turnbull 1991, Biometrika 78:133-141.

One variable is enough for that. Let R be the sum of n differences over the root of their sum of squares, which grows
with t. Under the null the differences, scaled to length 1, are a uniform point of a sphere. Given R after n + 1
differences, the last coordinate is v = R / (n + 1) + sqrt(1 - R^2 / (n + 1)) sqrt(n / (n + 1)) w with w a coordinate of
a uniform point of the unit sphere in n dimensions; before it, R was (R - v) / sqrt(1 - v^2). So the probability that no
boundary was crossed before, given R, is an integral over w of the same probability one seed earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

RHO = 2.0  # with 1 more of alpha is used up early, where differences of normal size cannot pass yet
LEAST = 1e-10  # alphas and p below are said to be this
_LEVELS = 41  # alphas for which boundaries are computed, evenly spaced on a logarithmic scale
_GRID = 49  # points of |R| within the boundary
_BEFORE = np.polynomial.legendre.leggauss(20)  # nodes and weights on [-1, 1], for the step to one seed earlier
_BELOW = np.polynomial.legendre.leggauss(16)  # for the p below a level
_DEEP = math.log(1e5)  # p smaller than a level by this factor add next to nothing to its probability
_NEWTON = 6

Values = NDArray[np.float64]
Spending = Callable[[Values, float], Values]  # (alphas, n / N) -> the error that may be used up by then


def power_family(alphas: Values, share: float) -> Values:
    """alpha share^rho: Kim & DeMets 1987."""
    return np.asarray(alphas * share**RHO, dtype=np.float64)


@dataclass(frozen=True)
class Boundaries:
    """The nominal two-sided level of the t test at each look, for many alphas.

    Attributes:
        looks: numbers of seeds after which the data are looked at, ascending.
        alphas: ``(levels,)`` ascending: the error of all looks together.
        nominal: ``(looks, levels)``: at this look the t test must give a p of at most this.
    """

    looks: tuple[int, ...]
    alphas: Values
    nominal: Values

    def level(self, look: int, alpha: float) -> float:
        """The nominal level at a look (its place)."""
        return float(np.exp(np.interp(np.log(alpha), np.log(self.alphas), np.log(self.nominal[look]))))

    def critical(self, look: int, alpha: float) -> float:
        """What |t| must reach at a look (its place)."""
        return float(-stdtrit(self.looks[look] - 1, self.level(look, alpha) / 2))

    def sequential_p(self, look: int, p: Values) -> Values:
        """The least alpha whose boundary a p of the t test reaches at this look (its place); NaN stays NaN."""
        known = np.log(np.maximum(np.asarray(p, dtype=np.float64), LEAST / 1e10))
        return np.asarray(np.exp(np.interp(known, np.log(self.nominal[look]), np.log(self.alphas))), dtype=np.float64)


@lru_cache(maxsize=64)
def boundaries(looks: tuple[int, ...], most: int, spending: Spending = power_family) -> Boundaries:
    """The levels at all looks.

    Args:
        looks: numbers of seeds, ascending, from 3 on.
        most: seeds after which all of alpha may be used up.
        spending: how much may be used up by when; more for a larger alpha at every look.

    Raises:
        ValueError: looks that are no ascending numbers from 2 to ``most``.
    """
    if not looks or looks[0] < 3 or looks[-1] > most or any(a >= b for a, b in pairwise(looks)):
        raise ValueError(f"looks are ascending numbers of seeds from 3 to {most}, got {looks}")
    alphas = np.geomspace(LEAST, 1.0, _LEVELS)
    past = _Past.none(looks[0], len(alphas))
    nominal, spent = [], np.zeros_like(alphas)
    for look in looks:
        while past.n < look - 1:
            past = past.unseen()
        so_far = spending(alphas, look / most)
        level = _level(past, look, so_far - spent)
        nominal.append(level)
        past, spent = past.after(_root(look, level)), so_far
    return Boundaries(looks, alphas, np.array(nominal))


@dataclass(frozen=True)
class _Past:
    """How likely no boundary was crossed up to n seeds, given R after n seeds.

    Attributes:
        n: seeds; before the first look there is no boundary, and ``chance`` is 1.
        cut: ``(levels,)`` the boundary of |R| at n.
        chance: ``(levels, points)`` at |R| = cut sin(angle), the angles evenly from 0 to 90 degrees: dense at the cut.
    """

    n: int
    cut: Values
    chance: Values

    @classmethod
    def none(cls, first: int, levels: int) -> _Past:
        return cls(first - 1, np.full(levels, math.sqrt(first - 1)), np.ones((levels, _GRID)))

    def unseen(self) -> _Past:
        """The same one seed later, without a look there: no boundary."""
        if (self.chance == 1).all():
            return _Past.none(self.n + 2, len(self.cut))
        return self.after(np.sqrt(1 + self.cut**2))  # beyond, |R| was at the cut one seed earlier

    def before(self, r: Values) -> Values:
        """How likely nothing was crossed up to n, given R after n + 1.

        Args:
            r: ``(levels, points)``, at least 0.
        """
        n, cut = self.n, self.cut[:, None]
        inside = np.maximum(1 + cut**2 - r**2, 0.0)
        middle, half = r / (1 + cut**2), cut * np.sqrt(inside) / (1 + cut**2)  # |R| < cut one seed earlier: these v
        centre, scale = r / (n + 1), np.sqrt(np.maximum(1 - r**2 / (n + 1), 1e-300) * n / (n + 1))
        widest = min(math.pi / 2, 9 / math.sqrt(n))  # beyond there is no mass
        low, high = (
            np.clip(np.arcsin(np.clip((v - centre) / scale, -1, 1)), -widest, widest)
            for v in (middle - half, middle + half)
        )
        nodes, weights = _BEFORE
        turn = (low + high)[..., None] / 2 + (high - low)[..., None] / 2 * nodes
        v = centre[..., None] + scale[..., None] * np.sin(turn)
        earlier = np.abs(r[..., None] - v) / np.sqrt(np.maximum(1 - v**2, 1e-300))
        density = math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2)) / math.sqrt(math.pi) if n > 1 else 0.0
        mass = density * np.cos(turn) ** (n - 2) * weights * (high - low)[..., None] / 2
        return np.asarray(np.where(inside > 0, (mass * self._at(earlier)).sum(-1), 0.0), dtype=np.float64)

    def after(self, cut: Values) -> _Past:
        """The same one seed later, where |R| at or above ``cut`` is a crossing."""
        r = np.sin(np.linspace(0, math.pi / 2, _GRID)) * cut[:, None]
        chance = np.ones_like(r) if self.n < 2 else self.before(r)
        return _Past(self.n + 1, cut, chance)

    def _at(self, r: Values) -> Values:
        """``chance`` between its points, by cubics through four of them."""
        place = np.arcsin(np.clip(r / self.cut[:, None, None], 0, 1)) * (2 / math.pi * (_GRID - 1))
        start = np.minimum(place.astype(np.int64), _GRID - 2)
        x = place - start
        # Even at both ends: in R, and in the angle at 90 degrees.
        padded: Values = np.concatenate([self.chance[:, 1:2], self.chance, self.chance[:, -2:-1]], axis=1)
        rows = np.arange(len(self.cut))[:, None, None]
        a, b, c, d = (padded[rows, start + i] for i in range(4))
        between: Values = (
            -a * x * (x - 1) * (x - 2) / 6
            + b * (x + 1) * (x - 1) * (x - 2) / 2
            - c * (x + 1) * x * (x - 2) / 2
            + d * (x + 1) * x * (x - 1) / 6
        )
        return between


def _level(past: _Past, n: int, allowed: Values) -> Values:
    """The p of the t test below which lies as much probability of no earlier crossing as is allowed, ``(levels,)``.

    Newton's method for log mass(log p); the mass below p is the integral of that probability over p.
    """
    nodes, weights = _BELOW
    log_p = wanted = np.log(np.clip(allowed, 1e-300, 1.0))
    if (past.chance == 1).all():  # no look before
        return np.asarray(np.exp(wanted), dtype=np.float64)
    crossed = _two_sided(n, np.sqrt(1 + past.cut**2))  # whoever has a p below that had crossed the boundary before
    for _ in range(_NEWTON):
        log_p = np.maximum(log_p, np.log(np.maximum(crossed, 1e-300)) + 1e-6)
        depth = np.minimum(log_p - np.log(np.maximum(crossed, 1e-300)), _DEEP)
        p = np.exp(log_p[:, None] + depth[:, None] * (nodes - 1) / 2)
        mass = (past.before(_root(n, p)) * p * weights).sum(-1) * depth / 2
        here = past.before(_root(n, np.exp(log_p))[:, None])[:, 0]
        slope = np.clip(here * np.exp(log_p) / np.maximum(mass, 1e-300), 0.5, 50.0)
        log_p = np.minimum(log_p + np.clip((wanted - np.log(np.maximum(mass, 1e-300))) / slope, -2, 2), 0.0)
    return np.asarray(np.exp(log_p), dtype=np.float64)


def _two_sided(n: int, r: Values) -> Values:
    """The two-sided p of |R|; 0 from its largest value on."""
    inside = np.minimum(r, math.sqrt(n) * (1 - 1e-15))
    t = inside * np.sqrt((n - 1) / (n - inside**2))
    return np.where(r < math.sqrt(n), 2 * stdtr(n - 1, -t), 0.0)


def _root(n: int, p: Values) -> Values:
    """|R| of a two-sided p: t = -t_(n - 1)(p / 2), R = t sqrt(n / (n - 1 + t^2))."""
    t = np.maximum(-stdtrit(n - 1, np.asarray(p, dtype=np.float64) / 2), 1e-9)  # no boundary is quite 0
    return np.asarray(math.sqrt(n) / np.sqrt(1 + (n - 1) / t**2), dtype=np.float64)
