"""Rounds of published protocols on a CUDA device beside one thread of its host; prints a table.

    OMP_NUM_THREADS=1 python -m tests.speed.devices

Needs MNIST and Fashion-MNIST where FLIPBENCH_DATA says, and takes about 3 minutes. A round is timed from its first draw
to its update, without evaluation, after one round that does not count; the device runs four seeds of a cell in one
stack, the thread one.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from flipbench.federation import tasks
from flipbench.federation.federation import Federation
from flipbench.federation.records import Job
from flipbench.grid.reader import contents
from flipbench.papers import reader
from flipbench.spec.cell import Cell
from tests.speed.rules import circumstances

ROUNDS = {"foolsgold": (50, 10), "fang_2a": (50, 10), "fang_2b": (20, 2), "lfighter": (3, 1), "tolpegin": (2, 1)}
SEEDS = 4


def seconds(cells: list[Cell], count: int) -> float:
    """Of a round of one cell."""
    prepared = tasks.prepare([Job(c, contents(c)) for c in cells], None)
    federation = Federation(prepared.cells, prepared.populations, prepared.task, prepared.parts)
    federation.round(1)  # it is evaluated, and finds nothing in any cache
    begin = federation.clock.local + federation.clock.aggregation
    for r in range(2, 2 + count):
        federation.round(r)
    return (federation.clock.local + federation.clock.aggregation - begin) / count / len(cells)


def measured(name: str) -> str:
    """A line of the table: a paper's first cell that is attacked, on both."""
    first = next(c for c in reader.read(name, [], None, False).cells if c.attacked)
    first = replace(first, rounds=10**6, evaluate_every=10**6, evaluate_last=1)
    here = seconds([replace(first, device="cpu")], ROUNDS[name][1])
    there = seconds([replace(first, device="cuda", seed=s) for s in range(SEEDS)], ROUNDS[name][0])
    words = f"{name}: {first.model.partition('(')[0]}, {first.aggregator.partition('(')[0]}, {first.attack}"
    return f"| {words} | {1e3 * here:.3g} | {1e3 * there:.3g} | {here / there:.2g} |"


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    told = circumstances()
    print(f"{torch.cuda.get_device_name()}, {told['cpu']}, torch {told['torch']}, commit {told['commit']}.\n")
    print("| protocol | one thread, ms a round | device, ms a round and cell | times faster |\n|---|---:|---:|---:|")
    for name in ROUNDS:
        print(measured(name), flush=True)


if __name__ == "__main__":
    main()
