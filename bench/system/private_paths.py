"""Paths and addresses as results may hold them: from the working folder, from ``~``, or the last name alone.

Results are published, so they hold no user and no host. A path says who ran them and how their machine is laid out, an
address in which network it stands, and neither is of use elsewhere.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]  # of flipbench, whatever the checkout is called
_PLAIN = ("/usr/", "/lib/", "/lib64/", "/etc/", "/dev/", "/proc/", "/sys/", "/opt/", "/bin/", "/nix/")
_NOBODY = {"root", "user", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "vscode", "localhost"}
_END = r"\s'\"`<>|:;,()\[\]{}"  # none of these is in a path that stands in a text without quotes
_QUOTED = re.compile(r"""(['"`])((?:[\w.-]{1,64}=)?)((?:/|~|[A-Za-z]:[\\/]|\\\\)(?:[^'"`\n ]|\ (?![/-]))*+)(?=\1)""")
_ABSOLUTE = re.compile(
    rf"""
    (?P<url>\b(?!file:)[a-z][a-z0-9+.-]{{1,20}}://\S*)                     # left as it is: its host is another's affair
    |(?:(?<![\w.~/\\#])|(?<=\s-[A-Z])|(?<=file://))
     (?P<path>(?:/+(?:\\\ |[^/{_END}])+){{2,}}/?                      # /scratch/alice/x
      |\b[A-Za-z]:[\\/]+[^{_END}]+                                    # C:\Users\alice
      |\\\\[\w.$?-]+\\[^{_END}]+                                      # \\server\alice
      |~[\w.-]+(?:/[^/{_END}]+)+)                                     # ~alice/x
    """,
    re.VERBOSE,
)
_CLUSTER = re.compile(r"\b(tls|tcp|ucxx?|wss?|ssh|sftp|inproc)://(?:\[[^\]\s]*\]|[^\s/:'\"<>,;)\]}]+)")
_ACCOUNT = re.compile(r"(?<=://)[^\s/@'\"]+@")  # user:password@
_REMOTE = re.compile(r"\b[\w.-]{1,64}@[\w.-]{1,253}:(?=[/~])")  # alice@node17:/scratch/x


def shortened(path: str) -> str:
    """A path without what identifies a user or a machine.

    Args:
        path: absolute; a relative one stays as it is, but for the user's name as one of its folders.

    Returns:
        From the working folder where it lies in it, else from the home folder as ``~/...``, else its last part as
        ``.../name``. Paths of the system itself (``/usr/...``) stay.
    """
    given = os.path.expanduser(path)
    elsewhere = re.match(r"[A-Za-z]:[\\/]|\\\\|~[^/]", given)
    if not (os.path.isabs(given) or elsewhere):
        return _anonymous(path)
    for folder, mark in _folders(os.getcwd()):
        if given == folder:
            return mark or "."
        if given.startswith(folder + os.sep):
            rest = given[len(folder) + 1 :]
            return _anonymous(f"{mark}/{rest}" if mark else rest)
    if given.startswith(_PLAIN):
        return _anonymous(given)
    name = re.split(r"[/\\]", given.rstrip("/\\"))[-1]
    return _anonymous(f".../{name}")


def in_text(text: str) -> str:
    """A text, like a traceback or a command, without users and hosts.

    Every absolute path in it is `shortened`, and the host in the address of a cluster is ``HOST``, as is the name of
    this machine; what stands before an ``@`` of an address is left out.
    """
    for folder, mark in _folders(os.getcwd()):  # first: their names may hold blanks
        text = text.replace(folder + os.sep, f"{mark}/" if mark else "")
    text = _CLUSTER.sub(r"\1://HOST", _REMOTE.sub("HOST:", _ACCOUNT.sub("", text)))
    text = _QUOTED.sub(_short_quoted, text)
    text = _ABSOLUTE.sub(lambda found: found[0] if found["url"] else shortened(found["path"]), text)
    host = _host()
    return _anonymous(host.sub("HOST", text) if host else text)


def _short_quoted(found: re.Match[str]) -> str:
    """A quoted path, which may hold blanks and brackets; ``'/'`` and ``'/one'`` are left to the other rule."""
    path = shortened(found[3]) if re.search(r".[/\\].", found[3]) else found[3]
    return found[1] + found[2] + path


def _anonymous(path: str) -> str:
    """A text in which no folder is named like the user."""
    user = _user()
    return user.sub("USER", path) if user else path


@cache
def _user() -> re.Pattern[str] | None:
    """The name of the user as a folder of a path; none where it says nothing, like root."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a number without a name, as in containers
        return None
    return None if len(name) < 2 or name in _NOBODY else re.compile(rf"(?<=[/\\~]){re.escape(name)}(?![\w.-])")


@cache
def _host() -> re.Pattern[str] | None:
    """The name of this machine as a word; none where it may be a word of any text, like ``median``."""
    names = {platform.node(), platform.node().partition(".")[0]} - _NOBODY
    telling = sorted((n for n in names if len(n) > 3 and re.search(r"[\d.-]", n)), key=len, reverse=True)
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, telling))})(?![\w-])") if telling else None


@cache
def _folders(working: str) -> tuple[tuple[str, str], ...]:
    """Folder -> what stands in its place, the first that fits counts."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    named = [(working, ""), (str(_PACKAGE), "flipbench"), (str(_PACKAGE.parent), "flipbench")]
    named += [(folder, "site-packages" if "packages" in folder else "python") for folder in sorted(libraries)]
    named += [(sys.prefix, "python"), (os.path.expanduser("~"), "~")]
    real = [(os.path.realpath(folder), mark) for folder, mark in named]
    return tuple(dict.fromkeys((f, mark) for f, mark in [*named, *real] if f and len(f) > 1))
