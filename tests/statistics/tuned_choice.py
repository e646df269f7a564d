"""Tuning, simulated: a score of known truth, a choice on seeds of its own, and the report on other seeds.

Every candidate has a true mean under every attack. A seed makes all cells easier or harder alike, and each cell has
noise of its own; validation examples are fewer than test examples, so their shares scatter more. The choice is
`choice.pick` and the interval that of every table. "Equal candidates" is the case in which choosing the highest score
means choosing the luckiest one; "one is better" the ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipbench.analysis import statistics
from flipbench.analysis.settings.choice import pick

Values = NDArray[np.float64]
ATTACKS, CANDIDATES, TRIED, REPORTED = 4, 5, 6, 10
SAME = 3  # seeds of who chooses and reports on the same ones, as published studies have them
SHARED, OWN, VALIDATION = 0.02, 0.03, 0.015  # deviations: of a seed, of a cell in it, of few validation examples


@dataclass(frozen=True)
class Bias:
    """A mean error in points.

    Attributes:
        what: in words.
        points: measured, of simulations.
        low, high: the range that it must lie in.
        error: standard error of the simulation.
    """

    what: str
    points: float
    low: float
    high: float
    error: float

    @property
    def holds(self) -> bool:
        """Whether it lies in its range, give or take three standard errors."""
        return self.low - 3 * self.error <= self.points <= self.high + 3 * self.error

    def __str__(self) -> str:
        sign = "ok" if self.holds else "NO"
        return f"{sign}  {self.points:+6.2f} points in [{self.low:g}, {self.high:g}]  {self.what}"


def truth(name: str) -> Values:
    """``(attacks, candidates)``: near 80 %, the attacks a point apart."""
    base = 0.80 - 0.01 * np.arange(ATTACKS)[:, None]
    better = np.zeros(CANDIDATES) if name == "equal candidates" else np.array([0.0, 0.02, 0.05, 0.01, -0.1])
    return base + better


def drawn(rng: np.random.Generator, mean: Values, seeds: int, few: bool) -> Values:
    """Accuracies ``(attacks, candidates, seeds)``."""
    noise = rng.normal(0.0, SHARED, seeds) + rng.normal(0.0, OWN, (*mean.shape, seeds))
    return mean[..., None] + noise + (rng.normal(0.0, VALIDATION, (*mean.shape, seeds)) if few else 0.0)


def once(rng: np.random.Generator, mean: Values) -> tuple[float, float, float, float, float]:
    """One grid: share of intervals that hold the truth, and errors in points, on fresh seeds and on the choice's own.

    Returns:
        Coverage over the attacks on fresh seeds, and on the seeds of the choice; mean error of the reported accuracies
        on either; error of the worst case over the attacks on fresh seeds.
    """
    trials, report = drawn(rng, mean, TRIED, True), drawn(rng, mean, REPORTED, False)
    best = pick(trials).best
    assert best is not None
    own, true = report[:, best], mean[:, best]
    low, high = statistics.student_interval(own)
    error = own.mean(-1) - true
    seen = drawn(rng, mean, SAME, False)  # chosen and reported on the same seeds and examples
    luckiest = pick(seen).best
    assert luckiest is not None
    again, of_again = seen[:, luckiest], mean[:, luckiest]
    bottom, top = statistics.student_interval(again)
    naive = again.mean(-1) - of_again
    covered = float(((low <= true) & (true <= high)).mean())
    too_often = float(((bottom <= of_again) & (of_again <= top)).mean())
    worst = float(own.mean(-1).min() - true.min())
    return covered, too_often, 100 * float(error.mean()), 100 * float(naive.mean()), 100 * worst


def measured(simulations: int, rng: np.random.Generator, name: str) -> NDArray[np.float64]:
    """`once`, many times, ``(5, simulations)``."""
    mean = truth(name)
    return np.array([once(rng, mean) for _ in range(simulations)]).T


TRUTHS = ("equal candidates", "one is better")


def coverages(simulations: int, rng: np.random.Generator) -> Iterator[tuple[str, float, list[Bias]]]:
    """Of each truth: its name, the coverage after tuning, and the biases in points."""
    for name in TRUTHS:
        covered, same, error, naive, worst = measured(simulations, rng, name)
        least = 0.5 if name == TRUTHS[0] else -0.2
        covers = f"its 95 % intervals cover {100 * same.mean():.1f} %"
        said = f"chosen and reported on the same {SAME} seeds, {name} ({covers})"
        found = [
            _bias(f"reported accuracy of a tuned rule, {name}", error, -0.2, 0.2),
            _bias(said, naive, least, 5.0),
            _bias(f"worst case over {ATTACKS} attacks a point apart, {name}", worst, -2.0, 0.2),
        ]
        yield name, float(covered.mean()), found


def _bias(what: str, errors: Values, low: float, high: float) -> Bias:
    return Bias(f"bias: {what}", float(errors.mean()), low, high, float(errors.std() / np.sqrt(len(errors))))
