"""Functions and classes that were passed in Python, as source text under a name made from its content.

``code_3f2a9c12d4e5b678:my_rule`` names the attribute ``my_rule`` of the module whose source has this hash. The text
travels with the work: a process that is handed a cell with such a name is handed the text too, so worker processes, a
Dask cluster and a later kernel see the same function under the same name, wherever the notebook lies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from flipbench.errors import UserError
from flipbench.plugins import user_modules
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


def uses(module: str) -> set[str]:
    """Lines by which the content of a user's own modules enters the hash of a text that imports one of them.

    The modules that it imports in turn are among them. None for a module that is Python's, flipbench's or an installed
    package's.
    """
    return set(user_modules.lines("uses", user_modules.reached([module], user_modules.importable)))


def changed(source: str) -> list[str]:
    """Users' own modules that a text imports, and that are not what they were when the text was made."""
    return [line[1] for line in _USES.finditer(source) if line[0] not in uses(line[1])]
