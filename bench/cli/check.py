"""``flipbench check``: the conformance checks of a rule or an attack as one table, with the smallest failing case."""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from flipbench.attacks.contract import PLACES
from flipbench.conformance.aggregators import PROPERTIES, Check, Defect, attack_checks, checks
from flipbench.errors import UserError
from flipbench.plugins import loading, other_suites, registry
from flipbench.spec.reference import Reference, parse_chain

_WIDTH = 118


class Line(NamedTuple):
    """One property: its name, ``pass``, ``FAIL`` or ``declared``, what must hold, and the defect found."""

    name: str
    result: str
    title: str
    defect: Defect | None = None


def check(ref: str, kind: str | None, except_for: Sequence[str] = (), definition: str | None = None) -> tuple[str, int]:
    """Run the checks of one reference.

    Args:
        ref: a shipped name, ``pkg.mod:name``, ``path/file.py:name``, an installed entry point; or a chain.
        kind: ``aggregator`` or ``attack``; null: judged by the reference.
        except_for: properties of an aggregator that it is excused from.
        definition: the published rule that an aggregator claims to be.

    Returns:
        The table as text, and the number of failures.

    Raises:
        UserError: a reference that leads nowhere, or an unknown kind or property.
    """
    torch.set_num_threads(1)
    chain = parse_chain(ref)
    if (kind or _kind(chain)) == "aggregator":
        return _checked_rule(ref, except_for, definition)
    if except_for or definition:
        raise UserError("attacks have no exceptions and no definitions to claim: leave these options out")
    checked = [_checked_attack(str(link)) for link in chain]
    return "\n\n".join(text for text, _ in checked), sum(failures for _, failures in checked)


def _checked_rule(ref: str, except_for: Sequence[str], definition: str | None) -> tuple[str, int]:
    started = time.monotonic()
    checked = checks(ref, except_for=except_for, definition=definition)
    claim = checked[0].subject.definition
    head = f"{ref} (aggregator{f', checked as {claim}' if claim else ''})"
    return _table(head, list(_rule_lines(checked)), started)


def _checked_attack(ref: str) -> tuple[str, int]:
    started = time.monotonic()
    where, checked = attack_checks(ref)
    return _table(f"{ref} (attack on {where})", [_run(c.name, c.property.title, c) for c in checked], started)


def _table(head: str, lines: Sequence[Line], started: float) -> tuple[str, int]:
    return _text(head, lines, time.monotonic() - started), sum(line.result == "FAIL" for line in lines)


def _rule_lines(checked: Sequence[Check]) -> Iterator[Line]:
    for one in checked:
        title = PROPERTIES[one.name].title
        if one.excuse is not None:
            yield Line(one.name, "declared", f"{title}; excused: {one.excuse}")
        else:
            yield _run(one.name, title, one)


def _run(name: str, title: str, one: Callable[[], None]) -> Line:
    try:
        one()
    except Defect as defect:
        return Line(name, "FAIL", title, defect)
    return Line(name, "pass", title)


def _text(head: str, lines: Sequence[Line], seconds: float) -> str:
    wide = max(len(line.name) for line in lines)
    out = [head]
    for line in lines:
        out.append(f"  {line.name:<{wide}}  {line.result:<8}  {line.title}")
        if line.defect is not None:
            for label, text in (("case", line.defect.case), ("impact", line.defect.impact), ("fix", line.defect.fix)):
                first, rest = f"      {label + ':':<8}", " " * 14
                out.append(textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=rest))
    count = {r: sum(line.result == r for line in lines) for r in ("pass", "FAIL", "declared")}
    out.append(f"{count['pass']} pass, {count['FAIL']} fail, {count['declared']} declared, in {seconds:.1f} s")
    return "\n".join(out)


def _kind(chain: Sequence[Reference]) -> str:
    """What a reference names, judged by its last link: an attack if it is a shipped or installed one, or says so."""
    name = chain[-1].name
    if registry.is_shipped("aggregator", name):
        return "aggregator"
    if ":" not in name:
        return "attack" if name in {e.name for e in registry.catalogue("attack")} else "aggregator"
    if other_suites.is_foreign(name):
        return "aggregator"
    target = loading.from_file(name) if ".py:" in name else loading.from_module(name)
    if getattr(target, "place", None) in PLACES:
        return "attack"
    if not callable(target) or isinstance(target, type):
        return "aggregator"
    parameters = list(inspect.signature(target).parameters)
    if parameters[:1] == ["updates"]:  # a rule's second parameter is the cohort; `wire`: in files of earlier versions
        return "attack" if parameters[1:2] in (["context"], ["wire"]) else "aggregator"
    return "attack" if parameters and parameters[0] in PLACES else "aggregator"
