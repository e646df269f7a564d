"""The order in which modules are searched for: Python's own first, then installed ones, not the working folder.

Folders and files of a user may have any name: ``random.py``, ``attacks/``. Python puts the working folder (``-m``,
``-c``, an empty entry of PYTHONPATH) before its own modules; in the command line and in all child processes it must not
be there. What plug-ins import from it is found by `plugins.user_modules`. This module imports nothing that a user's
file could take the place of.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, which would be an import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAFE = "PYTHONSAFEPATH"  # Python then adds no folder of its own to the front
SEARCHED = "PYTHONPATH"


def ordered(path: Sequence[str]) -> list[str]:
    """A search path in the safe order.

    Args:
        path: like `sys.path`.

    Returns:
        Python's own folders, then the others in their order, by absolute names. Left out are the working folder and the
        folder of the running script, unless flipbench itself is installed there.
    """
    own, users = _pythons_own(), _users()
    first: list[str] = []
    others: list[str] = []
    for entry in path:
        real = _real(entry)
        if real in users:
            continue
        place = first if real in own else others
        if entry and (absolute := os.path.abspath(entry)) not in place:
            place.append(absolute)
    return first + others


def left_out(path: Sequence[str]) -> list[str]:
    """The folders of a search path that the safe order leaves out, by absolute names."""
    users = _users()
    return list(dict.fromkeys(os.path.abspath(entry) for entry in path if _real(entry) in users))


def make_safe() -> None:
    """Search the working folder no longer, in this process."""
    sys.path[:] = ordered(sys.path)


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """Environment of a child process that searches where this process does, in the safe order."""
    path = [entry for entry in ordered(sys.path) if os.pathsep not in entry]
    return {**base, SAFE: "1", SEARCHED: os.pathsep.join(path)}


def _users() -> set[str]:
    """Folders in which a user's files may have any name."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    script = {_real(os.path.dirname(file))} if file and getattr(main, "__spec__", None) is None else set()
    package = os.path.dirname(os.path.dirname(__file__))
    home = {_real(os.path.dirname(package))} if os.path.basename(package) == "flipbench" else set()
    return {_real(""), *script} - home


def _pythons_own() -> set[str]:
    """The folders of the standard library."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    archive = os.path.join(os.path.dirname(library), f"python{sys.version_info[0]}{sys.version_info[1]}.zip")
    return {_real(library), _real(os.path.join(library, "lib-dynload")), _real(archive)}


def _real(entry: str) -> str:
    try:
        return os.path.realpath(entry)  # an empty one is the working folder
    except OSError:  # which was removed
        return entry
