"""Checks that what a name leads to has the form of its kind: it can be called with what flipbench passes."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from typing import Any

from flipbench.attacks.contract import place as place_of_attack
from flipbench.plugins import kinds, signatures
from flipbench.plugins.kinds import Kind, PluginError
from flipbench.spec.suggestions import near

_CALLED_CLASSES = ("dataset", "model")  # here a class itself is called as a function is
_ARGUMENTS = {"labels": 2, "examples": 3, "updates": 2}  # of an attack, by position
# What an attack may declare with true, and the methods that are called, by the place where it acts.
_DECLARATIONS = {"labels": ("adaptive", "dynamic", "confusion"), "examples": (), "updates": ("adaptive",)}
_METHODS = {"labels": ("search",), "examples": (), "updates": ("init",)}


def check(kind: str, name: str, target: Any) -> None:
    """A plug-in must be callable and take what the bench will pass.

    Raises:
        PluginError: it is not, with what its author has to write.
    """
    spec = kinds.named(kind)
    is_class = isinstance(target, type)
    if not callable(target):
        what = _with_article(type(target).__name__)
        raise PluginError(f"{name} is {what}, not a function or a class: name {_with_article(spec.noun)}")
    count = _count(name, target) if kind == "attack" else spec.positional
    if is_class and is_dataclass(target) and not inspect.getattr_static(target, "__dataclass_params__").frozen:
        raise PluginError(
            f"{name} is a dataclass that is not frozen, so what one cell changes in it would reach the next: write "
            "@dataclasses.dataclass(frozen=True) above it"
        )
    if kind == "attack":
        _check_declarations(name, target)
    if spec.members:
        _check_members(spec, name, target)
    elif is_class and kind not in _CALLED_CLASSES:
        _check_class(kind, name, target, count)
    elif count is not None and not (is_class and is_dataclass(target)):
        _check_call(spec, name, target, count)


def check_built(kind: str, name: str, built: Any) -> None:
    """What a dataclass made of its options must have what is used of it in place of a call.

    Raises:
        PluginError: it has not.
    """
    spec = kinds.named(kind)
    if missing := [m for m in spec.members if not hasattr(built, m)]:
        raise PluginError(
            f"{name} cannot be used as {spec.noun}: it needs {' and '.join(spec.members)}, "
            f"and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )


def _count(name: str, attack: Any) -> int:
    try:
        return _ARGUMENTS[place_of_attack(attack)]
    except ValueError as error:
        raise PluginError(f"{name}: {error}") from error


def _check_declarations(name: str, attack: Any) -> None:
    """An attack must not declare, or bring, what would be ignored in the place where it acts."""
    place = place_of_attack(attack)
    known = sorted({d for declarations in _DECLARATIONS.values() for d in declarations})
    read = ", ".join(_DECLARATIONS[place]) or "nothing"
    for declared in known:
        value = getattr(attack, declared, False)
        if not isinstance(value, bool):
            raise PluginError(f"{name}: {declared} is True or False, got {value!r}")
        if value and declared not in _DECLARATIONS[place]:
            raise PluginError(
                f"{name}: {declared} = True would be ignored, for an attack on {place} can declare {read}"
            )
    for word, value in vars(attack).items():
        if isinstance(value, bool) and word not in known and not word.startswith("_") and (meant := near(word, known)):
            raise PluginError(
                f"{name}: {word} = {value} would be ignored{meant}; an attack on {place} can declare {read}"
            )
    for method in sorted({m for methods in _METHODS.values() for m in methods} - set(_METHODS[place])):
        if isinstance(attack, type) and hasattr(attack, method):
            raise PluginError(f"{name}: its {method} would be ignored, for an attack on {place} has none")
    if place == "labels" and hasattr(attack, "search") != getattr(attack, "adaptive", False):
        raise PluginError(
            f"{name}: an adaptive attack on labels is a frozen dataclass with adaptive = True and search(trials), and "
            f"one of the two is missing (docs/writing_an_attack.md)"
        )


def _check_call(spec: Kind, name: str, target: Any, count: int, of_what: str = "") -> None:
    if problem := signatures.wrong_positionals(target, count):
        raise PluginError(f"{name} cannot be used as {spec.noun}: {of_what}{problem}")


def _check_members(spec: Kind, name: str, target: Any) -> None:
    """A dataclass whose members are used, and that has nothing that would be ignored."""
    used = " and ".join(spec.members)
    if any(base.__module__ == "torch.optim.optimizer" for base in getattr(target, "__mro__", ())):
        named = f"pytorch(name={target.__name__})" if target.__module__.startswith("torch.optim.") else "OfTorch"
        raise PluginError(
            f"{name} cannot be used as {spec.noun}: it is a class of PyTorch, write {named} "
            "(docs/writing_an_optimiser.md, Optimisers of PyTorch)"
        )
    if not (isinstance(target, type) and is_dataclass(target)):
        raise PluginError(
            f"{name} cannot be used as {spec.noun}: a dataclass with {used} is needed, got "
            f"{'a class that is none' if isinstance(target, type) else 'a function'}"
        )
    if "__call__" in vars(target):
        raise PluginError(f"{name} cannot be used as {spec.noun}: its __call__ would be ignored, for {used} are used")


def _check_class(kind: str, name: str, target: type, count: int | None) -> None:
    """A class must be a dataclass, whose fields are the options, with a ``__call__`` that takes what is passed."""
    spec = kinds.named(kind)
    what = _with_article(spec.noun)
    if not is_dataclass(target):
        raise PluginError(
            f"{name} is a plain class, and {what} is a function or a dataclass whose fields are its options: write "
            f"@dataclasses.dataclass(frozen=True) above it, and {_call_line(kind, target)}"
        )
    if hasattr(target, "search") or (kind == "attack" and hasattr(target, "init")):
        return  # an attack that searches has no __call__; one that remembers is checked with its state
    own = inspect.getattr_static(target, "__call__", None)
    if not inspect.isfunction(own):
        raise PluginError(f"{name} cannot be called, and {what} must be: give the class {_call_line(kind, target)}")
    if count is not None:
        remembers = kind == "aggregator" and hasattr(target, "init")
        _check_call(spec, name, own, 1 + count + remembers, "its __call__ does not fit: ")


def _call_line(kind: str, target: type) -> str:
    """The line that the author of a class has to write."""
    if kind == "aggregator":
        return "def __call__(self, updates, cohort, /) -> update (docs/writing_a_defence.md)"
    if kind == "attack":
        first = place_of_attack(target)
        second = "labels, context" if first == "examples" else "context"
        return f"def __call__(self, {first}, {second}, /) (docs/writing_an_attack.md)"
    return "def __call__(self, ...) with the arguments of a function of its kind"


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
