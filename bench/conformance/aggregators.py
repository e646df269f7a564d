"""The checks of an aggregation rule, for authors to run on their own; those of attacks beside them.

    for name, check in check_aggregator(my_rule):
        check()                      # raises Defect with the smallest failing case found

In a test file, as with scikit-learn's estimators::

    @parametrize_with_checks([my_rule], expected_failed_checks={"malicious": "a plain mean"})
    def test_my_rule(check):
        check()

`flipbench check` prints the same as a table. A property that a rule is excused from by its definition (a fixed
radius, a fixed origin) is declared: ``my_rule.except_for = {"translation": "fixed origin"}``, or the argument
``except_for``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flipbench.aggregators.contract import Infeasible
from flipbench.conformance import told_clients
from flipbench.conformance.attacks import attack_checks, check_attack
from flipbench.conformance.cases import Broken, Defect, Subject
from flipbench.conformance.declared_exceptions import Exceptions, declared, is_shipped, name_of, options_of, parts
from flipbench.conformance.oracles import DEFINITIONS
from flipbench.conformance.properties import PROPERTIES
from flipbench.errors import UserError
from flipbench.plugins import plugin_form, registry
from flipbench.spec.suggestions import near
from flipbench.system import process_settings

Rule = Callable[..., Any] | str
Expected = Mapping[str, str] | Callable[[Any], Mapping[str, str]]

__all__ = [
    "PROPERTIES",
    "Check",
    "Defect",
    "attack_checks",
    "check_aggregator",
    "check_attack",
    "checks",
    "parametrize_with_checks",
]


@dataclass(frozen=True)
class Check:
    """One property of one rule; calling it raises `Defect` where it does not hold.

    Attributes:
        name: a key of `PROPERTIES`.
        subject: the rule.
        excuse: why the rule is excused from it; None: it is not.
    """

    name: str
    subject: Subject
    excuse: str | None = None

    def __call__(self) -> None:
        one = PROPERTIES[self.name]
        try:
            with process_settings.kept():
                one.check(self.subject)
        except Broken as error:
            raise error.defect(self.name, one.impact, one.fix) from error
        except Infeasible as error:
            raise Defect(
                self.name, f"Infeasible out of turn: {error}", "the rule takes an f once and refuses it later", one.fix
            ) from error


def check_aggregator(
    rule: Rule, *, name: str | None = None, definition: str | None = None, except_for: Exceptions = ()
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The checks that a rule must pass, each by the name of its property; declared exceptions are left out.

    Args:
        rule: a rule, a dataclass with ``init`` (a class is built without options), or a reference as in a grid.
        name: as messages say it; null: its own.
        definition: the published rule that it claims to be, like ``krum``; null: the one that has its name.
        except_for: properties that it is excused from, with reasons if it is a mapping.

    Yields:
        ``(property, check)``; ``check()`` raises `Defect`, an AssertionError.

    Raises:
        UserError: no such definition or property, or a reference that leads nowhere.
    """
    for one in checks(rule, name=name, definition=definition, except_for=except_for):
        if one.excuse is None:
            yield one.name, one


def checks(
    rule: Rule, *, name: str | None = None, definition: str | None = None, except_for: Exceptions = ()
) -> list[Check]:
    """All checks that apply to a rule, with those that it is excused from (see `check_aggregator`)."""
    target = registry.resolve("aggregator", rule) if isinstance(rule, str) else rule
    label = name or (rule if isinstance(rule, str) else _own_name(target))
    if isinstance(rule, type):
        plugin_form.check("aggregator", label, rule)
    excuses = declared(target, except_for)
    _known("except_for", excuses, PROPERTIES)
    subject = Subject(target, label, _claim(target, definition), excuses)
    return [Check(p, subject, excuses.get(p)) for p in PROPERTIES if _applies(p, subject)]


def parametrize_with_checks(rules: Sequence[Rule], *, expected_failed_checks: Expected | None = None) -> Any:
    """A pytest decorator that runs a test once for every property of every rule; its argument is ``check``.

    Args:
        rules: rules or references.
        expected_failed_checks: property -> reason, for all rules, or a function from the rule to that. These become
            strict xfails: the test fails where the property holds after all. Declared exceptions are skipped.

    Raises:
        UserError: a property that there is not.
    """
    import pytest

    cases = []
    for rule in rules:
        given = expected_failed_checks or {}
        expected = given(rule) if callable(given) else given
        _known("expected_failed_checks", expected, PROPERTIES)
        for one in checks(rule):
            marks: list[Any] = []
            if one.excuse is not None:
                marks = [pytest.mark.skip(reason=f"declared: {one.excuse}")]
            elif one.name in expected:
                marks = [pytest.mark.xfail(reason=expected[one.name], strict=True, raises=Defect)]
            cases.append(pytest.param(one, id=f"{one.subject.name}-{one.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def _applies(name: str, subject: Subject) -> bool:
    if name == "definition":
        return subject.definition is not None
    if name == "kept":
        return told_clients.tells(subject)
    if name == "memory":
        return subject.remembers
    return name != "cuda" or torch.cuda.is_available()


def _claim(target: Any, definition: str | None) -> str | None:
    """The published rule that a rule claims to be: the argument, or by its name with the options of the oracle."""
    if definition is not None:
        _known("definition", [definition], DEFINITIONS)
        return definition
    named = name_of(target)
    alone = named in DEFINITIONS and len(parts(target)) == 1
    return named if alone and options_of(target) == DEFINITIONS[named].options else None


def _own_name(target: Any) -> str:
    own = " | ".join(name_of(part) for part in parts(target))
    return own if is_shipped(target) or own != "<lambda>" else "lambda"


FORMER = {"liars": "malicious"}  # properties by the names that they had


def _known(what: str, names: Any, known: Mapping[str, Any]) -> None:
    for name in names:
        if FORMER.get(str(name)) in known:
            raise UserError(f"{what} names {name!r}: this property is called {FORMER[name]!r}")
        if name not in known:
            raise UserError(f"{what} names {name!r}{near(str(name), known)}; there are {', '.join(known)}")
