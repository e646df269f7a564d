"""The peak memory of a worker beside the estimate of `flipbench plan`, as a Markdown table.

    python -m tests.speed.worker_memory results/speed/worker_memory.md

Each row is one cell of one round for each worker; the peak of the workers' resident memory is read from Linux. One
worker is the process of the command itself, which holds more modules.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

import flipbench as fb

USUAL = {"dataset": "digits", "rounds": 1, "local_steps": 1, "batch_size": 16, "malicious_fraction": 0.2}
LARGE: dict[str, Any] = {"model": "mlp(widths=[2000, 500])", "clients": 50, "aggregator": "mean"}
CASES: tuple[dict[str, Any], ...] = (
    {"model": "mlp(widths=[1000])", "clients": 20, "aggregator": "median"},
    {"dataset": "mnist5k", "model": "mlp(widths=[200, 200])", "clients": 50, "aggregator": "krum"},
    {"dataset": "mnist5k", "model": "cnn(channels=[16, 32])", "clients": 50, "aggregator": "trimmed_mean"},
    {"model": "mlp(widths=[2000, 500])", "clients": 50, "aggregator": "fedavg"},
    {"model": "mlp(widths=[2000, 500])", "clients": 50, "aggregator": "geometric_median", "momentum": 0.9},
    {"model": "mlp(widths=[2000, 500])", "clients": 50, "aggregator": "foolsgold"},
    {"model": "mlp(widths=[2000, 500])", "clients": 50, "aggregator": "median", "attack": "min_max"},
    {"model": "mlp(widths=[2000, 500])", "clients": 100, "aggregator": "flame", "attack": "alie"},
    {**LARGE, "optimiser": "adam", "optimiser_state": "kept", "rounds": 2},
    {**LARGE, "algorithm": "scaffold", "rounds": 2},
    {**LARGE, "client_momentum": 0.9, "rounds": 2},
    {**LARGE, "server_optimiser": "adam"},
    {"dataset": "splice", "model": "transformer(width=128, depth=4, heads=4)", "clients": 50, "aggregator": "mean"},
    {"dataset": "splice", "model": "lstm(hidden=128)", "clients": 50, "aggregator": "mean"},
    {"dataset": "mnist5k(train=600)", "model": "resnet(depth=20)", "clients": 50, "aggregator": "mean"},
)
CODE = """\
import json, sys
import flipbench as fb
fields, folder, workers = json.loads(sys.argv[1])
grid = {"name": "memory", "base": fields, "axes": {"seed": list(range(workers))}}
results = fb.run(grid, workers=workers, results=folder, progress=False)
assert results.cells["status"].eq("done").all(), results.failures
"""


def measured(fields: dict[str, Any], workers: int) -> tuple[int, int]:
    """Estimated and measured bytes of the worker that needs most; each has one cell.

    Raises:
        RuntimeError: a cell failed.
    """
    whole = {"attack": "none", **USUAL, **fields}
    grid = fb.read_grid({"name": "memory", "base": whole, "axes": {"seed": list(range(workers))}})
    with tempfile.TemporaryDirectory() as folder:
        planned = fb.plan(grid, results=folder, workers=workers)
        assert planned.memory is not None
        given = json.dumps([whole, folder, workers])
        process = psutil.Popen([sys.executable, "-c", CODE, given], env={**os.environ, "OMP_NUM_THREADS": "1"})
        peak = 0
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess, OSError):
                family = process.children(recursive=True) if workers > 1 else [process]
                peak = max([peak, *(_peak(one.pid) for one in family)])
            time.sleep(0.01)
        if process.returncode:
            raise RuntimeError(f"{fields} ended with {process.returncode}")
    return planned.memory.worker, peak


def _peak(pid: int) -> int:
    """The most resident bytes of a process so far, as Linux keeps it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def main() -> None:
    """Write the table to the file that the command line names."""
    lines = ["| cell | workers | estimated | measured | estimated / measured |", "| --- | ---: | ---: | ---: | ---: |"]
    for fields in CASES:
        name = ", ".join(f"{v} clients" if k == "clients" else str(v) for k, v in fields.items())
        for workers in (1, 2):
            estimated, peak = measured(fields, workers)
            shown = f"{estimated >> 20} MiB | {peak >> 20} MiB | {estimated / peak:.2f}"
            lines.append(f"| {name} | {workers} | {shown} |")
            print(lines[-1], flush=True)
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
