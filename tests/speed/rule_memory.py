"""Peak memory of the rules beyond their input, in bytes; run by `rules.py` in a process of its own (Linux).

The kernel's high-water mark of the process's resident memory is set back before each call and read after it, so what
compiled kernels and libraries allocate counts too. The allocator is told (by environment, from outside) to hand every
block above 64 KiB back at once. Reads one JSON list of ``[name, clients, dim]`` and prints one JSON number each.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import torch

from tests.speed.rule_subjects import cohort_for, subjects, updates

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def resident(line: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, in bytes."""
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith(line):
            return int(row.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {line}")


def main() -> None:
    """Standard input to standard output."""
    torch.set_num_threads(1)
    rules = subjects()
    for name, n, dim in json.load(sys.stdin):
        small = updates(n, 4096)
        rules[name](small, cohort_for(small))  # compiled and cached: that is no cost of a call
        x = updates(n, dim)
        cohort = cohort_for(x)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        answer = rules[name](x, cohort)
        print(json.dumps(resident("VmHWM") - before), flush=True)
        del answer, x, cohort


if __name__ == "__main__":
    main()
