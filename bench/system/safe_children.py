"""Starts Python processes that search no module in the working folder, whoever starts them.

multiprocessing starts its fork server, its tracker and spawned processes by ``python -c``, which puts the working
folder first, and gives new processes this process's search path. Within `safe_children` both are in the safe order
(`system.import_path`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flipbench.system import import_path


@contextmanager
def safe_children() -> Iterator[None]:
    """Python processes started within, by this process or a library, search in the safe order."""
    path, before = sys.path[:], {name: os.environ.get(name) for name in (import_path.SAFE, import_path.SEARCHED)}
    os.environ.update(import_path.environment(os.environ))
    import_path.make_safe()
    try:
        yield
    finally:
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start(code: str, environment: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a Python process that searches in the safe order.

    Args:
        code: what it runs.
        environment: what its environment has beyond this process's.
        options: of `subprocess.Popen`.
    """
    env = import_path.environment({**os.environ, **environment})
    return subprocess.Popen([sys.executable, "-c", code], env=env, **options)
