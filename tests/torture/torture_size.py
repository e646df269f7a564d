"""The size of a torture: full under ``FLIPBENCH_TORTURE=full``, short otherwise."""

from __future__ import annotations

import os

FULL = os.environ.get("FLIPBENCH_TORTURE") == "full"


def size(full: int, short: int) -> int:
    """Which of the two."""
    return full if FULL else short
