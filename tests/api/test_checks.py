"""`check_aggregator` and `check_attack` run every check at once and say what came of them."""

from __future__ import annotations

import pytest
import torch

import flipbench as fb
from flipbench.aggregators import median
from flipbench.aggregators.validation import guarded


@guarded
def plain_mean(updates, cohort, /):
    """Keeps everything but the promise about malicious clients."""
    return updates.mean(-2)


def negated(updates, context, /):
    """An attack on updates."""
    return -updates


def test_a_sound_rule_passes():
    checks = fb.check_aggregator(median)
    assert checks
    assert not checks.failed
    assert "median: " in repr(checks)
    assert ", 0 fail, " in repr(checks)
    assert repr(checks) in checks._repr_html_()


def test_a_defect_is_raised_with_its_case_or_returned():
    with pytest.raises(fb.Defect, match="malicious"):
        fb.check_aggregator(plain_mean)
    checks = fb.check_aggregator(plain_mean, on_fail="return")
    assert not checks
    assert set(checks) >= {"malicious", *checks.passed}
    assert "FAIL malicious" in repr(checks)
    excused = fb.check_aggregator(plain_mean, except_for={"malicious": "a plain mean"})
    assert excused.excused == {"malicious": "a plain mean"}
    assert "excused malicious: a plain mean" in repr(excused)


def test_attacks():
    assert fb.check_attack(negated, on_fail="return").passed
    with pytest.raises(fb.UserError, match="unknown attack"):
        fb.check_attack("no_such_attack")


@fb.parametrize_with_checks([median], expected_failed_checks={})
def test_as_a_decorator(check):
    check()


def test_a_rule_that_changes_its_input_is_found():
    def greedy(updates, cohort, /):
        updates.zero_()
        return torch.zeros(updates.shape[-1])

    assert fb.check_aggregator(greedy, on_fail="return").failed
