"""The model of the processor, for the provenance of results: a product's name, nothing of the machine's owner."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

_LONGEST = 80


@cache
def model() -> str:
    """``AMD EPYC 7B13``; the kind of machine (``x86_64``) where the system does not tell more."""
    return " ".join((_told() or platform.machine() or "unknown").split())[:_LONGEST]


def _told() -> str:
    try:
        if sys.platform == "darwin":
            asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=5).stdout
        if sys.platform.startswith("linux"):
            found = re.search(
                r"^model name\s*:(.*)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.MULTILINE
            )
            return found[1] if found else ""
    except (OSError, subprocess.SubprocessError):
        return ""
    return platform.processor()
