"""An attack with its options bound, as the checks try it, and the record of a property of attacks.

An attack that needs options is tried with class 0 as source and as target: ``targeted(source=0, target=1)``, and the
other way round. Those that have no obvious value must be bound: ``scaled(factor=10)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from inspect import Parameter
from typing import Any

from flipbench.attacks import contract
from flipbench.conformance.cases import Broken
from flipbench.conformance.declared_exceptions import bare, name_of, options_of
from flipbench.conformance.side_effects import GENERATORS, disturbed, quiet_settings
from flipbench.plugins import registry, signatures
from flipbench.spec.reference import Reference, parse
from flipbench.system import process_settings

_ENDS: Mapping[str, tuple[Any, Any]] = {
    "source": (0, 1),
    "target": (1, 0),
    "first": (0, 1),
    "second": (1, 0),
    "mapping": ({0: 1}, {1: 0}),
}


@dataclass(frozen=True)
class Attack:
    """An attack with its options, and how to name it.

    Attributes:
        call: what the bench would call.
        name: as messages say it.
        ref: as a grid names it; None where no grid could (a lambda, a function within another).
    """

    call: Callable[..., Any]
    name: str
    ref: Reference | None = None

    def declares(self, what: str) -> bool:
        """Whether it declares ``adaptive``, ``dynamic`` or ``confusion``."""
        return contract.declares(self.call, what)

    @property
    def searches(self) -> bool:
        """Whether it is an adaptive label attack: ``search`` finds the flip before the federation begins."""
        return hasattr(self.call, "search")

    @property
    def remembers(self) -> bool:
        """Whether it has a memory: ``init`` gives the first state."""
        return hasattr(self.call, "init")


@dataclass(frozen=True)
class AttackProperty:
    """Something that must hold of an attack; see `conformance.properties.Property`.

    Attributes:
        check: raises `Broken` where it does not.
        title: in a few words.
        impact: what a failure means for an experiment.
        fix: what to do about it.
        applies: whether the property is asked of this attack at all.
    """

    check: Callable[[Attack], None]
    title: str
    impact: str
    fix: str
    applies: Callable[[Attack], bool] = lambda attack: True


@dataclass(frozen=True)
class AttackCheck:
    """One property of one attack; calling it raises `Defect` where it does not hold."""

    name: str
    property: AttackProperty
    attack: Callable[..., Any]
    label: str
    ref: Reference | None = None

    def __call__(self) -> None:
        one = self.property
        try:
            with process_settings.kept():
                for attack in variants(self.attack, self.label, self.ref):
                    one.check(attack)
        except Broken as error:
            raise error.defect(self.name, one.impact, one.fix) from error


def variants(call: Callable[..., Any], name: str, ref: Reference | None = None) -> list[Attack]:
    """The attack itself; one that needs classes as options with class 0 at either end."""
    known = options_of(call)
    options = {} if is_dataclass(call) and not isinstance(call, type) else signatures.options(call)
    needed = [n for n, p in options.items() if p.default is Parameter.empty and n not in known]
    if unknown := [n for n in needed if n not in _ENDS]:
        example = ", ".join(f"{n}=..." for n in unknown)
        raise Broken(name, "needs options", "nothing can be tried without them", f"name it as {name}({example})")
    if not needed:
        return [Attack(call() if isinstance(call, type) else call, name, ref)]
    bound_attacks = []
    for end in (0, 1):
        chosen = {n: _ENDS[n][end] for n in needed}
        bound = call(**chosen) if isinstance(call, type) else partial(call, **chosen)
        full = None if ref is None else Reference(ref.name, {**ref.options, **chosen})
        bound_attacks.append(Attack(bound, f"{name}({', '.join(f'{k}={v}' for k, v in chosen.items())})", full))
    return bound_attacks


def reference_of(call: Callable[..., Any]) -> Reference | None:
    """How a grid would name a callable, or None where no name leads to it."""
    core = bare(call)
    kind: Any = core if hasattr(core, "__qualname__") else type(core)
    options = dict(options_of(call))
    if kind is not core:
        options = {f.name: getattr(core, f.name) for f in fields(core)} if is_dataclass(core) else {}
    module, name = str(kind.__module__), str(kind.__qualname__)
    if registry.shipped("attack").get(name_of(core)) is kind:
        return Reference(name_of(core), options)
    try:
        named = getattr(importlib.import_module(module), name, None)
        return parse(str(Reference(f"{module}:{name}", options))) if named is kind else None
    except (ImportError, ValueError):  # of a file that no import finds, or options that are no literals
        return None


def settings_property(asked: Callable[[Attack], Iterator[Callable[[], Any]]]) -> AttackProperty:
    """The property of attacks of every place that settings of the process stay as they are.

    Args:
        asked: questions to the attack, to be asked one by one.
    """

    def check(attack: Attack) -> None:
        with process_settings.kept():
            questions = list(asked(attack))  # which may ask the attack what it takes
        for question in questions:
            with quiet_settings(attack.name), suppress(ValueError, Broken):
                question()

    return AttackProperty(
        check,
        "settings of the process are left as they were",
        "every other cell of the process would be computed differently: the bench sets them back and fails the cell",
        "give dtypes, devices and paths where they are used; change no default, no environment variable, no folder",
    )


@contextmanager
def quiet_generators(where: str) -> Iterator[None]:
    """Within it no global generator may move; they are in a state that no seed gives."""
    with disturbed():
        before = {name: state() for name, state in GENERATORS.items()}
        yield
        for name, state in GENERATORS.items():
            if state() != before[name]:
                raise Broken(where, f"{name} global generator moved")
