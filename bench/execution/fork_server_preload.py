"""Imports of the fork server before it forks workers (`execution.fork_server`); no other module imports this."""

from __future__ import annotations

import atexit
import os

import distributed.nanny  # noqa: F401
import typer  # noqa: F401  the script's own import

import flipbench.execution.dask_worker  # noqa: F401
from flipbench.system.fingerprint import fingerprint

fingerprint()  # of the files that were just imported, before anything could change them

# The server has nothing to clean up, and torch takes seconds to do so; workers do not run exit handlers.
atexit.register(os._exit, 0)
