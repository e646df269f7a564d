"""Modules that lie beside a plug-in file, and that it imports: found, hashed with it, and loaded for it alone.

``import helper`` in ``rules/mine.py`` means ``rules/helper.py``, wherever flipbench runs; so do packages beside it and
relative imports. Each plug-in file has its own copies, under names that no other module has: two folders may each hold
another helper of one name, and a file with the name of a module of Python's hides nothing from any other. Only
imports that stand in the text are followed, so whatever is loaded is part of the hash.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from flipbench.versions.syntax import base

# A file called random.py does not stand for Python's module, nor one called numpy.py for what every plug-in uses.
_NEVER = {"flipbench", "numba", "numpy", "pandas", "scipy", "torch", *sys.stdlib_module_names}


@dataclass(frozen=True)
class Helper:
    """A module beside a plug-in file.

    Attributes:
        path: its file; a folder where it is a package without ``__init__.py``.
        source: its bytes, as they were when it was hashed.
        is_package: whether it has modules in it.
    """

    path: Path
    source: bytes
    is_package: bool


def helpers(path: Path, source: bytes) -> dict[str, Helper]:
    """What a plug-in file reaches by imports beside it: name -> module, in a fixed order.

    Args:
        path: of the plug-in file, resolved.
        source: its bytes.
    """
    found: dict[str, Helper] = {}
    todo = list(imported(source, ""))
    while todo:
        name = todo.pop()
        for part, helper in _located(path.parent, name):
            if part not in found and helper.path != path:
                found[part] = helper
                todo += imported(helper.source, part if helper.is_package else part.rpartition(".")[0])
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def imported(source: bytes, package: str) -> tuple[str, ...]:
    """The modules that a text imports anywhere, and the names it imports from them, which may be modules too.

    Args:
        source: of a module; what is no Python imports nothing.
        package: that the module lies in; empty: none.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(name.strip(".") for node in ast.walk(tree) for name in _names(node, package)))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        home = base(node, package)
        yield from (home, *(f"{home}.{alias.name}" for alias in node.names))


def _located(folder: Path, name: str) -> list[tuple[str, Helper]]:
    """The packages on the way to a module beside a file, and the module itself; nothing where it lies elsewhere."""
    parts = [part for part in name.split(".") if part]
    if not parts or parts[0] in _NEVER:
        return []
    found: list[tuple[str, Helper]] = []
    for depth, part in enumerate(parts, 1):
        here = folder.joinpath(*parts[:depth])
        place = _file(here)
        if place is None and here.is_dir() and (depth > 1 or _is_loose_package(part, here)):
            place = here
        if place is None:
            break
        content = b"" if place == here else place.read_bytes()
        found.append((".".join(parts[:depth]), Helper(place, content, here.is_dir() and place != _module(here))))
        if not found[-1][1].is_package:
            break
    return found


def _module(place: Path) -> Path:
    return place.parent / f"{place.name}.py"


def _file(place: Path) -> Path | None:
    """The file of a package or a module; Python, too, looks for the package first."""
    return next((p for p in (place / "__init__.py", _module(place)) if p.is_file()), None)


def _is_loose_package(name: str, place: Path) -> bool:
    """Whether a folder without ``__init__.py`` is meant: it holds modules, and nothing else has its name."""
    try:
        known = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        known = None
    return (known is None or known.origin is None) and any(place.glob("*.py"))


class _Finder:
    """Finds the helpers of plug-in files, by names that begin with the name of the plug-in's module."""

    def __init__(self) -> None:
        self.known: dict[str, Mapping[str, Helper]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        plugin, _, inner = name.partition(".")
        if inner not in self.known.get(plugin, ()):
            return None
        helper = self.known[plugin][inner]
        spec = spec_from_loader(name, _Loader(plugin, helper), origin=str(helper.path), is_package=helper.is_package)
        if spec is not None:
            spec.has_location = True  # sets __file__
        return spec


class _Loader(Loader):
    """Runs a helper's bytes as they were hashed; no compiled file is read or written."""

    def __init__(self, plugin: str, helper: Helper) -> None:
        self.plugin, self.helper = plugin, helper

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = _builtins(self.plugin)
        if self.helper.path.suffix == ".py":
            exec(compile(self.helper.source, str(self.helper.path), "exec", dont_inherit=True), module.__dict__)


_FINDER = _Finder()


def prepare(module: ModuleType, known: Mapping[str, Helper]) -> None:
    """Let a plug-in's module, before it runs, import its helpers.

    Args:
        module: in `sys.modules` under a name of its own.
        known: of `helpers`.
    """
    if not known:
        return
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.known[module.__name__] = known
    module.__path__ = []  # what makes it a package, for relative imports
    module.__package__ = module.__name__
    module.__dict__["__builtins__"] = _builtins(module.__name__)


def forget(plugin: str) -> None:
    """Remove a plug-in whose module failed, and its helpers."""
    _FINDER.known.pop(plugin, None)
    for name in [n for n in sys.modules if n == plugin or n.startswith(plugin + ".")]:
        del sys.modules[name]


def _builtins(plugin: str) -> dict[str, Any]:
    """Python's own names, with an import statement that looks among a plug-in's helpers first."""
    known = _FINDER.known[plugin]

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in known:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        whole = importlib.import_module(f"{plugin}.{name}")
        for part in fromlist or ():
            if f"{name}.{part}" in known and not hasattr(whole, part):
                importlib.import_module(f"{plugin}.{name}.{part}")
        return whole if fromlist else sys.modules[f"{plugin}.{top}"]

    return {**vars(builtins), "__import__": import_}
