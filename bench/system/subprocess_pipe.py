"""A child process that computes parts of an answer: a request goes in, parts come back through a pipe, in order.

The child is a fresh interpreter that imports one module of flipbench, whose ``parts(request)`` yields what is sent
back. It needs no ``__main__`` guard in a user's script, copies none of this process's memory, loads no torch unless its
module does, and ends with its parent, by the closed pipe. `concurrent.futures.ProcessPoolExecutor` cannot promise all
of that: spawned children import the script that started them, and forked ones copy a process that may have torch loaded
and threads running.
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
from flipbench.system import child_processes, safe_children


class PipedProcess:
    """A child process, at work from `__enter__` on and killed by `__exit__`.

    Args:
        module: in flipbench, like ``analysis.parallel_read``; its ``parts(request)`` yields what can be pickled.
        request: can be pickled.
    """

    def __init__(self, module: str, request: Any) -> None:
        self._module, self._request = module, request

    def __enter__(self) -> PipedProcess:
        code = f"from flipbench.system import subprocess_pipe; subprocess_pipe.main({self._module!r})"
        # In a session of its own: Ctrl-C is the parent's to handle.
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
        self._process = safe_children.start(code, {"OMP_NUM_THREADS": "1"}, **pipes)
        child_processes.register(self._process.pid)  # a signal may end this process while the child still imports
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pickle.dump(self._request, pipe)
        return self

    def next(self) -> Any:
        """The next part.

        Raises:
            UserError: raised in the child, or the child ended too early.
        """
        assert self._process.stdout is not None
        try:
            part = pickle.load(self._process.stdout)  # from our own child, through a pipe that no other process has
        except EOFError as error:
            code = self._process.wait()
            raise UserError(f"a child process that reads results ended (exit status {code}): run it again") from error
        if isinstance(part, UserError):
            raise part
        return part

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        child_processes.unregister(self._process.pid)
        assert self._process.stdout is not None
        self._process.stdout.close()


def main(module: str) -> None:
    """What the child process runs."""
    gc.disable()  # records have no cycles
    request, out = pickle.load(sys.stdin.buffer), sys.stdout.buffer
    try:
        for part in importlib.import_module(f"flipbench.{module}").parts(request):
            pickle.dump(part, out, protocol=5)
            out.flush()
    except UserError as error:
        pickle.dump(UserError(str(error)), out)
        out.flush()
    except BrokenPipeError:  # the parent has ended, or needs no more
        os._exit(0)
