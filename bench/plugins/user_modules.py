"""Finds the modules of the user's own that a plug-in reaches by imports, so that they are part of its hash.

``import helper`` in ``rules/mine.py`` means ``rules/helper.py``, wherever flipbench runs; so do packages beside it and
relative imports. Other modules of the user's own are found as Python finds them, then in the working folder. Only
imports that stand in the text are followed. How these modules are loaded is in `user_imports`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from flipbench.plugins.import_statements import imported, parents
from flipbench.plugins.user_imports import NEVER, UserModule, finder, install, is_users

Modules = dict[str, UserModule]  # by name


def beside(path: Path, source: bytes) -> Modules:
    """What a plug-in file reaches beside it, in a fixed order.

    Args:
        path: of the plug-in file, resolved.
        source: its bytes.
    """
    return reached(imported(source, ""), lambda name: _beside(path.parent, name), path)


def importable(name: str, tops: frozenset[str] = frozenset()) -> Modules:
    """A module of the user's own, and the packages around it; empty where it is another's, or no module.

    Args:
        name: of the module, or of something in a module.
        tops: packages that count as the user's own though they are installed.
    """
    of_user = [*parents(name), name]
    paths = {n: own_file(n) or (_origin(n) if n.partition(".")[0] in tops else None) for n in reversed(of_user)}
    if paths[name] is None:
        return {}
    return {n: UserModule(p, p.read_bytes(), p.name == "__init__.py") for n, p in paths.items() if p is not None}


def reached(names: Iterable[str], locate: Callable[[str], Modules], but: Path | None = None) -> Modules:
    """All modules that some names lead to, with those that they import in turn, in a fixed order.

    Args:
        names: of modules, and of names in modules.
        locate: `importable`, or the like.
        but: a file that counts already.
    """
    found: Modules = {}
    visited = {""}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in visited:
            continue
        visited.add(name)
        new = {n: module for n, module in locate(name).items() if n not in found and module.path != but}
        found |= new
        todo += [n for part, module in new.items() for n in module.imports(part)]
    return dict(sorted(found.items()))


def lines(how: str, modules: Modules) -> list[str]:
    """Lines by which modules enter the hash of a plug-in.

    Args:
        how: the plug-in reaches them: ``beside`` its file or as what it ``uses``.
        modules: by name.
    """
    return [f"# {how} {name} sha256:{hashlib.sha256(m.source).hexdigest()}" for name, m in modules.items()]


def _beside(folder: Path, name: str) -> Modules:
    """The packages on the way to a module beside a file, and the module itself; empty where it lies elsewhere."""
    parts = [part for part in name.split(".") if part]
    found: Modules = {}
    for depth, part in enumerate(parts if parts and parts[0] not in NEVER else (), 1):
        here = folder.joinpath(*parts[:depth])
        if (file := _file(here)) is not None:
            module = UserModule(file, file.read_bytes(), file.name == "__init__.py" and file.parent == here)
        elif here.is_dir() and (depth > 1 or _is_loose_package(part, here)):
            module = UserModule(here, b"", True)
        else:
            break
        found[".".join(parts[:depth])] = module
        if not module.is_package:
            break
    return found


def _file(place: Path) -> Path | None:
    """The file of a package or a module; Python, too, looks for the package first."""
    places = (place / "__init__.py", place.parent / f"{place.name}.py")
    return next((path for path in places if path.is_file()), None)


def _is_loose_package(name: str, place: Path) -> bool:
    """Whether a folder without ``__init__.py`` is meant: it holds modules, and nothing else has its name."""
    try:
        known = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        known = None
    return (known is None or known.origin is None) and any(place.glob("*.py"))


def own_file(module: str) -> Path | None:
    """The file of a user's own module."""
    if module.partition(".")[0] in NEVER:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if module not in sys.modules:
        install()
        with finder.searched():
            file = _origin(module)
    if file is None:
        return None
    path = Path(file).resolve()
    return path if is_users(path) else None


def _origin(module: str) -> Path | None:
    """The file that Python finds for a module."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # not a module, but a name that a module holds
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None
