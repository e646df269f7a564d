"""Which shipped rules are excused from which property, and why: by definition, not by weakness of the program.

A rule of one's own declares the same by an attribute, ``my_rule.except_for = {"translation": "fixed origin"}`` (or a
tuple of names), or by the argument ``except_for`` of the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

ORIGIN = "measures lengths or directions from the origin"
ANGLES = "compares directions, which equal updates share"
UNBOUNDED = "claims no bound: a lone liar resembles nobody"
OUTPUT = "looks at the output layer alone: a liar elsewhere passes"

SHIPPED: Mapping[str, Mapping[str, str]] = {
    "norm_clipping": {"translation": ORIGIN},
    "cge": {"translation": ORIGIN},
    "signguard": {"translation": ORIGIN},
    "flame": {"translation": ORIGIN, "unanimity": "adds noise"},
    "dnc": {"liars": "drops along one direction, from a mean that liars move: some who disagree pass"},
    "bulyan": {"order": "its last choices count one neighbour, and the two nearest tie: the first is taken"},
    "fltrust": {"translation": ORIGIN, "unanimity": "answers at the length of the server's own update"},
    "foolsgold": {"translation": ORIGIN, "unanimity": ANGLES, "liars": UNBOUNDED},
    "lfighter": {"translation": ORIGIN, "liars": OUTPUT},
}
MIXES: Mapping[str, Mapping[str, str]] = {
    "arc": {"translation": ORIGIN},
    "clipping": {"translation": ORIGIN, "scale": "a fixed radius", "unanimity": "a fixed radius"},
}
RADIUS = {"translation": "a fixed radius", "scale": "a fixed radius", "unanimity": "a fixed radius"}

Exceptions = Mapping[str, str] | Iterable[str]


def declared(rule: Callable[..., Any], except_for: Exceptions = ()) -> dict[str, str]:
    """Property -> reason, from the shipped table, the rule's own attribute and the argument."""
    found: dict[str, str] = {}
    for part in parts(rule):
        name, options = name_of(part), options_of(part)
        if is_shipped(part):
            found |= {**SHIPPED.get(name, {}), **MIXES.get(name, {})}
            if options.get("radius") is not None:
                found |= RADIUS
        found |= _reasons(getattr(part, "except_for", getattr(bare(part), "except_for", ())))
    return found | _reasons(except_for)


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
    """The bound options."""
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
