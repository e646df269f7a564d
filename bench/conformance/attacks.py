"""The checks of an attack, by the place where it acts: on labels, examples or updates, then within real cells.

for name, check in check_attack(my_attack):
    check()                          # raises Defect with the smallest failing case found
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flipbench.attacks.contract import place
from flipbench.conformance.adaptive_attacks import SEARCH_PROPERTIES
from flipbench.conformance.attack_cases import Attack, AttackCheck, AttackProperty, reference_of
from flipbench.conformance.attacked_federations import FEDERATION_PROPERTIES
from flipbench.conformance.declared_exceptions import name_of
from flipbench.conformance.example_attacks import EXAMPLE_PROPERTIES
from flipbench.conformance.label_attacks import LABEL_PROPERTIES
from flipbench.conformance.update_attacks import UPDATE_PROPERTIES
from flipbench.errors import UserError
from flipbench.plugins import loading, plugin_form, registry
from flipbench.spec.reference import Reference, parse

ATTACK_PROPERTIES: Mapping[str, Mapping[str, AttackProperty]] = {
    "labels": LABEL_PROPERTIES | SEARCH_PROPERTIES | FEDERATION_PROPERTIES,
    "examples": EXAMPLE_PROPERTIES | FEDERATION_PROPERTIES,
    "updates": UPDATE_PROPERTIES | FEDERATION_PROPERTIES,
}


def check_attack(
    attack: Callable[..., Any] | str, *, name: str | None = None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The checks that an attack must pass, each by the name of its property.

    Args:
        attack: on labels, examples or updates (`attacks.contract`), or a reference as in a grid. One that needs classes
            as options is tried with class 0 as source and as target.
        name: as messages say it; null: its own.

    Yields:
        ``(property, check)``; ``check()`` raises `Defect`, an AssertionError.

    Raises:
        UserError: a reference that leads nowhere, or an attack that does not say where it acts.
    """
    for one in attack_checks(attack, name=name)[1]:
        yield one.name, one


def attack_checks(attack: Callable[..., Any] | str, *, name: str | None = None) -> tuple[str, list[AttackCheck]]:
    """Where an attack acts, and the checks that apply; those within real cells need a name that a grid could use."""
    if isinstance(attack, str):
        ref = parse(attack)
        subject = Attack(_unbound(ref), name or attack, ref)
    else:
        subject = Attack(attack, name or name_of(attack), reference_of(attack))
    try:
        where = place(subject.call)
    except ValueError as error:
        raise UserError(f"{subject.name}: {error}") from error
    if isinstance(attack, type):
        plugin_form.check("attack", subject.name, attack)
    return where, [
        AttackCheck(p, one, subject.call, subject.name, subject.ref)
        for p, one in ATTACK_PROPERTIES[where].items()
        if one.applies(subject)
    ]


def _unbound(ref: Reference) -> Any:
    """The attack; one that needs options may come without them, as it is tried with several."""
    if ref.options or (":" not in ref.name and not registry.is_shipped("attack", ref.name)):
        return registry.resolve("attack", ref)
    if ":" not in ref.name:
        return registry.shipped("attack")[ref.name]
    target = loading.from_file(ref.name) if ".py:" in ref.name else loading.from_module(ref.name)
    plugin_form.check("attack", ref.name, target)
    return target
