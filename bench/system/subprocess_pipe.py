"""A process of our own that works for this one: what is wanted goes in, parts come back through a pipe, in order.

A helper is a fresh interpreter with one module of bench in it, told by name, whose ``parts(wanted)`` gives what goes
home. It needs no guard in a user's script, copies none of this process's memory, and ends with it.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import subprocess
import sys
from typing import Any

from flipbench.errors import UserError


class Helper:
    """A process at work from `__enter__` on.

    Args:
        module: in bench, with a function ``parts(wanted)`` that yields what can be pickled.
        wanted: what it is given; can be pickled.
    """

    def __init__(self, module: str, wanted: Any) -> None:
        self._module, self._wanted = module, wanted

    def __enter__(self) -> Helper:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-c",
            f"from flipbench.system import subprocess_pipe; subprocess_pipe.main({self._module!r})",
        ]
        # In a session of its own, for a Ctrl-C is the parent's to handle; without a parent the pipe ends it.
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
        self._process = subprocess.Popen(command, env=env, **pipes)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pickle.dump(self._wanted, pipe)
        return self

    def next(self) -> Any:
        """The next part.

        Raises:
            UserError: that the helper met, or that it ended too early.
        """
        assert self._process.stdout is not None
        try:
            found = pickle.load(self._process.stdout)  # from our own child, through a pipe that no other process has
        except EOFError as error:
            code = self._process.wait()
            raise UserError(f"a process that reads results ended (exit status {code}): run it again") from error
        if isinstance(found, UserError):
            raise found
        return found

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main(module: str) -> None:
    """The helper's side."""
    gc.disable()  # records have no cycles
    wanted, out = pickle.load(sys.stdin.buffer), sys.stdout.buffer
    try:
        for part in importlib.import_module(f"flipbench.{module}").parts(wanted):
            pickle.dump(part, out, protocol=5)
            out.flush()
    except UserError as error:
        pickle.dump(UserError(str(error)), out)
        out.flush()
    except BrokenPipeError:  # the rest is not wanted
        os._exit(0)
