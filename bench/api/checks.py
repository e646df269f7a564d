"""The checks that every aggregator and attack must pass, run at once, with a table of what came of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from flipbench.conformance import aggregators as conformance
from flipbench.conformance.cases import Defect
from flipbench.conformance.declared_exceptions import Exceptions

_WIDTH = 110
OnFail = Literal["raise", "return"]


@dataclass(frozen=True)
class Checks:
    """What came of the checks of one rule or attack; prints as a table.

    Attributes:
        name: of what was checked.
        passed: names of the properties that hold.
        failed: property -> the smallest failing case found.
        excused: property -> why it does not apply, as its author declares.
    """

    name: str
    passed: tuple[str, ...]
    failed: dict[str, Defect]
    excused: dict[str, str]

    def __bool__(self) -> bool:
        """Whether every property holds that is not excused."""
        return not self.failed

    def __iter__(self) -> Iterator[str]:
        """The names of all properties that were looked at."""
        return iter((*self.passed, *self.failed, *self.excused))

    def __repr__(self) -> str:
        lines = [f"{self.name}: {len(self.passed)} pass, {len(self.failed)} fail, {len(self.excused)} excused"]
        for name, defect in self.failed.items():
            lines.append(f"  FAIL {name}")
            for label, text in (("case", defect.case), ("impact", defect.impact), ("fix", defect.fix)):
                first, rest = f"      {label + ':':<8}", " " * 14
                lines.append(textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=rest))
        lines += [f"  excused {name}: {why}" for name, why in self.excused.items()]
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
        definition: the published rule that it claims to be, like ``krum``; None: told by its name.
        except_for: properties that it is excused from, with reasons if it is a mapping.
        on_fail: ``raise`` the first defect at the end of all checks, or ``return`` them with the others.

    Returns:
        What came of each check; true where none failed.

    Raises:
        Defect: (an AssertionError) a property does not hold, with the smallest failing case found.
        UserError: no such definition or property, or a reference that leads nowhere.
    """
    found = conformance.checks(rule, name=name, definition=definition, except_for=except_for)
    excused = {one.name: one.excuse for one in found if one.excuse is not None}
    return _run(found[0].subject.name, ((one.name, one) for one in found if one.excuse is None), excused, on_fail)


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
    found = list(conformance.check_attack(attack, name=name))
    shown = name or (attack if isinstance(attack, str) else getattr(attack, "__name__", type(attack).__name__))
    return _run(str(shown), found, {}, on_fail)


def _run(
    name: str, checks: Iterable[tuple[str, Callable[[], None]]], excused: dict[str, str], on_fail: OnFail
) -> Checks:
    passed: list[str] = []
    failed: dict[str, Defect] = {}
    for which, check in checks:
        try:
            check()
        except Defect as defect:
            failed[which] = defect
        else:
            passed.append(which)
    if failed and on_fail == "raise":
        raise next(iter(failed.values()))
    return Checks(name, tuple(passed), failed, excused)
