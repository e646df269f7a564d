"""The source of a function or class with all that it refers to, as the text of one module.

A notebook's functions cannot be imported by worker processes, and a cell's key must change with a function's body. So
the definition is cut out of its cell or script, and what it refers to follows: imports as import lines, simple
constants as literals, other functions and classes by their own definitions, recursively. The order is fixed, so that
the same code gives the same text in every kernel. What has no such form is refused by name.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any

from flipbench.plugins import definitions, import_statements, source_text
from flipbench.plugins.definitions import Definition, SourceError, kind_of, unwrapped, wrappers

_OWN_NAMES = {"__name__", "__doc__", "__builtins__", "__spec__", "__class__"}  # every module and class has its own
_HOLDERS = (  # of built-in functions that do not say where they are
    *("torch", "torch.nn.functional", "torch.linalg", "torch.special", "torch.fft"),
    *("numpy", "math", "scipy.special"),
)
_MAIN = ("__main__", "__mp_main__")


@dataclass(frozen=True)
class Source:
    """The module that defines a function or class.

    Attributes:
        text: of the module.
        values: name -> the function or class that the text defines under it.
    """

    text: str
    values: Mapping[str, Any]


def source_of(value: Any) -> Source:
    """The module that defines a function or class.

    Args:
        value: a function or class with a name.

    Raises:
        SourceError: a lambda, a closure, code without source, or something it refers to that has no text.
    """
    collector = _Collector(_name(value))
    collector.define(value)
    return Source(collector.text(), {name: collector.meant[name] for name in collector.needs})


def importable(value: Any) -> str | None:
    """The module that a fresh process can import a function or class from; None for a notebook's or a script's own."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module in _MAIN:
        return None
    return module if _can_import(module) and getattr(sys.modules.get(module), name, None) is value else None


def _can_import(module: str) -> bool:
    if module in _MAIN or module not in sys.modules:
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


class _Collector:
    """What a module's text is made of; filled by `define`."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.needs: dict[str, Definition] = {}  # of the functions and classes among the definitions
        self.meant: dict[str, Any] = {}  # name -> what it stands for in this module

    def text(self) -> str:
        """The module."""
        first = [f'"""{self.root}, as it was passed to flipbench in Python."""']
        first += [definitions.FUTURE.rstrip()] if any(d.future for d in self.needs.values()) else []
        parts = ["\n".join([*first, *sorted(self.imports)]), "\n".join(v for _, v in sorted(self.constants.items()))]
        return "\n\n".join(part for part in [*parts, *self._ordered()] if part) + "\n"

    def _ordered(self) -> list[str]:
        """The definitions: each after those that it needs at once, also where two need each other."""
        order: list[str] = []
        visited: set[str] = set()

        def place(name: str, deep: bool) -> None:
            if name in visited or name not in self.definitions:
                return
            visited.add(name)
            if (found := self.needs.get(name)) is not None:
                for needed in sorted(found.at_once | (found.later if deep else frozenset())):
                    place(needed, True)
            order.append(self.definitions[name])

        for name in self.definitions:
            place(name, False)
        return order

    def define(self, value: Any) -> None:
        """Add the definition of a function or class, and before it all that it refers to."""
        name = _name(value)
        if self._known(name, value):
            return
        found = definitions.find(unwrapped(value), name)
        if (wrapped := wrappers(value)) > len(found.node.decorator_list):
            raise SourceError(
                f"{name} is a function with {wrapped} wrapper{'s' * (wrapped > 1)} that its definition does not show; "
                "write them as decorators above def"
            )
        required = found.at_once | found.later
        for needed in sorted(required | found.optional):
            if needed not in found.namespace:
                if not hasattr(builtins, needed) and needed in required and needed not in _OWN_NAMES:
                    raise SourceError(f"{name} uses {needed}, which is not defined where {name} is")
            elif needed in required:
                self._add(needed, found.namespace[needed], found.node, name)
            else:
                self._add_if_possible(needed, found.namespace[needed], found.node, name)
        for module in import_statements.names(found.node, ""):  # when it runs
            self.imports |= source_text.uses(module)
        self.definitions[name] = found.text + "".join(_attributes(value, name))
        self.needs[name] = found

    def _add_if_possible(self, name: str, value: Any, node: ast.AST, user: str) -> None:
        """Add what a definition may do without; nothing of it stays where it has no text."""
        kept = ("imports", "constants", "definitions", "needs", "meant")
        before = {part: getattr(self, part).copy() for part in kept}
        try:
            self._add(name, value, node, user)
        except SourceError:
            vars(self).update(before)

    def _known(self, name: str, value: Any) -> bool:
        """Whether a name stands for this value already; noted if it is new."""
        if name in self.meant and self.meant[name] is not value and not _alike(self.meant[name], value):
            raise SourceError(f"{self.root} uses two different things called {name}: rename one of them")
        known = name in self.meant
        self.meant[name] = value
        return known

    def _add(self, name: str, value: Any, node: ast.AST, user: str) -> None:
        """Make a global name mean in the text what it means in the notebook."""
        if name in _OWN_NAMES:
            return
        if inspect.isfunction(value) and value.__name__ == "<lambda>":
            raise SourceError(f"{user} uses {name}, a lambda: write it with def")
        if isinstance(value, ModuleType):
            if not self._known(name, value):
                self._import_module(name, value, user)
            self.imports |= set(_submodules(name, value, node))
        elif (home := _home(value)) is not None:
            if not self._known(name, value):
                line = f"from {home[0]} import {home[1]}" + ("" if home[1] == name else f" as {name}")
                self._import(line, importable(value) or home[0])
        elif isinstance(value, type) or callable(getattr(value, "__wrapped__", None)) or inspect.isfunction(value):
            self.define(value)
            if _name(value) != name and not self._known(name, value):
                self.definitions[f"{name} ="] = f"{name} = {_name(value)}"
        elif (written := literal(value)) is not None:
            if not self._known(name, value):
                self.constants[name] = f"{name} = {written}"
                self.imports |= {"from pathlib import Path"} if "Path(" in written else set()
        else:
            raise SourceError(
                f"{user} uses {name}, {kind_of(value)} that cannot be written as source: make or load it inside the "
                "function, or pass what it holds as a keyword-only option"
            )

    def _import_module(self, name: str, module: ModuleType, user: str) -> None:
        if not _can_import(module.__name__):
            raise SourceError(f"{user} uses the module {name}, which a worker process cannot import")
        line = f"import {module.__name__}" + ("" if module.__name__ == name else f" as {name}")
        self._import(line, module.__name__)

    def _import(self, line: str, module: str) -> None:
        self.imports |= {line} | source_text.uses(module)


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _alike(a: Any, b: Any) -> bool:
    """Whether two values are the same constant; 1, 1.0 and True are not."""
    return (literal(a) or a) == (literal(b) or b)


def _submodules(name: str, module: ModuleType, node: ast.AST) -> Iterator[str]:
    """Imports of submodules that a definition reaches through a module's name: ``scipy.stats.norm``."""
    for chain in ast.walk(node):
        parts: list[str] = []
        while isinstance(chain, ast.Attribute):
            parts.insert(0, chain.attr)
            chain = chain.value
        if isinstance(chain, ast.Name) and chain.id == name:
            path = module.__name__
            for part in parts:
                path = f"{path}.{part}"
                if not isinstance(sys.modules.get(path), ModuleType):
                    break
                yield f"import {path}"


def _home(value: Any) -> tuple[str, str] | None:
    """The package or module nearest the top that a fresh process can import a value from, and its name there.

    Where inside ``torch`` or ``flipbench.aggregators`` it is defined may change with the version; no key should.
    """
    home, name = importable(value), _own_name(value)
    parts = (home or "").split(".")
    tops = [".".join(parts[: i + 1]) for i in range(len(parts))] if home else []
    for holder in (*tops, getattr(value, "__module__", None), type(value).__module__, *_HOLDERS):
        if not isinstance(holder, str) or holder == "builtins" or not _can_import(holder):
            continue
        there = name.removeprefix(holder.rpartition(".")[2] + "_")  # torch.linalg.norm says linalg_norm
        for candidate in (name, there):
            if candidate.isidentifier() and getattr(sys.modules[holder], candidate, None) is value:
                return holder, candidate
    return None


def _own_name(value: Any) -> str:
    """The name under which a module holds a value: of a function, of ``typing.Any``, of ``torch.float32``."""
    return str(getattr(value, "__name__", None) or getattr(value, "_name", None) or str(value).rpartition(".")[2])


def literal(value: Any) -> str | None:
    """A simple constant as source: numbers, texts, paths, ranges, and lists, tuples, sets and mappings of them."""
    if value is None or type(value) in (bool, int, str, bytes, complex, range):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float('{value}')"
    if isinstance(value, PurePath):
        return f"Path({str(value)!r})"
    if type(value) in (list, tuple, set, frozenset):
        parts = [literal(v) for v in value]
        if None in parts:
            return None
        inside = ", ".join(sorted(map(str, parts)) if isinstance(value, set | frozenset) else map(str, parts))
        forms: dict[type, str] = {list: f"[{inside}]", tuple: f"({inside}{',' * (len(parts) == 1)})"}
        return forms.get(type(value), f"{type(value).__name__}([{inside}])")
    if type(value) is dict:
        pairs = [(literal(k), literal(v)) for k, v in value.items()]
        return None if any(None in pair for pair in pairs) else "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
    return None


def _attributes(value: Any, name: str) -> Iterator[str]:
    """Lines that set what was set on a function after its definition, like ``my_attack.adaptive = True``."""
    if isinstance(value, FunctionType):
        for attribute, held in sorted(vars(value).items()):
            if attribute == "__wrapped__":
                continue
            if (written := literal(held)) is None:
                raise SourceError(f"{name}.{attribute} is {kind_of(held)}, which cannot be written as source")
            yield f"{name}.{attribute} = {written}\n"
