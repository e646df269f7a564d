"""Functions and classes that were passed in Python, as source text under a name made from its content.

``code_3f2a9c12d4e5b678:my_rule`` names the attribute ``my_rule`` of the module whose source has this hash. The text
travels with the work: a process that is handed a cell with such a name is handed the text too, so worker processes, a
Dask cluster and a later kernel see the same function under the same name, wherever the notebook lies.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from flipbench.errors import UserError
from flipbench.plugins import beside, user_modules
from flipbench.spec.reference import CODE

_TEXTS: dict[str, str] = {}  # module name -> source


class NoSourceError(UserError):
    """A name of source text that this process does not hold."""


def register(text: str) -> str:
    """Keep a module's source; its name, which depends on the text alone."""
    name = "code_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    _TEXTS[name] = text
    return name


def is_code(name: str) -> bool:
    """Whether a reference's name, ``code_<hash>:attribute``, means source text."""
    return CODE.match(name) is not None


def text(name: str) -> str:
    """The source behind ``code_<hash>:attribute``.

    Raises:
        NoSourceError: this process does not hold it.
    """
    module, _, attribute = name.partition(":")
    if module not in _TEXTS:
        raise NoSourceError(
            f"{name} is the function {attribute} of a Python program, and this process does not hold its source: "
            "run the program that defined it, or write the function to a file and name it 'path/file.py:name'"
        )
    return _TEXTS[module]


def mentioned(references: Iterable[str]) -> dict[str, str]:
    """Module name -> source of everything that some references name, as far as this process holds it."""
    names = {found.rstrip(":") for reference in references for found in CODE.findall(reference)}
    return {name: _TEXTS[name] for name in sorted(names) if name in _TEXTS}


def add(texts: Mapping[str, str]) -> None:
    """Keep source that another process sent.

    Raises:
        UserError: a text that is not what its name says.
    """
    for name, source in texts.items():
        if register(source) != name:
            raise UserError(f"the source sent as {name} has another hash: it was changed on its way")


_USES = re.compile(r"^# uses (\S+) sha256:([0-9a-f]{64})$", re.MULTILINE)
_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


def uses(module: str) -> set[str]:
    """Lines by which the content of a user's own modules enters the hash of a text that imports one of them.

    The modules that it imports in turn are among them. None for a module that is Python's, flipbench's or an installed
    package's.
    """
    lines: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name in lines or (path := own_file(name)) is None:
            continue
        content = path.read_bytes()
        lines[name] = f"# uses {name} sha256:{hashlib.sha256(content).hexdigest()}"
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo += [*parents(name), *beside.imported(content, package)]
    return set(lines.values())


def own_file(module: str) -> Path | None:
    """The file of a user's own module."""
    if module.partition(".")[0] in {"flipbench", *sys.stdlib_module_names}:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if module not in sys.modules:
        user_modules.install()
        try:
            with user_modules.finder.searched():
                spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):  # not a module, but a name that a module holds
            return None
        file = spec.origin if spec is not None else None
    if file is None or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    installed = {Path(p).resolve() for n, p in sysconfig.get_paths().items() if n in _INSTALLED}
    if {"site-packages", "dist-packages"} & set(path.parts) or installed & set(path.parents):
        return None
    return path


def parents(module: str) -> list[str]:
    """The packages around a module, which Python imports before it."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def changed(source: str) -> list[str]:
    """Users' own modules that a text imports, and that are not what they were when the text was made."""
    return [line[1] for line in _USES.finditer(source) if line[0] not in uses(line[1])]
