"""`check_aggregator` and `check_attack` run every check at once and say what came of them."""

from __future__ import annotations

from dataclasses import dataclass

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


class Plain:
    """Has options, and nothing that could be called."""

    def __init__(self, f=2):
        self.f = f

    def aggregate(self, updates):
        return updates.mean(-2)


class PlainCalled:
    """Would do as an instance; as a class its constructor would be called with the updates."""

    def __call__(self, updates, cohort, /):
        return updates.mean(-2)


@dataclass(frozen=True)
class NotCallable:
    """A dataclass without ``__call__``."""

    trim: int = 1


@dataclass(frozen=True)
class ThreeArguments:
    """A dataclass whose ``__call__`` takes an argument too many."""

    def __call__(self, updates, cohort, more, /):
        return updates.mean(-2)


class PlainAttack:
    """Says where it acts, and nothing else."""

    place = "updates"


def as_array(updates, cohort, /):
    return updates.mean(-2).numpy()


def as_list(updates, cohort, /):
    return updates.mean(-2).tolist()


def broken(updates, cohort, /):
    raise KeyError("my own mistake")


@pytest.mark.parametrize(
    ("rule", "needed"),
    [
        (Plain, r"plain class.*@dataclasses.dataclass\(frozen=True\).*def __call__\(self, updates, cohort, /\)"),
        (PlainCalled, r"plain class.*@dataclasses.dataclass\(frozen=True\)"),
        (NotCallable, r"cannot be called.*def __call__\(self, updates, cohort, /\)"),
        (ThreeArguments, "its __call__ does not fit: it is called with 3 arguments by position and takes 4"),
    ],
)
def test_an_author_of_a_class_is_told_what_to_write(rule, needed):
    with pytest.raises(fb.UserError, match=needed):
        fb.check_aggregator(rule)
    with pytest.raises(fb.UserError, match=needed):
        fb.run({"base": {"dataset": "digits", "aggregator": rule, "rounds": 1}}, workers=1, progress=False)


def test_an_author_of_an_attack_class_is_told_what_to_write():
    with pytest.raises(fb.UserError, match=r"plain class.*def __call__\(self, updates, context, /\)"):
        fb.check_attack(PlainAttack)


@pytest.mark.parametrize(
    ("rule", "fix"),
    [(as_array, "torch.as_tensor"), (as_list, "torch.as_tensor"), (broken, "make it answer")],
)
def test_checks_end_where_the_form_is_wrong(rule, fix):
    checks = fb.check_aggregator(rule, on_fail="return")
    assert list(checks.failed) == ["form"]
    assert not checks.passed
    assert {"order", "malicious"} <= set(checks.skipped)
    assert fix in checks.failed["form"].fix
    assert "not looked at before that is right: order, " in repr(checks)


def test_a_wrong_form_found_later_does_not_end_the_checks():
    def one_matrix(updates, cohort, /):  # right for one cell, wrong for a stack
        return updates.mean(0)

    checks = fb.check_aggregator(one_matrix, on_fail="return")
    assert {"stack", "malicious"} <= set(checks.failed)
    assert not checks.skipped


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attack_start": 100}, "attack_start"),
        ({"malicious_fraction": 0.01}, "malicious"),
        ({"attack_availability": 0.1}, "attack_availability"),
    ],
)
def test_python_shows_the_warnings_that_the_command_line_shows(fields, said, tmp_path):
    base = {"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "attack": "mirrored"}
    grid = fb.read_grid({"name": "idle", "base": {"malicious_fraction": 0.2, **base, **fields}})
    (warning,) = grid.warnings
    assert said in warning
    assert f"warning: {warning}" in repr(fb.plan(grid, results=tmp_path, workers=1))
    with pytest.warns(UserWarning, match=said):
        fb.run(grid, workers=1, results=tmp_path, progress=False)
