"""Runs the checks of a plug-in in a copy of this process: code that aborts, exits or crashes when called is reported.

Where the operating system makes no copies, the checks run in this process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flipbench.cli import check
from flipbench.errors import UserError
from flipbench.plugins import registry
from flipbench.spec.reference import parse_chain
from flipbench.system import child_processes

_INSTEAD = "a rule or an attack must not end its process: let it raise an exception"
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+) in ')


def checked(
    ref: str, kind: str | None, except_for: Sequence[str], definition: str | None, dataset: str = "digits"
) -> tuple[str, int]:
    """`check.check`, of a plug-in in a process of its own.

    Raises:
        UserError: as `check.check`; or the plug-in ended the process, with its line where that is known.
    """
    shipped = any(registry.all_shipped(one, ref) for one in ((kind,) if kind else ("aggregator", "attack")))
    if shipped or not hasattr(os, "fork"):
        return check.check(ref, kind, except_for, definition, dataset)
    with tempfile.TemporaryDirectory(prefix="flipbench-") as folder:
        answer, crash = Path(folder) / "answer", Path(folder) / "crash"
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            _answer(answer, crash, ref, kind, except_for, definition, dataset)
        ended = child_processes.death(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if not answer.exists():
            where = _place(crash.read_text(errors="replace"), ref) if crash.exists() else None
            raise UserError(f"{where or ref}: the process that checks it {ended}; {_INSTEAD}")
        told: dict[str, Any] = json.loads(answer.read_text())
    if "error" in told:
        raise UserError(told["error"])
    if "trace" in told:
        raise RuntimeError(told["trace"])
    return told["text"], told["failures"]


def _answer(
    answer: Path,
    crash: Path,
    ref: str,
    kind: str | None,
    except_for: Sequence[str],
    definition: str | None,
    dataset: str,
) -> None:
    """In the copy: run the checks, write what they say, and end."""
    told: dict[str, Any]
    try:
        with crash.open("w") as file:
            faulthandler.enable(file)
            try:
                text, failures = check.check(ref, kind, except_for, definition, dataset)
                told = {"text": text, "failures": failures}
            except UserError as error:
                told = {"error": str(error)}
            except SystemExit as error:
                told = {"error": f"{ref}: it calls sys.exit({error.code!r}); {_INSTEAD}"}
            except Exception:
                told = {"trace": traceback.format_exc()}
        part = answer.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.rename(answer)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _place(report: str, ref: str) -> str | None:
    """``file:line`` of the user's that ran last, from the report of a crash."""
    files = [link.name.rpartition(":")[0] for link in parse_chain(ref) if ".py:" in link.name]
    for frame in _FRAME.finditer(report):
        for file in files:
            if Path(frame["file"]).name == Path(file).name:
                return f"{file}:{frame['line']}"
    return None
