"""Rounds of published protocols, and every rule, on a CUDA device beside one thread of its host, as JSON.

    FLIPBENCH_DATA=... OMP_NUM_THREADS=1 python tests/speed/devices.py results/speed/devices.json
    python tests/speed/device_table.py results/speed/devices.json

A round is timed from its first draw to its update, without evaluation, after one round that does not count; the device
runs four seeds of a cell in one stack, the thread one. A rule is the fastest of some calls on the same numbers.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rule_subjects import cohort_for, subjects, updates
from rules import circumstances, fastest

from aggregators import Infeasible
from bench import experiment, paper_file
from bench.cell import Cell
from bench.federation import Federation
from bench.grid import contents

ROUNDS = {"foolsgold": (50, 10), "fang_2a": (50, 10), "fang_2b": (20, 2), "lfighter": (3, 1), "tolpegin": (2, 1)}
SEEDS = 4
CLIENTS, DIMS = 100, (10_000, 1_000_000)


def rounds(cells: list[Cell], count: int) -> float:
    """Seconds of a round of one cell."""
    prepared = experiment._prepare([experiment.Job(c, contents(c)) for c in cells], None)
    federation = Federation(prepared.cells, prepared.populations, prepared.task, prepared.parts)
    federation.round(1)  # it is evaluated, and finds nothing in any cache
    begin = federation.clock.local + federation.clock.aggregation
    for r in range(2, 2 + count):
        federation.round(r)
    return (federation.clock.local + federation.clock.aggregation - begin) / count / len(cells)


def protocol(name: str, device: str) -> dict[str, Any]:
    """Seconds of a round of a paper's first cell that is attacked."""
    cell = next(c for c in paper_file.read(name, [], None, False).cells if c.attacked)
    count = ROUNDS[name][device == "cpu"]
    cell = replace(cell, device=device, rounds=10**6, evaluate_every=10**6, evaluate_last=1)
    seeds = range(SEEDS if device == "cuda" else 1)
    told = {"paper": name, "device": device, "cells": len(seeds), "rounds": count, "aggregator": cell.aggregator}
    return told | {"seconds": rounds([replace(cell, seed=s) for s in seeds], count)}


def rule(name: str, dim: int, device: str) -> dict[str, Any]:
    """Seconds of one call, the device's work finished."""
    x = _updates(dim).to(device)
    given = cohort_for(x.cpu())
    own = given.trusted().to(device)
    moved = {"weights": given.weights.to(device), "clients": given.clients.to(device)}
    cohort = replace(given, previous=given.previous.to(device), trusted=lambda: own, **moved)
    call = subjects()[name]

    def once() -> None:
        call(x, cohort)
        if device == "cuda":
            torch.cuda.synchronize()

    row = {"rule": name, "clients": CLIENTS, "dim": dim, "device": device}
    try:
        return row | fastest(once)
    except Infeasible as why:
        return row | {"infeasible": str(why)}


@lru_cache(maxsize=1)
def _updates(dim: int) -> torch.Tensor:
    return updates(CLIENTS, dim)


def main() -> None:
    """Measure what the arguments ask for and write it down."""
    output, parts, devices = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
    torch.set_num_threads(1)
    found: dict[str, Any] = {"circumstances": circumstances(), "rows": []}
    if "cuda" in devices:
        found["circumstances"]["gpu"] = torch.cuda.get_device_name()
    start = time.perf_counter()
    for device in devices:
        for name in ROUNDS if "protocols" in parts else ():
            found["rows"].append(protocol(name, device))
            print(found["rows"][-1], flush=True)
        for dim in DIMS if "rules" in parts else ():
            for name in subjects():
                found["rows"].append(rule(name, dim, device))
                print(found["rows"][-1], flush=True)
        output.write_text(json.dumps(found, indent=1))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
