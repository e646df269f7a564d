"""Declared exceptions: the properties that a rule is excused from, with the reason.

Of a shipped rule they stand beside its oracle (`conformance.oracles`): it is excused by its definition, not by weakness
of the program. A rule of one's own declares them by an attribute, ``my_rule.except_for = {"translation": "fixed
origin"}`` (or a tuple of names), or by the argument ``except_for`` of the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from flipbench.conformance.oracles import DEFINITIONS, MIXES
from flipbench.conformance.oracles.definition import RADIUS

Exceptions = Mapping[str, str] | Iterable[str]


def declared(rule: Callable[..., Any], except_for: Exceptions = ()) -> dict[str, str]:
    """Property -> reason, from the shipped table, the rule's own attribute and the argument."""
    reasons: dict[str, str] = {}
    for part in parts(rule):
        name, options = name_of(part), options_of(part)
        if is_shipped(part):
            shipped = DEFINITIONS.get(name) or MIXES.get(name)
            reasons |= shipped.excused if shipped else {}
            if options.get("radius") is not None:
                reasons |= dict.fromkeys(("translation", "scale", "unanimity"), RADIUS)
        reasons |= _reasons(getattr(part, "except_for", getattr(bare(part), "except_for", ())))
    return reasons | _reasons(except_for)


def parts(rule: Callable[..., Any]) -> list[Any]:
    """The steps of a chain, or the rule alone."""
    steps = getattr(rule, "first", None)
    last = getattr(rule, "rule", None)
    return [*steps, last] if isinstance(steps, tuple) and last is not None else [rule]


def bare(rule: Any) -> Any:
    """The function under bound options."""
    return bare(rule.func) if hasattr(rule, "func") and hasattr(rule, "keywords") else rule


def name_of(rule: Any) -> str:
    """The name of a function, a class or an instance's class."""
    core = bare(rule)
    return str(getattr(core, "__name__", type(core).__name__))


def options_of(rule: Any) -> Mapping[str, Any]:
    """The bound options; of an instance of a dataclass those fields that differ from their defaults."""
    if is_dataclass(rule) and not isinstance(rule, type):
        values = {f.name: getattr(rule, f.name) for f in fields(rule) if f.init}
        usual = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(rule)}
        return {name: value for name, value in values.items() if value is not usual[name] and value != usual[name]}
    keywords: Mapping[str, Any] = getattr(rule, "keywords", {})
    return keywords


def is_shipped(rule: Any) -> bool:
    """Whether the function (or the instance's class) is one of flipbench's own."""
    core = bare(rule)
    kind = core if hasattr(core, "__name__") else type(core)
    return str(getattr(kind, "__module__", "")).startswith("flipbench.aggregators.")


def _reasons(given: Exceptions) -> dict[str, str]:
    if isinstance(given, str):
        given = (given,)
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "declared by the author")
