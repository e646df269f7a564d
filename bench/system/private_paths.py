"""Paths as results may hold them: from the working folder, from ``~``, or the name alone; no user, no host.

Results are published. A path says who ran them and how their machine is laid out, and it is of no use elsewhere.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]  # of flipbench, whatever the checkout is called
_PLAIN = ("/usr/", "/lib/", "/lib64/", "/etc/", "/dev/", "/proc/", "/sys/", "/opt/", "/bin/", "/nix/")
_ABSOLUTE = re.compile(r"(?<![\w.~:/<-])(?:/[^\s/'\"<>|:;,()\[\]{}]+){2,}/?|\b[A-Za-z]:\\[^\s'\"<>|:;,]+")


def shortened(path: str) -> str:
    """A path without what identifies a user or a machine.

    Args:
        path: absolute; a relative one stays as it is.

    Returns:
        From the working folder where it lies in it, else from the home folder as ``~/...``, else its last part as
        ``.../name``. Paths of the system itself (``/usr/...``) stay.
    """
    given = os.path.expanduser(path)
    if not (os.path.isabs(given) or re.match(r"[A-Za-z]:\\", given)):
        return path
    for folder, mark in _folders(os.getcwd()):
        if given == folder:
            return mark or "."
        if given.startswith(folder + os.sep):
            rest = given[len(folder) + 1 :]
            return f"{mark}/{rest}" if mark else rest
    if given.startswith(_PLAIN):
        return given
    name = re.split(r"[/\\]", given.rstrip("/"))[-1]
    return f".../{name}"


def in_text(text: str) -> str:
    """A text, like a traceback or a command, with every absolute path in it `shortened`."""
    for folder, mark in _folders(os.getcwd()):  # first: their names may hold blanks
        text = text.replace(folder + os.sep, f"{mark}/" if mark else "")
    return _ABSOLUTE.sub(lambda found: shortened(found[0]), text)


@cache
def _folders(working: str) -> tuple[tuple[str, str], ...]:
    """Folder -> what stands in its place, the first that fits counts."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    named = [(working, ""), (str(_PACKAGE), "flipbench"), (str(_PACKAGE.parent), "flipbench")]
    named += [(folder, "site-packages" if "packages" in folder else "python") for folder in sorted(libraries)]
    named += [(sys.prefix, "python"), (os.path.expanduser("~"), "~")]
    real = [(os.path.realpath(folder), mark) for folder, mark in named]
    return tuple(dict.fromkeys((f, mark) for f, mark in [*named, *real] if f and len(f) > 1))
