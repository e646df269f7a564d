"""Runs of rules that end or block their worker process, and what is left of them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.execution.runner import WorkerOptions
from flipbench.grid import reader
from flipbench.grid.reader import Grid
from flipbench.store.store import Store

GRID = """
name: tiny
base: {dataset: digits, clients: 5, model: softmax, rounds: 3, local_steps: 1, batch_size: 8}
axes:
  aggregator: [fedavg, median]
  seed: [0, 1]
"""


POISON = '''
"""Rules that end their process, each in its own way."""
import ctypes, os, signal, sys, time
from pathlib import Path
import torch

def mean(updates): return updates.mean(-2)

def killed(updates, cohort, /):
    os.kill(os.getpid(), signal.SIGKILL)

def segfault(updates, cohort, /):
    ctypes.string_at(0)

def leaves(updates, cohort, /):
    os._exit(7)

def half(updates, cohort, /):
    """Deadly for one cell of the stack."""
    if bool((cohort.seeds == 1).any()):
        os.kill(os.getpid(), signal.SIGKILL)
    return mean(updates)

def exits(updates, cohort, /):
    sys.exit(3)

def stops(updates, cohort, /):
    """Its own process, alarm included."""
    os.kill(os.getpid(), signal.SIGSTOP)

def leaves_like_a_generator(updates, cohort, /):
    raise GeneratorExit

def interrupts(updates, cohort, /):
    raise KeyboardInterrupt

class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")

def mute(updates, cohort, /):
    raise Mute

def hangs(updates, cohort, /):
    """In C, with the interpreter locked: nothing inside the process could end it."""
    import re
    re.match(r"(a+)+$", "a" * 64 + "b")
    return mean(updates)

def greedy(updates, cohort, /):
    kept = []
    while True:
        kept.append(torch.ones(8 << 20))

def stumbles(updates, cohort, /):
    """Dies once, in round 3."""
    once = Path(os.environ["FLIPBENCH_TEST_ONCE"])
    if cohort.round == 3 and not once.exists():
        once.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return mean(updates)
'''


def read(folder: Path, *rules: str, text: str = GRID, **more: Any) -> Grid:
    path = folder / "tiny.yaml"
    path.write_text(textwrap.dedent(text))
    (folder / "poison.py").write_text(POISON)
    return reader.read(path, add_aggregators=[f"{folder / 'poison.py'}:{rule}" for rule in rules], **more)


def run(of: Grid, folder: Path, workers: int = 2, **more: Any) -> runner.Outcome:
    return runner.run(of, folder, workers=workers, progress=Quiet(), options=WorkerOptions(**more))


def reasons(folder: Path, outcome: runner.Outcome) -> dict[str, set[str]]:
    """Rule -> why its cells failed."""
    found: dict[str, set[str]] = {}
    for key, why in outcome.failed:
        facts = (Store(folder).read(key) or {})["facts"]
        found.setdefault(facts["aggregator"].split(":")[-1].strip("'\""), set()).add(why)
    return found


def marked(mark: str) -> list[int]:
    """Processes that were started with this mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes() and "Z" not in (path / "stat").read_text().split()[2]:
                found.append(int(path.name))
        except OSError:
            continue
    return found
