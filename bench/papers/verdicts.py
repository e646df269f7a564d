"""Verdicts on a reproduction: pure functions of numbers, each defined before any run.

A number is **reproduced** where our mean over seeds lies within the tolerance that the file fixes. It is **within
rounding** where it lies outside by no more than half a unit of the last printed digit: the printed number may stand for
one that is that much nearer, so the paper cannot decide it. Otherwise it is **missed**. Ours is never rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flipbench.analysis import statistics
from flipbench.papers.model import Claim, Number, Step, Term, Tolerance
from flipbench.papers.values import Ours

REPRODUCED, ROUNDING, MISSED = "reproduced", "within rounding", "missed"
NOT_RUN, UNFINISHED, UNJUDGED = "could not be run", "unfinished", "not judged"
HOLDS, IN_MEANS, FAILS = "holds", "holds in the means", "fails"

_EXACT = 1e-9  # of float arithmetic, relative to the unit


@dataclass(frozen=True)
class Verdict:
    """What came of one number.

    Attributes:
        word: one of the above.
        mean, low, high: ours with its 95 % Student interval over seeds; NaN where not known.
        sd: ours, between seeds.
        n: seeds with a value.
        planned: seeds asked for.
        difference: ours less the published one.
        allowed: (low, high) between which ours counts as reproduced; infinite where open; None: not judged.
        why: of what could not be run, or is unfinished.
    """

    word: str
    mean: float
    low: float
    high: float
    sd: float
    n: int
    planned: int
    difference: float
    allowed: tuple[float, float] | None
    why: str = ""


def verdict(number: Number, own: Ours, decimals: int, runs: int | None, judged: bool = True) -> Verdict:
    """The verdict on one number.

    Args:
        number: as published.
        found: ours, in the same unit.
        decimals: printed digits behind the point.
        runs: K, over which the published number is a mean; needed for a tolerance in deviations.
        judged: False: the cells are not those of the protocol.
    """
    values = np.array(sorted(own.values.items()), dtype=np.float64).reshape(-1, 2)[:, 1]
    mean, sd, n = (float(x) for x in statistics.moments(values))
    low, high = (float(x) for x in statistics.student_interval(values))
    band = None
    if number.not_run is None:
        band = allowed(number.tolerance, number.value, number.sd, runs, own.planned)
    difference = math.nan if number.value is None else mean - number.value
    word, why = _word(number, own, int(n), mean, band, 0.5 * 10.0**-decimals, judged)
    return Verdict(word, mean, low, high, sd, int(n), own.planned, difference, band, why)


def allowed(
    tolerance: Tolerance, value: float | None, sd: float | None, runs: int | None, seeds: int
) -> tuple[float, float] | None:
    """Between what our mean counts as reproduced; None where nothing was fixed.

    ``deviations``: the mean of k = ``seeds`` of our runs against a mean of K = ``runs`` published ones is within
    ``amount`` standard deviations sd sqrt(1/k + 1/K) of the difference of two such means, if ours varies like theirs.
    """
    amount = tolerance.amount
    if tolerance.kind == "at_least":
        return amount, math.inf
    if tolerance.kind == "at_most":
        return -math.inf, amount
    centre = value if tolerance.around is None else tolerance.around
    if tolerance.kind == "none" or centre is None:
        return None
    if tolerance.kind == "deviations":
        if sd is None or not runs or not seeds:
            return None
        amount *= sd * math.sqrt(1 / seeds + 1 / runs)
    return centre - amount, centre + amount


def _word(
    number: Number,
    own: Ours,
    n: int,
    mean: float,
    band: tuple[float, float] | None,
    half_unit: float,
    judged: bool,
) -> tuple[str, str]:
    if number.not_run is not None:
        return NOT_RUN, number.not_run
    if own.refused:
        return NOT_RUN, str(own.reason)
    if n < own.planned:
        return UNFINISHED, f"{n} of {own.planned} seeds"
    if band is None or not judged or math.isnan(mean):
        return UNJUDGED, ""
    low, high = (end - sign * _EXACT for sign, end in zip((1, -1), band, strict=True))
    if low <= mean <= high:
        return REPRODUCED, ""
    printed = number.tolerance.kind in ("within", "deviations") and number.tolerance.around is None
    if printed and low - half_unit <= mean <= high + half_unit:
        return ROUNDING, ""
    return MISSED, ""


@dataclass(frozen=True)
class Tested:
    """What came of one comparison of a claim.

    Attributes:
        step: the comparison.
        word: `HOLDS`, `IN_MEANS`, `FAILS`, `UNFINISHED` or `NOT_RUN`.
        difference: mean over common seeds of left less right.
        low, high: of it, 95 % Student interval.
        n: common seeds.
        p: of ``<`` and ``>``, two-sided paired t; NaN for one seed.
        corrected: after Holm over all strict comparisons of the file.
    """

    step: Step
    word: str
    difference: float
    low: float
    high: float
    n: int
    p: float
    corrected: float


def examined(claims: Sequence[tuple[Claim, Mapping[tuple[str, str], Ours]]]) -> list[list[Tested]]:
    """Every comparison of every claim, by differences of the same seed.

    ``<`` and ``>`` **hold** where the mean difference has their sign and the paired t test says so at 5 % after Holm's
    correction over all such comparisons given; ``<=``, ``>=`` and ``~`` where the whole 95 % interval of the
    difference is within the claim's margin. They **hold in the means** where only the mean difference does: with one
    seed nothing can be tested. Else they **fail**.

    Args:
        claims: each with ours at every place of its table.
    """
    rows: list[list[tuple[Step, float, list[float], str | None]]] = []
    for claim, at in claims:
        rows.append([(s, claim.margin, *_differences(s, at)) for s in claim.steps])
    flat = [case for row in rows for case in row]
    p = np.array([math.nan if lacking else _p(step.sign, d) for step, _, d, lacking in flat], dtype=np.float64)
    corrected = statistics.holm(p)
    results = iter([_tested(*case, *ps) for case, *ps in zip(flat, p.tolist(), corrected.tolist(), strict=True)])
    return [[next(results) for _ in row] for row in rows]


def _p(sign: str, differences: Sequence[float]) -> float:
    return float(statistics.paired_t(np.array(differences))) if sign in "<>" and len(differences) > 1 else math.nan


def _differences(step: Step, at: Mapping[tuple[str, str], Ours]) -> tuple[list[float], str | None]:
    """Left less right for each common seed; and why that is not all: a verdict, or None where it is."""
    sides = [at[p] for t in (step.left, step.right) for p in (t.plus, t.minus) if isinstance(p, tuple)]
    seeds = sorted(set.intersection(*(set(o.values) for o in sides))) if sides else []
    lacking = None
    if any(o.refused or not o.planned for o in sides):
        lacking = NOT_RUN
    elif any(len(o.values) < o.planned for o in sides):
        lacking = UNFINISHED
    return [_value(step.left, at, s) - _value(step.right, at, s) for s in seeds], lacking


def _value(term: Term, at: Mapping[tuple[str, str], Ours], seed: int) -> float:
    plus, minus = (
        at[operand].values[seed] if isinstance(operand, tuple) else float(operand or 0.0)
        for operand in (term.plus, term.minus)
    )
    return plus - minus


def _tested(
    step: Step, margin: float, differences: list[float], lacking: str | None, p: float, corrected: float
) -> Tested:
    d = np.array(differences, dtype=np.float64)
    mean, _, n = (float(x) for x in statistics.moments(d))
    low, high = (float(x) for x in statistics.student_interval(d))
    word = lacking or _holds(step.sign, margin, mean, low, high, corrected)
    return Tested(step, word, mean, low, high, int(n), p, corrected)


def _holds(sign: str, margin: float, mean: float, low: float, high: float, corrected: float) -> str:
    if sign in "<>":
        if not (mean if sign == ">" else -mean) > 0:  # no number is no sign either
            return FAILS
        return HOLDS if corrected < statistics.LEVEL else IN_MEANS
    above = mean >= -margin - _EXACT, low >= -margin - _EXACT
    below = mean <= margin + _EXACT, high <= margin + _EXACT
    in_mean, in_interval = {
        ">=": above,
        "<=": below,
        "~": (above[0] and below[0], above[1] and below[1]),
    }[sign]
    return (HOLDS if in_interval else IN_MEANS) if in_mean else FAILS


def of_claim(steps: Sequence[Tested]) -> str:
    """A claim is as good as its worst comparison."""
    order = (FAILS, NOT_RUN, UNFINISHED, IN_MEANS, HOLDS)
    return min((s.word for s in steps), key=order.index)


def of_table(words: Sequence[str], claims: Sequence[str]) -> str:
    """One word for the published tables of a paper, experiments left out.

    Args:
        words: verdicts of the numbers.
        claims: verdicts of the claims.
    """
    if UNFINISHED in (*words, *claims):
        return UNFINISHED
    judged = [w in (REPRODUCED, ROUNDING) for w in words if w not in (UNJUDGED, NOT_RUN)]
    held = [w in (HOLDS, IN_MEANS) for w in claims if w != NOT_RUN]
    if not judged:  # numbers that nothing was fixed for
        return ("the claims hold" if all(held) else "not all claims hold") if held else UNJUDGED
    if all(judged + held):
        return f"{REPRODUCED} as far as it could be run" if NOT_RUN in (*words, *claims) else REPRODUCED
    return "reproduced in part" if any(judged + held) else "not reproduced"
