"""Curves of the trials: at each value the best that the other fields allow, a ring on what was chosen, all legible."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from flipbench.analysis.settings.choice import Decision, curves, pick
from flipbench.report.figures import tuning_curves
from tests.helpers.legible import assert_legible

RULES = ("fedavg", "trimmed_mean(trim=3)", "nnm | trimmed_mean", "centered_clipping")
RATES, MOMENTA = (0.01, 0.1, 1.0), (0.0, 0.9)


def decisions(criterion: str = "maximin") -> list[Decision]:
    draws, found = np.random.default_rng(0), []
    candidates = tuple({"learning_rate": r, "momentum": m} for r, m in product(RATES, MOMENTA))
    threats = tuple({"attack": attack} for attack in ("mirrored", "sign_flip"))
    for rule in RULES:
        values = draws.uniform(0.3, 0.9, (2, len(candidates), 4))
        picked = pick(values, criterion)
        facts = rule, {}, "accuracy", criterion, (7, 8, 9, 10), candidates, len(candidates), threats
        found.append(Decision(*facts, values, picked, None))
    return found


@pytest.mark.parametrize("criterion", ["maximin", "mean"])
def test_a_curve_has_the_best_score_at_each_value(criterion: str) -> None:
    of = decisions(criterion)
    lines = curves(of)
    assert len(lines) == len(RULES) * (len(RATES) + len(MOMENTA))
    for decision in of:
        for rate in RATES:
            scores = []
            for at, candidate in enumerate(decision.candidates):
                if candidate["learning_rate"] == rate:
                    means = [float(threat[at].mean()) for threat in decision.values]
                    scores.append(min(means) if criterion == "maximin" else sum(means) / 2)
            own = lines[(lines["aggregator"] == decision.aggregator) & (lines["field"] == "learning_rate")]
            line = own[own["value"] == rate].iloc[0]
            assert line["score"] == pytest.approx(max(scores))
            assert line["low"] < line["score"] < line["high"]
        marked = lines[(lines["aggregator"] == decision.aggregator) & lines["chosen"]]
        assert dict(zip(marked["field"], marked["value"], strict=True)) == decision.chosen


def test_the_figure_is_legible_and_draws_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    of = decisions()
    lines = curves(of)
    figure = tuning_curves.draw(lines, (("clients", 20),), of[0])
    assert_legible("tuning-curve", figure, monkeypatch)
    panels: list[Any] = [ax for ax in figure.axes if any(isinstance(c, ErrorbarContainer) for c in ax.containers)]
    assert len(panels) == 2
    drawn = [c.lines[0].get_ydata().tolist() for c in panels[0].containers]
    for rule, score in zip(RULES, drawn, strict=True):
        own = lines[(lines["aggregator"] == rule) & (lines["field"] == "learning_rate")].sort_values("value")
        assert score == pytest.approx(own["score"].tolist())


def test_numbers_stand_in_order_and_anything_else_as_the_file_has_it() -> None:
    assert tuning_curves.in_order([1, 0.1, 0.3, 1]) == [0.1, 0.3, 1]
    assert tuning_curves.in_order(["sgd", "adam"]) == ["sgd", "adam"]
    assert tuning_curves.in_order([3, None]) == [3, None]
