"""``flipbench check``: the conformance checks of a rule or an attack as one table, with the smallest failing case."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from flipbench.api.checks import Checks, case_lines, check_aggregator, check_attack, check_part
from flipbench.attacks.contract import PLACES
from flipbench.conformance import parts
from flipbench.errors import UserError
from flipbench.plugins import first_load, loading, other_suites, registry
from flipbench.spec.reference import Reference, parse_chain

_WIDTH = 118
_TWICE = "repeatable"  # the property whose failure spoils other checks


def check(
    ref: str,
    kind: str | None,
    except_for: Sequence[str] = (),
    definition: str | None = None,
    dataset: str = "digits",
) -> tuple[str, int]:
    """Run the checks of one reference.

    Args:
        ref: a shipped name, ``pkg.mod:name``, ``path/file.py:name``, an installed entry point; or a chain.
        kind: ``aggregator``, ``attack`` or one of `conformance.parts.KINDS`; null: judged by the reference.
        except_for: properties of an aggregator that it is excused from.
        definition: the published rule that an aggregator claims to be.
        dataset: that a part of training is tried with.

    Returns:
        The table as text, and the number of failures.

    Raises:
        UserError: a reference that leads nowhere or ends its process, or an unknown kind or property.
    """
    torch.set_num_threads(1)
    chain = parse_chain(ref)
    for link in chain:
        for one in (kind,) if kind else ("aggregator", "attack"):
            first_load.check(one, str(link))
    judged = kind or _kind(chain)
    if judged in parts.KINDS:
        if except_for or definition:
            raise UserError(f"a {judged} has no exceptions and no definition to claim: leave these options out")
        return _timed(ref, partial(check_part, kind=judged, dataset=dataset, on_fail="return"))
    if judged == "aggregator":
        run = partial(check_aggregator, except_for=except_for, definition=definition, on_fail="return")
        return _timed(ref, run)
    if except_for or definition:
        raise UserError("attacks have no exceptions and no definitions to claim: leave these options out")
    checked = [_timed(str(link), partial(check_attack, on_fail="return")) for link in chain]
    return "\n\n".join(text for text, _ in checked), sum(failures for _, failures in checked)


def _timed(ref: str, run: Callable[[str], Checks]) -> tuple[str, int]:
    started = time.monotonic()
    checks = run(ref)
    return _text(ref, checks, time.monotonic() - started), len(checks.failed)


def _text(ref: str, checks: Checks, seconds: float) -> str:
    width = max(len(name) for name in checks.titles)
    lines = [f"{ref} ({checks.kind})"]
    for name, title in checks.titles.items():
        if name in checks.excused:
            lines.append(f"  {name:<{width}}  declared  {title}; excused: {checks.excused[name]}")
        elif name in checks.failed:
            lines += [f"  {name:<{width}}  FAIL      {title}", *case_lines(checks.failed[name], _WIDTH)]
        elif name in checks.skipped:
            continue
        else:
            lines.append(f"  {name:<{width}}  pass      {title}")
    if checks.skipped:
        lines.append(f"  {len(checks.skipped)} more checks are made when {next(iter(checks.failed))} passes")
    if _TWICE in checks.failed and len(checks.failed) > 1:
        lines.append(f"  repair {_TWICE} first: what answers one question in two ways fails other checks too")
    counts = f"{len(checks.passed)} pass, {len(checks.failed)} fail, {len(checks.excused)} declared"
    return "\n".join([*lines, f"{counts}, in {seconds:.1f} s"])


def _kind(chain: Sequence[Reference]) -> str:
    """What a reference names, judged by its last link, of a shipped or installed one, and by what it looks like."""
    name = chain[-1].name
    if registry.is_shipped("aggregator", name):
        return "aggregator"
    if ":" not in name:
        own = [one for one in ("attack", *parts.KINDS) if name in {e.name for e in registry.catalogue(one)}]
        if len(own) > 1:
            raise UserError(f"{name} is a name of several kinds: say --kind {' or --kind '.join(own)}")
        return own[0] if own else "aggregator"
    if other_suites.is_foreign(name):
        return "aggregator"
    target = loading.from_file(name) if ".py:" in name else loading.from_module(name)
    if getattr(target, "place", None) in PLACES:
        return "attack"
    if (part := _part(target)) is not None:
        return part
    if not callable(target) or isinstance(target, type):
        return "aggregator"
    parameters = list(inspect.signature(target).parameters)
    if parameters[:1] == ["updates"]:  # a rule's second parameter is the cohort; `wire`: in files of earlier versions
        return "attack" if parameters[1:2] in (["context"], ["wire"]) else "aggregator"
    return "attack" if parameters and parameters[0] in PLACES else "aggregator"


_BY_PARAMETERS: dict[tuple[str, ...], str] = {  # of functions, by position
    (): "dataset",
    ("shape", "classes"): "model",
    ("t", "rounds"): "schedule",
    ("train", "test", "levels"): "features",
    ("weight",): "initialisation",
}


def _part(target: object) -> str | None:
    """The part of training that a class or function looks like; None: like none, or like one of several."""
    if isinstance(target, type):
        if issubclass(target, torch.nn.Module):
            return "model"
        members = {"optimiser": ("init", "step"), "augmentation": ("draw", "apply"), "loss": ("weights",)}
        return next((kind for kind, names in members.items() if all(hasattr(target, n) for n in names)), None)
    try:
        found = inspect.signature(target).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(p.name for p in found if p.kind in places)
    if names[:2] == ("labels", "clients"):
        raise UserError("a function of labels and clients may be both: say --kind partition or --kind malicious_data")
    return _BY_PARAMETERS.get(names)
