"""Sequential runs: after each look, which rules of which columns of a table need another seed.

In every column the rules race for the best place (as in Maron & Moore 1994, NeurIPS 6, and Birattari et al. 2002,
GECCO, but with error control over all looks and all columns). Every comparison of two rules has a sequential p, the
smallest of its looks so far (`analysis.seeds.boundaries`), and Holm's correction goes over the comparisons of all
columns, as in a table of a fixed number of seeds. Sequential p values that shrink only keep the family-wise error of
Holm's procedure at its level however the looks stop (Ye et al. 2013, Statistics in Medicine 32:1112-1124; Maurer &
Bretz 2013, Statistics in Biopharmaceutical Research 5:311-320). A rule leaves its column when it is decided that
another one is better. A column ends when each comparison of its best rule with those still there is decided or
futile.

Futile: if the present trend is true, the comparison will be decided at the last look with a probability below 30 %
(conditional power; Lan & Wittes 1988, Biometrics 44:579-585). Stopping for futility cannot add false claims.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from flipbench.analysis import statistics
from flipbench.analysis.comparisons import compare
from flipbench.analysis.seeds.boundaries import boundaries
from flipbench.analysis.statistics import LEVEL, Values
from flipbench.spec.seed_plan import SeedPlan

FUTILE = 0.3

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Race:
    """Where a table stands.

    Attributes:
        running: ``(columns, rules)`` the rules that need another seed.
        decided: ``(columns, pairs)`` comparisons that are decided, pairs as `analysis.comparisons.compare` has them.
        compared: comparisons with a number, which are corrected together.
        seeds: at the look.
    """

    running: Mask
    decided: Mask
    compared: int
    seeds: int

    @property
    def over(self) -> bool:
        """Whether no seed is needed any more."""
        return not self.running.any()


def after_looks(values: Values, plan: SeedPlan, seeds: int) -> Race:
    """The race after all looks up to a number of seeds; each look sees the seeds before it alone.

    Args:
        values: ``(columns, rules, seeds)`` of a metric of which more is better, seeds in the order of the plan; NaN
            where there is no number.
        plan: least, most and steps.
        seeds: so far.
    """
    running: Mask = np.asarray(~np.isnan(values[..., : plan.least]).all(-1), dtype=bool)
    race, own = Race(running, np.zeros((len(values), 0), dtype=bool), 0, 0), values.copy()
    for look in plan.looks:
        if look <= seeds and not race.over:
            race = _at(own[..., :look], plan, look, race.running)
            own[~race.running, look:] = np.nan  # a clean twin may have more seeds than its own column asks for
    return race


def _at(values: Values, plan: SeedPlan, look: int, running: Mask) -> Race:
    """One look; rules that have left have no numbers after the look at which they did."""
    with statistics.sequential(plan):
        pairs = compare(values)
    decided = pairs.claimed
    there = pairs.n > 1
    loser = np.where(np.nan_to_num(statistics.moments(pairs.differences)[0]) < 0, pairs.first, pairs.second)
    left = np.zeros_like(running)
    column, pair = np.nonzero(decided)
    left[column, loser[column, pair]] = True
    stays = running & ~left
    if look < plan.most:
        live = there & ~decided & ~futile(pairs.differences, plan, decided, there)
        stays &= _open(values, stays, live, pairs.first, pairs.second)[:, None]
    else:
        stays[:] = False
    return Race(stays, decided, int(there.sum()), look)


def _open(values: Values, running: Mask, live: Mask, first: Places, second: Places) -> Mask:
    """Columns in which the best of the running rules has a live comparison with another one of them."""
    mean = np.where(running, statistics.moments(values)[0], np.nan)
    found = np.zeros(len(values), dtype=bool)
    for column in np.flatnonzero((~np.isnan(mean)).sum(-1) > 1):
        best = int(np.nanargmax(mean[column]))
        with_best = np.where(first == best, second, np.where(second == best, first, -1))
        rivals = (with_best >= 0) & running[column, with_best]
        found[column] = bool((rivals & live[column]).any())
    return found


def futile(differences: Values, plan: SeedPlan, decided: Mask, there: Mask) -> Mask:
    """Which comparisons will hardly be decided by the last look, if the present trend is true.

    With z the normal quantile of the t test's p, and share u = n / N of the seeds, z sqrt(u) is the path of a Brownian
    motion with drift z / sqrt(u); what is left is to pass the last boundary c, with probability
    Phi((z / sqrt(u) - c) / sqrt(1 - u)). c is that of the level which Holm's correction asks of the next comparison.

    Args:
        differences: ``(columns, pairs, seeds)``.
        plan: its last look is the end.
        decided, there: ``(columns, pairs)``: claimed by now; with a p.
    """
    mean, sd, n = statistics.moments(differences)
    error = sd / np.sqrt(np.maximum(n, 1))
    t = np.abs(mean) / np.maximum(error, 1e-300)
    z = np.where(t > 0, -ndtri(np.maximum(stdtr(np.maximum(n - 1, 1), -np.minimum(t, 1e15)), 1e-300)), 0.0)
    level = LEVEL / max(1, int((there & ~decided).sum()))
    last = boundaries(plan.looks, plan.most)
    critical = -float(ndtri(last.level(len(plan.looks) - 1, level) / 2))
    share = np.clip(n / plan.most, 1e-9, 1 - 1e-9)
    return np.asarray(ndtr((z / np.sqrt(share) - critical) / np.sqrt(1 - share)) < FUTILE, dtype=bool)
