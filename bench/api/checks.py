"""The checks of an aggregator, an attack or a part of training, run at once, with a table of what came of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal, get_args

from flipbench.conformance import aggregators as conformance
from flipbench.conformance import parts
from flipbench.conformance.cases import Defect
from flipbench.conformance.declared_exceptions import Exceptions
from flipbench.errors import UserError
from flipbench.plugins import first_load, objects
from flipbench.plugins.definitions import kind_of
from flipbench.spec.reference import CODE

OnFail = Literal["raise", "return"]


@dataclass(frozen=True)
class Checks:
    """What came of the checks of one rule, attack or part of training; prints as a table.

    Attributes:
        name: of what was checked.
        passed: names of the properties that hold.
        failed: property -> the smallest failing case found.
        excused: property -> why it does not apply, as its author declares.
        titles: property -> what must hold; all of them, in order.
        kind: ``aggregator``, ``aggregator, checked as krum``, ``attack on labels``, ``optimiser`` and the like.
        skipped: names of the properties that were not looked at, because the very first check had no answer of the
            right form.
    """

    name: str
    passed: tuple[str, ...]
    failed: dict[str, Defect]
    excused: dict[str, str]
    titles: dict[str, str]
    kind: str
    skipped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether every property holds that is not excused."""
        return not self.failed

    def __iter__(self) -> Iterator[str]:
        """The names of all properties."""
        return iter(self.titles)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {len(self.passed)} pass, {len(self.failed)} fail, {len(self.excused)} excused"]
        for name, defect in self.failed.items():
            lines.append(f"  FAIL {name}")
            lines += case_lines(defect)
        lines += [f"  excused {name}: {why}" for name, why in self.excused.items()]
        if self.skipped:
            lines.append(f"  not looked at before that is right: {', '.join(self.skipped)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def check_aggregator(
    rule: Callable[..., Any] | str,
    *,
    name: str | None = None,
    definition: str | None = None,
    except_for: Exceptions = (),
    on_fail: OnFail = "raise",
) -> Checks:
    """Check that a rule keeps what every rule must: order, translation, malicious clients, no side effects and more.

    >>> import flipbench as fb
    >>> fb.check_aggregator("median", except_for={"cuda": "no GPU"})  # doctest: +ELLIPSIS
    median: ... pass, 0 fail, ...

    Args:
        rule: a function ``(updates, cohort) -> update``, a class with ``init``, or a reference as in a grid.
        name: as messages say it; None: its own.
        definition: the published rule that it claims to be, like ``krum``; None: recognised by its name.
        except_for: properties that it is excused from, with reasons if it is a mapping.
        on_fail: ``raise`` the first defect at the end of all checks, or ``return`` them with the others.

    Returns:
        What came of each check; true where none failed.

    Raises:
        Defect: (an AssertionError) a property does not hold, with the smallest failing case found.
        UserError: no such definition or property, another on_fail, or a reference that leads nowhere.
    """
    _check_on_fail(on_fail)
    if not callable(rule) and not isinstance(rule, str):
        raise UserError(f"one rule is needed, a name, a function or a class; got {kind_of(rule)}")
    if isinstance(rule, str):
        first_load.check("aggregator", rule)
    found = conformance.checks(rule, name=name, definition=definition, except_for=except_for)
    excused = {one.name: one.excuse for one in found if one.excuse is not None}
    claim = found[0].subject.definition
    kind = f"aggregator, checked as {claim}" if claim else "aggregator"
    titles = {one.name: conformance.PROPERTIES[one.name].title for one in found}
    to_run = {one.name: one for one in found if one.excuse is None}
    return _run(Checks(found[0].subject.name, (), {}, excused, titles, kind), to_run, on_fail)


def check_attack(attack: Callable[..., Any] | str, *, name: str | None = None, on_fail: OnFail = "raise") -> Checks:
    """Check that an attack keeps what every attack on labels, examples or updates must.

    Args:
        attack: a function or class as a grid could name it, or a reference.
        name: as messages say it; None: its own.
        on_fail: ``raise`` the first defect at the end of all checks, or ``return`` them with the others.

    Returns:
        What came of each check; true where none failed.

    Raises:
        Defect: (an AssertionError) a property does not hold, with the smallest failing case found.
        UserError: a reference that leads nowhere, or an attack that does not say where it acts.
    """
    _check_on_fail(on_fail)
    if not callable(attack) and not isinstance(attack, str):
        raise UserError(f"one attack is needed, a name, a function or a class; got {kind_of(attack)}")
    if isinstance(attack, str):
        first_load.check("attack", attack)
    where, found = conformance.attack_checks(attack, name=name)
    label = name or (attack if isinstance(attack, str) else getattr(attack, "__name__", type(attack).__name__))
    titles = {check.name: check.property.title for check in found}
    checks = Checks(str(label), (), {}, {}, titles, f"attack on {where}")
    return _run(checks, {check.name: check for check in found}, on_fail)


def check_part(part: Any, kind: str, *, dataset: str = "digits", on_fail: OnFail = "raise") -> Checks:
    """Check that a part of training works in a small federation, gives the same again, and keeps to itself.

    >>> import flipbench as fb
    >>> fb.check_part("adam", "optimiser")
    adam: 5 pass, 0 fail, 0 excused

    Args:
        part: what a grid could have in the field ``kind``: a reference, a function, a class, arrays as `Dataset`.
        kind: ``model``, ``dataset``, ``partition``, ``malicious_data``, ``features``, ``loss``, ``augmentation``,
            ``schedule``, ``initialisation``, ``optimiser`` or ``server_optimiser``.
        dataset: that it is tried with, like ``splice`` for a model of token ids.
        on_fail: ``raise`` the first defect at the end of all checks, or ``return`` them with the others.

    Returns:
        What came of each check; true where none failed.

    Raises:
        Defect: (an AssertionError) a property does not hold, with the smallest failing case found.
        UserError: another kind, or a reference that leads nowhere.
    """
    _check_on_fail(on_fail)
    parts.check_kind(kind)
    ref = part if isinstance(part, str) else objects.reference(kind, part)
    if not isinstance(ref, str):
        raise UserError(f"one {kind} is needed, a name, a function or a class; got {kind_of(part)}")
    first_load.check(kind, ref)
    found = parts.part_checks(kind, ref, dataset)
    titles = {check.name: check.property.title for check in found}
    checks = Checks(CODE.sub("", ref), (), {}, {}, titles, kind.replace("_", " "))
    return _run(checks, {check.name: check for check in found}, on_fail)


def _check_on_fail(on_fail: str) -> None:
    if on_fail not in get_args(OnFail):
        raise UserError(f"on_fail is 'raise' or 'return', got {on_fail!r}")


def case_lines(defect: Defect, width: int = 110) -> Iterator[str]:
    """The smallest failing case of a defect, its impact and its fix, as indented lines."""
    for label, text in (("case", defect.case), ("impact", defect.impact), ("fix", defect.fix)):
        yield textwrap.fill(text, width, initial_indent=f"      {label + ':':<8}", subsequent_indent=" " * 14)


def _run(checks: Checks, to_run: Mapping[str, Callable[[], None]], on_fail: OnFail) -> Checks:
    passed: list[str] = []
    failed: dict[str, Defect] = {}
    for name, check in to_run.items():
        try:
            check()
        except Defect as defect:
            failed[name] = defect
            if defect.unusable and not passed and len(failed) == 1:
                break  # all others would say the same
        else:
            passed.append(name)
    if failed and on_fail == "raise":
        raise next(iter(failed.values()))
    skipped = tuple(name for name in to_run if name not in failed and name not in passed)
    return replace(checks, passed=tuple(passed), failed=failed, skipped=skipped)
