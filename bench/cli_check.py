"""``flipbench check``: does a rule or a label attack keep its word? One table; the smallest failing case of each."""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from bench import plugin_files, plugins
from bench.conformance import PROPERTIES, Defect, check_label_attack, checks
from bench.conformance_flips import FLIP_PROPERTIES
from bench.errors import UserError
from bench.reference import parse, parse_chain

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
        kind: ``aggregator`` or ``attack``; null: told by the reference.
        except_for: properties of an aggregator that it is excused from.
        definition: the published rule that an aggregator claims to be.

    Returns:
        The table as text, and the number of failures.

    Raises:
        UserError: a reference that leads nowhere, or an unknown kind or property.
    """
    torch.set_num_threads(1)
    started = time.monotonic()
    if (kind or _kind(ref)) == "attack":
        if except_for or definition:
            raise UserError("label attacks have no exceptions and no definitions to claim: leave these options out")
        lines = list(_attack_lines(ref))
        head = f"{ref} (label attack)"
    else:
        found = checks(ref, except_for=except_for, definition=definition)
        claim = found[0].subject.definition
        head = f"{ref} (aggregator{f', checked as {claim}' if claim else ''})"
        lines = list(_rule_lines(found))
    failures = sum(line.result == "FAIL" for line in lines)
    return _text(head, lines, time.monotonic() - started), failures


def _rule_lines(found: Sequence[Any]) -> Iterator[Line]:
    for one in found:
        title = PROPERTIES[one.name].title
        if one.excuse is not None:
            yield Line(one.name, "declared", f"{title}; excused: {one.excuse}")
        else:
            yield _run(one.name, title, one)


def _attack_lines(ref: str) -> Iterator[Line]:
    for name, one in check_label_attack(_attack(ref), name=ref):
        yield _run(name, FLIP_PROPERTIES[name].title, one)


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
            for label, text in (("case", line.defect.case), ("means", line.defect.meaning), ("mend", line.defect.mend)):
                first, rest = f"      {label + ':':<7}", " " * 13
                out.append(textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=rest))
    count = {r: sum(line.result == r for line in lines) for r in ("pass", "FAIL", "declared")}
    out.append(f"{count['pass']} pass, {count['FAIL']} fail, {count['declared']} declared, in {seconds:.1f} s")
    return "\n".join(out)


def _kind(ref: str) -> str:
    """What a reference names: an attack, if it is one of the shipped or installed, or takes labels first."""
    chain = parse_chain(ref)
    name = chain[0].name
    if len(chain) > 1 or plugins.is_shipped("aggregator", name):
        return "aggregator"
    if ":" not in name:
        return "attack" if name in {e.name for e in plugins.catalogue("attack")} else "aggregator"
    target = _loaded(name)
    if not callable(target) or isinstance(target, type):
        return "aggregator"
    first = next(iter(inspect.signature(target).parameters), "")
    if first == "examples":
        raise UserError(f"{ref} acts on examples, and only label attacks (their first parameter is labels) are checked")
    return "attack" if first == "labels" else "aggregator"


def _attack(ref: str) -> Callable[..., Any]:
    """The attack; one that needs options may come without them, as it is tried with several."""
    one = parse(ref)
    if one.options or (":" not in one.name and not plugins.is_shipped("attack", one.name)):
        return plugins.resolve("attack", one)
    target = _loaded(one.name) if ":" in one.name else plugins.shipped("attack")[one.name]
    if not callable(target):
        raise UserError(f"{ref} is {type(target).__name__}, not a function: name a label attack")
    return target


def _loaded(name: str) -> Any:
    return plugin_files.from_file(name) if ".py:" in name else plugin_files.from_module(name)
