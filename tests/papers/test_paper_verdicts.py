"""Verdicts on published numbers and claims: pure functions, each word told apart from its neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flipbench.papers.claims import ClaimError, steps
from flipbench.papers.model import Claim, Metric, Number, Term, Tolerance, Window
from flipbench.papers.values import Ours, of_counts
from flipbench.papers.verdicts import (
    FAILS,
    HOLDS,
    IN_MEANS,
    MISSED,
    NOT_RUN,
    REPRODUCED,
    ROUNDING,
    UNFINISHED,
    UNJUDGED,
    allowed,
    examined,
    of_claim,
    of_table,
    verdict,
)

ROWS, COLUMNS = ["a", "b", "c", "d"], ["x", "y"]


def number(value: float | None, tolerance: Tolerance, sd: float | None = None, **more: Any) -> Number:
    return Number("a", "x", value, sd, Metric("accuracy"), Window(), tolerance, (), **more)


def ours(*values: float, planned: int | None = None) -> Ours:
    return Ours(dict(enumerate(values)), len(values) if planned is None else planned)


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.145, REPRODUCED), (0.115, REPRODUCED), (0.1499, ROUNDING), (0.1101, ROUNDING), (0.1501, MISSED), (0.1, MISSED)],
)
def test_a_number_is_judged_by_its_tolerance_and_then_by_its_printed_digits(value: float, word: str) -> None:
    assert verdict(number(0.13, Tolerance("within", 0.015)), ours(value), 2, None).word == word


@pytest.mark.parametrize(
    ("tolerance", "inside", "outside"),
    [
        (Tolerance("at_least", 94), 94.0, 93.99),
        (Tolerance("at_most", 5), 5.0, 5.01),
        (Tolerance("within", 5, around=36), 41.0, 41.01),  # a bound of our own is no printed number
    ],
)
def test_fixed_bounds_know_no_rounding(tolerance: Tolerance, inside: float, outside: float) -> None:
    assert verdict(number(35.9, tolerance), ours(inside), 0, None).word == REPRODUCED
    assert verdict(number(35.9, tolerance), ours(outside), 0, None).word == MISSED


def test_two_deviations_cover_a_rerun_of_the_same_experiment() -> None:
    """95.4 % of honest re-runs lie inside, whatever the numbers of runs; and the band is no wider than that."""
    draws = np.random.default_rng(0)
    for ran, published in ((1, 15), (5, 15), (3, 2)):
        theirs = draws.normal(0.8, 0.05, (20_000, published)).mean(1)
        mine = draws.normal(0.8, 0.05, (20_000, ran)).mean(1)
        band = allowed(Tolerance("deviations", 2), 0.0, 0.05, published, ran)
        assert band is not None
        inside = np.abs(mine - theirs) <= band[1]
        assert abs(inside.mean() - 0.9545) < 0.006


def test_nothing_is_judged_without_all_seeds_a_tolerance_and_the_protocol() -> None:
    within = number(0.5, Tolerance("within", 0.1))
    assert verdict(within, ours(0.5, 0.5, planned=3), 1, None).word == UNFINISHED
    assert verdict(within, ours(planned=3), 1, None).word == UNFINISHED
    assert verdict(within, ours(0.5), 1, None, judged=False).word == UNJUDGED
    assert verdict(number(0.5, Tolerance("none")), ours(0.5), 1, None).word == UNJUDGED
    assert verdict(number(None, Tolerance("none")), ours(0.5), 1, None).word == UNJUDGED
    refused = verdict(within, Ours({}, 1, "infeasible: krum needs more", True), 1, None)
    assert (refused.word, refused.why) == (NOT_RUN, "infeasible: krum needs more")
    assert verdict(number(0.5, Tolerance("none"), not_run="no such data"), ours(), 1, None).why == "no such data"


def test_ours_has_the_interval_of_its_seeds() -> None:
    got = verdict(number(0.5, Tolerance("within", 0.1)), ours(0.4, 0.5, 0.6), 1, None)
    half = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert (got.n, got.sd, got.mean) == (3, pytest.approx(0.1), pytest.approx(0.5))
    assert (got.low, got.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


def shown(text: str, column: str | None = "x") -> list[str]:
    return [str(s) for s in steps(text, ROWS, COLUMNS, column)]


def test_a_chain_is_written_out_across_each_strict_sign() -> None:
    assert shown("a > b ~ c > d") == ["b@x ~ c@x", "a@x > b@x", "a@x > c@x", "b@x > d@x", "c@x > d@x"]
    assert shown("a@y - b@y >= 5", None) == ["a@y - b@y >= 5"]
    assert shown("a <= 0.05") == ["a@x <= 0.05"]
    assert steps("a - 1 < 2", ROWS, COLUMNS, "x")[0].left == Term(("a", "x"), 1.0)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("a", "x", "needs terms"),
        ("a>b", "x", "blanks around them"),
        ("a > e", "x", "unknown row 'e'"),
        ("a@x > b@x", "x", "made for several"),
        ("a > b", None, "names no column"),
        ("a@z > b@x", None, "unknown column 'z'"),
        ("a - b - c > 0", "x", "one less another"),
    ],
)
def test_what_is_no_claim_is_refused_with_what_was_needed(text: str, column: str | None, said: str) -> None:
    with pytest.raises(ClaimError, match=said):
        steps(text, ROWS, COLUMNS, column)


def judged(text: str, margin: float = 0.0, **at: Ours) -> list[str]:
    claim = Claim("says", margin, steps(text, ROWS, COLUMNS, "x"))
    return [t.word for t in examined([(claim, {(row, "x"): found for row, found in at.items()})])[0]]


def test_strict_signs_need_a_significant_paired_difference() -> None:
    base = [0.1, 0.5, 0.9, 0.3, 0.7]  # seeds differ far more than the rules do
    better = ours(*(v + 0.05 + 0.001 * i for i, v in enumerate(base)))
    assert judged("a > b", a=better, b=ours(*base)) == [HOLDS]
    assert judged("b < a", a=better, b=ours(*base)) == [HOLDS]
    assert judged("a < b", a=better, b=ours(*base)) == [FAILS]
    noisy = ours(*(v + d for v, d in zip(base, (0.4, -0.3, 0.3, -0.2, 0.1), strict=True)))
    assert judged("a > b", a=noisy, b=ours(*base)) == [IN_MEANS]
    assert judged("a > b", a=ours(0.6), b=ours(0.5)) == [IN_MEANS]  # one seed tests nothing
    assert judged("a > b", a=ours(0.5, 0.5), b=ours(0.5, 0.5)) == [FAILS]
    assert judged("a > b", a=ours(math.nan), b=ours(0.5)) == [FAILS]  # no test examples: nothing is shown


def test_margins_ask_for_the_whole_interval() -> None:
    a = ours(0.50, 0.51, 0.52)
    assert judged("a ~ b", 0.05, a=a, b=ours(0.49, 0.50, 0.51)) == [HOLDS]
    assert judged("a ~ b", 0.05, a=a, b=ours(0.45, 0.50, 0.53)) == [IN_MEANS]
    assert judged("a ~ b", 0.05, a=a, b=ours(0.40, 0.40, 0.40)) == [FAILS]
    assert judged("a >= b", 0.0, a=a, b=ours(0.49, 0.50, 0.51)) == [HOLDS]
    assert judged("a >= b", 0.0, a=a, b=ours(0.53, 0.53, 0.53)) == [FAILS]
    assert judged("a >= b", 0.05, a=a, b=ours(0.53, 0.54, 0.55)) == [HOLDS]
    assert judged("a <= b", 0.0, a=a, b=ours(0.49, 0.50, 0.51)) == [FAILS]
    assert judged("a - b >= 0.2", a=a, b=ours(0.25, 0.26, 0.27)) == [HOLDS]


def test_many_claims_are_corrected_together() -> None:
    base = ours(0.50, 0.50, 0.50, 0.50, 0.50)
    some = ours(0.51, 0.53, 0.54, 0.505, 0.54)  # p = 0.03 alone
    claim = Claim("says", 0.0, steps("a > b", ROWS, COLUMNS, "x"))
    at = {("a", "x"): some, ("b", "x"): base}
    (alone,), *_ = examined([(claim, at)])
    assert alone.word == HOLDS
    assert 0.025 < alone.p < 0.05
    (among,), *_ = examined([(claim, at), (claim, at)])
    assert (among.word, among.p, among.corrected) == (IN_MEANS, alone.p, pytest.approx(2 * alone.p))


def test_a_claim_waits_for_every_seed_and_is_as_good_as_its_worst_step() -> None:
    full, part = ours(0.6, 0.7), ours(0.5, planned=2)
    assert judged("a > b", a=full, b=part) == [UNFINISHED]
    assert judged("a > b", a=full, b=Ours({}, 2, "failed: boom", True)) == [NOT_RUN]
    words = judged("a > b > c", a=ours(0.9), b=ours(0.5), c=ours(0.6))
    assert words == [IN_MEANS, FAILS]
    claim = Claim("says", 0.0, steps("a > b > c", ROWS, COLUMNS, "x"))
    found = examined([(claim, {("a", "x"): ours(0.9), ("b", "x"): ours(0.5), ("c", "x"): ours(0.6)})])[0]
    assert of_claim(found) == FAILS


@pytest.mark.parametrize(
    ("words", "claims", "word"),
    [
        ([REPRODUCED, ROUNDING], [HOLDS, IN_MEANS], REPRODUCED),
        ([REPRODUCED, UNJUDGED], [], REPRODUCED),
        ([REPRODUCED, NOT_RUN], [HOLDS], "reproduced as far as it could be run"),
        ([REPRODUCED, MISSED], [], "reproduced in part"),
        ([REPRODUCED], [FAILS], "reproduced in part"),
        ([MISSED], [FAILS], "not reproduced"),
        ([REPRODUCED, UNFINISHED], [], UNFINISHED),
        ([REPRODUCED], [UNFINISHED], UNFINISHED),
        ([UNJUDGED], [HOLDS], "the claims hold"),
        ([UNJUDGED], [HOLDS, FAILS], "not all claims hold"),
        ([UNJUDGED], [], UNJUDGED),
        ([NOT_RUN], [NOT_RUN], UNJUDGED),
    ],
)
def test_the_table_has_one_word(words: list[str], claims: list[str], word: str) -> None:
    assert of_table(words, claims) == word


def test_metrics_of_named_classes_are_shares_of_the_counts() -> None:
    counts = np.array([[6, 2, 2], [0, 5, 5], [1, 0, 9]])
    values = {
        "error": Metric("error"),
        "recall": Metric("recall", {"of": 1}),
        "but": Metric("accuracy_but", {"of": 1}),
        "taken": Metric("taken_for", {"source": 1, "target": 2}),
    }
    got = {k: float(of_counts(m, counts)) for k, m in values.items()}
    assert got == pytest.approx({"error": 10 / 30, "recall": 0.5, "but": 15 / 20, "taken": 0.5})
    stacked = of_counts(values["but"], np.stack([counts, counts * 2]))
    assert stacked.tolist() == pytest.approx([0.75, 0.75])
