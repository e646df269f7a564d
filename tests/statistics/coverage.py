"""Do the intervals cover and the corrected tests keep their level? Simulations of which the truth is known.

    python tests/statistics/coverage.py [SIMULATIONS]

prints one line a claim: what, how often, and the range that it must lie in. Exit code 1 where one lies outside. Ranges
are those promised (95 % intervals: 93-97 %; corrected tests: at most 5 %), widened by three standard errors of the
simulation. `tests/test_statistics.py` runs the same with fewer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipbench.analysis import rank_tests, statistics
from flipbench.analysis.rounds import stability
from flipbench.analysis.seeds import race
from flipbench.spec.seed_plan import SeedPlan
from tests.statistics import sequential_savings, share_intervals, tuned_choice

SIMULATIONS = 10_000
RULES, COLUMNS = 4, 6  # of a simulated table
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """One claim, measured."""

    what: str
    share: float
    low: float
    high: float
    simulations: int

    @property
    def holds(self) -> bool:
        """Whether the share lies in its range, give or take three standard errors."""
        worst = max(self.low * (1 - self.low), self.high * (1 - self.high))
        room = 3 * float(np.sqrt(worst / self.simulations))
        return self.low - room <= self.share <= self.high + room

    def __str__(self) -> str:
        sign = "ok" if self.holds else "NO"
        return f"{sign}  {100 * self.share:6.2f} %  in [{100 * self.low:.0f}, {100 * self.high:.0f}]  {self.what}"


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return rng.standard_normal(shape)


def accuracies(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Shares like accuracies near 90 %, skewed to the left, minus their mean (by quadrature): the truth is 0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = float((weights / weights.sum() / (1 + np.exp(-(2.2 + 0.4 * nodes)))).sum())
    return 1 / (1 + np.exp(-(2.2 + 0.4 * rng.standard_normal(shape)))) - truth


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Differences with outliers: Student's t on 3 degrees, symmetric."""
    return rng.standard_t(3, shape)


def covered(ends: tuple[Values, Values]) -> float:
    return float(((ends[0] <= 0) & (ends[1] >= 0)).mean())


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Differences with a long tail on one side: gamma with shape 4, minus its mean (skewness 1)."""
    return rng.gamma(4.0, size=shape) - 4.0


DRAWN = (("normal", normal), ("accuracies", accuracies), ("skewed", skewed), ("heavy tails", heavy))


def intervals(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    for name, draw in DRAWN:
        for n in (3, 5, 10, 30):
            share = covered(statistics.student_interval(draw(rng, (simulations, n))))
            yield Found(f"Student's interval covers the mean, {name}, {n} seeds", share, 0.93, 0.97, simulations)


def shares(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """The interval that tables show of shares, and others beside it, which are not judged."""
    for name, a, b in share_intervals.DRAWN:
        for n in (3, 6, 10):
            drawn, truth = rng.beta(a, b, (simulations, n)), a / (a + b)
            for what, of in (("Wilson's, as shown,", statistics.share_interval), *share_intervals.OTHERS):
                low, high = of(drawn)
                share = float(((low <= truth + 1e-12) & (high >= truth - 1e-12)).mean())
                long = f"{100 * float((high - low).mean()):.1f} points long"
                text = f"{what} covers a mean share, {name}, {n} seeds; {long}"
                judged = (0.93, 0.97) if of is statistics.share_interval else (0.0, 1.0)
                yield Found(text, share, *judged, simulations)


def alarms(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """A steady run that is called unstable: five rounds of one accuracy, each with other test images and 1 point more
    of noise, which is more than real rounds have, whose test images are the same."""
    for images in (100, 400, 1000, 10_000):
        for accuracy in (0.5, 0.9):
            p = np.clip(accuracy + 0.01 * rng.standard_normal((simulations, 5)), 0, 1)
            kinds = stability.classes(rng.binomial(images, p) / images, stability.threshold([float(images)]), True)
            what = f"a steady run near {100 * accuracy:.0f} % is called unstable, {images:,} test images"
            yield Found(what, float((kinds != stability.STEADY).mean()), 0.0, 0.01, simulations)


def tests(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    for name, draw, n in (("normal", normal, 3), ("normal", normal, 10), ("heavy tails", heavy, 10)):
        share = float((statistics.paired_t(draw(rng, (simulations, n))) < 0.05).mean())
        low = 0.045 if name == "normal" else 0.0
        yield Found(f"paired t rejects a true null, {name}, {n} seeds", share, low, 0.05, simulations)
    for n in (6, 10, 20):
        share = float((rank_tests.wilcoxon(heavy(rng, (simulations, n))) < 0.05).mean())
        yield Found(f"signed-rank test rejects a true null, heavy tails, {n} seeds", share, 0.0, 0.05, simulations)


def table(rng: np.random.Generator, seeds: int, effect: Values) -> Values:
    """Differences of every pair of rules in every column ``(columns, pairs, seeds)``; seeds shift all rules alike."""
    shared = rng.standard_normal((1, 1, seeds))  # a seed's federation is easy or hard for everybody
    column = rng.standard_normal((COLUMNS, 1, seeds))
    scores = effect[:, :, None] + shared + column + rng.standard_normal((COLUMNS, RULES, seeds))
    first, second = np.triu_indices(RULES, 1)
    return scores[:, first] - scores[:, second]


def families(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """The family-wise error: any false claim in a whole table, once with nothing to find and once with something."""
    first, second = np.triu_indices(RULES, 1)
    some = np.zeros((COLUMNS, RULES))
    some[:, 0] = 2.0  # one rule is better everywhere; the others are alike
    alike: Callable[[Values], NDArray[np.bool_]] = lambda e: e[:, first] == e[:, second]  # noqa: E731
    for name, effect in (("no rule differs", np.zeros((COLUMNS, RULES))), ("one rule differs", some)):
        null, wrong_t, wrong_w = alike(effect), 0, 0
        for _ in range(simulations):
            d = table(rng, 10, effect)
            wrong_t += bool((statistics.holm(statistics.paired_t(d)) < 0.05)[null].any())
            wrong_w += bool((statistics.holm(rank_tests.wilcoxon(d)) < 0.05)[null].any())
        what = f"a table of {RULES} rules x {COLUMNS} columns claims a false difference, {name}"
        yield Found(f"{what}, paired t, Holm", wrong_t / simulations, 0.0, 0.05, simulations)
        yield Found(f"{what}, signed rank, Holm", wrong_w / simulations, 0.0, 0.05, simulations)


def diagrams(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """The rank diagram: any two rules told apart though all are alike; settings of one seed hang together."""
    for seeds in (5, 10):
        critical, wrong = rank_tests.critical_difference(RULES, seeds), 0
        for _ in range(simulations):
            scores = rng.standard_normal((seeds, 1, RULES)) + rng.standard_normal((seeds, COLUMNS, RULES))
            mean = rank_tests.ranks(scores).mean((0, 1))
            wrong += bool(np.ptp(mean) > critical)
        what = f"the rank diagram of {RULES} alike rules tells two apart, {seeds} seeds"
        yield Found(what, wrong / simulations, 0.0, 0.05, simulations)


def tuned(simulations: int, rng: np.random.Generator) -> Iterator[Found | tuned_choice.Bias]:
    """After tuning on seeds of their own: intervals cover, and reported accuracies are not too good."""
    for name, covered, biases in tuned_choice.coverages(simulations, rng):
        what = f"Student's interval covers the accuracy of a tuned rule, {name}, {tuned_choice.REPORTED} seeds"
        yield Found(what, covered, 0.93, 0.97, simulations)
        yield from biases


def sequential(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """The family-wise error of sequential runs in which no two rules differ: stopped as they are, and never stopped."""
    plan, simulations = SeedPlan(4, 20), simulations if simulations >= 1000 else simulations // 4
    first, second = np.triu_indices(RULES, 1)
    stopped = never = 0
    for _ in range(simulations):
        scores = rng.standard_normal((COLUMNS, 1, plan.most)) + rng.standard_normal((COLUMNS, RULES, plan.most))
        stopped += bool(race.after_looks(scores, plan, plan.most).decided.any())
        with statistics.sequential(plan):
            never += bool((statistics.holm(statistics.paired_t(scores[:, first] - scores[:, second])) < 0.05).any())
    what = f"a sequential run of {RULES} rules x {COLUMNS} columns, 4 to 20 seeds, claims a false difference"
    yield Found(what, stopped / simulations, 0.0, 0.05, simulations)
    yield Found(f"{what}, looked at 17 times without a stop", never / simulations, 0.0, 0.05, simulations)


def savings(simulations: int, rng: np.random.Generator) -> Iterator[Found]:
    """The cells that sequential runs of the shipped grids save; too slow for a few simulations."""
    runs = min(10, simulations // 1000)
    if runs:
        share, each = sequential_savings.over_grids(runs, SeedPlan(4, 20), rng)
        listed = ", ".join(f"{grid} {100 * own:.0f}" for grid, own in each.items())
        yield Found(f"cells saved by 4 to 20 seeds, against 20 for all ({listed} %)", share, 0.40, 1.0, runs * 1000)


def measure(simulations: int, seed: int = 0) -> Iterator[Found | tuned_choice.Bias]:
    """All claims."""
    rng = np.random.default_rng(seed)
    for part in (intervals, shares, alarms, tests, families, diagrams, tuned, sequential, savings):
        yield from part(simulations, rng)


def main() -> int:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS
    print(f"{simulations:,} simulations each")
    wrong = 0
    for found in measure(simulations):
        print(found, flush=True)
        wrong += not found.holds
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
