"""The choice among candidates against plain loops: scores, threats, ties, missing numbers."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from flipbench.analysis.settings.choice import pick

NAN = math.nan


def plain(values: list[list[list[float]]], criterion: str, higher: bool) -> tuple[list[float], int | None]:
    """Score of each candidate and the chosen one, as one would write it down; values: threats, candidates, seeds."""
    scores, known = [], []
    for c in range(len(values[0])):
        means, count = [], 0
        for threat in values:
            numbers = [v for v in threat[c] if v == v]
            count += len(numbers)
            if numbers:
                means.append(sum(numbers) / len(numbers))
        worst = min if higher else max
        scores.append(NAN if not means else worst(means) if criterion == "maximin" else sum(means) / len(means))
        known.append(count)
    best = None
    for c, score in enumerate(scores):
        if score != score:
            continue
        better = best is None or known[c] > known[best]
        if best is not None and known[c] == known[best]:
            better = score > scores[best] if higher else score < scores[best]
        best = c if better else best
    return scores, best


@pytest.mark.parametrize("criterion", ["maximin", "mean"])
@pytest.mark.parametrize("higher", [True, False])
def test_scores_and_choice_are_those_of_plain_loops(criterion: str, higher: bool) -> None:
    draws = random.Random(0)
    for _ in range(200):
        threats, candidates, seeds = draws.randint(1, 4), draws.randint(1, 5), draws.randint(1, 4)
        one = lambda: NAN if draws.random() < 0.15 else draws.randint(0, 4) / 4  # noqa: E731 - few levels: many ties
        values: Any = [[[one() for _ in range(seeds)] for _ in range(candidates)] for _ in range(threats)]
        scores, best = plain(values, criterion, higher)
        found = pick(np.array(values), criterion, higher)
        assert found.score.tolist() == pytest.approx(scores, nan_ok=True)
        assert found.best == best


def test_maximin_chooses_what_is_best_under_its_worst_attack_and_mean_what_is_best_on_average() -> None:
    values = np.array([[[0.9, 0.9], [0.7, 0.7]], [[0.1, 0.3], [0.6, 0.6]]])
    assert pick(values).best == 1
    assert pick(values).worst.tolist() == [1, 1]
    assert pick(np.array([[[0.9], [0.7]], [[0.55], [0.6]]]), "mean").best == 0


def test_a_candidate_whose_trials_lack_numbers_is_behind_all_that_have_them() -> None:
    assert pick(np.array([[[NAN, 0.9], [0.2, 0.2]]])).best == 1
    assert pick(np.array([[[NAN], [NAN]]])).best is None
    assert pick(np.zeros((0, 2, 1))).best is None
    assert pick(np.array([[[NAN], [NAN]], [[0.3], [0.4]]])).best == 1  # no candidate can be run under one attack


def test_equal_scores_leave_the_first() -> None:
    assert pick(np.array([[[0.5], [0.5], [0.4]]])).best == 0
