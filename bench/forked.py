"""What the fork server imports before it forks workers (`bench.fork_server`); nobody else imports this."""

from __future__ import annotations

import atexit
import os

import distributed.nanny
import typer  # the script's own import

import bench.worker

atexit.register(
    os._exit, 0
)  # the server has nothing to tidy up, and torch takes seconds to do so; workers never get here
__all__ = ["bench", "distributed", "typer"]
