"""How much memory a worker needs for a cell, against what this machine has: estimated, never allocated.

    bytes = process + data + copies x stack x clients of a round x parameters x 4 + 1.6 x batch x one example's graph

`data` has what evaluation keeps of the test examples, and the graphs are of one client, or of all (`model_size.Size`).

Copies of the clients' updates were measured as the slope of the peak over the number of parameters (digits, ``mlp``,
20 clients): 3.4 for the mean and most rules, more where a rule or an attack works on matrices of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from flipbench.execution.progress import counted
from flipbench.federation import run_stack
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.reference import parse_chain
from flipbench.spec.training_choices import SCAFFOLD, name_of
from flipbench.system.limits import size_text

PROCESS = 350 << 20  # bytes of a worker before it holds data: PyTorch, numba, compiled kernels, small cells
ALONE = 530 << 20  # of one worker, which is the process of the command: pandas and SciPy too
_COPIES = 3.4  # of the updates, whatever the rule
_OF_RULES = {"flame": 4.2, "foolsgold": 3.2, "caf": 1.0}  # beyond `_COPIES`
_OF_ATTACKS = {"min_max": 5.0, "min_sum": 5.0, "fang_krum": 5.0, "fang_trimmed_mean": 5.0}
_OF_UPDATE_ATTACKS = 1.5
_OF_PLUGINS = 2.0  # what they are lent, and an answer like it
_OF_KEPT_BUFFERS = {"sgd": 1.0, "pytorch": 4.0}  # the latter in float64
_OF_OTHER_STATES = 2.0  # two moments
_OF_SCAFFOLD = 8.0  # variates, their shifts and changes, and a change in float64
_SLOPES = 1.6  # measured: 1.4 to 1.7, as the peak over clients and batch (splice, a transformer of 800,000 parameters)
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """The memory of a run.

    Attributes:
        worker: bytes of a worker, for the cell that needs most.
        workers: how many there are to be.
        available: bytes that this machine has for them.
        smaller: with what the cell would fit, where not even one worker does.
    """

    worker: int
    workers: int
    available: int
    smaller: str = ""

    @property
    def fit(self) -> int:
        """How many such workers fit."""
        return self.available // self.worker

    def __str__(self) -> str:
        return f"about {size_text(self.worker)} of memory a worker ({size_text(self.available)} available)"

    @property
    def warning(self) -> str | None:
        """What to do where not all workers fit; None where they do."""
        if self.fit >= self.workers:
            return None
        verb = "needs" if self.workers == 1 else "need"
        whole = (
            f"{counted(self.workers, 'worker')} {verb} about {size_text(self.worker * self.workers)} of memory, and "
        )
        whole += f"{size_text(self.available)} are available: "
        if not self.fit:
            return f"{whole}not even one fits; {self.smaller or 'take fewer clients a round or a smaller model'}"
        return f"{whole}at most {self.fit} fit{'s' * (self.fit == 1)}, so run with --workers {self.fit}"


def need(cells: Mapping[Cell, tuple[int, int, int, int]], workers: int) -> Need | None:
    """The memory of a run on this machine's processor; None where no cell runs there.

    Args:
        cells: of each cell the parameters of the model, the bytes of the data set and of one example's graph, and
            whether the graphs of all clients exist at the same time.
        workers: processes.
    """
    here = {cell: size for cell, size in cells.items() if cell.device == "cpu"}
    if not here:
        return None
    largest, free = max(here, key=lambda cell: of_cell(cell, *here[cell], workers)), available()
    whole = of_cell(largest, *here[largest], workers)
    return Need(whole, workers, free, "" if whole <= free else smaller(largest, here[largest], free))


def smaller(cell: Cell, size: tuple[int, int, int, int], free: int) -> str:
    """With how many clients a round, or which batch size, a cell that does not fit would.

    Args:
        cell: which one.
        size: as of `need`.
        free: bytes that there are.
    """
    parameters, data, graph, together = size
    graph = _with_slopes(graph)
    fixed, each, own = _fixed(data), copies(cell) * parameters * 4, graph * _batch(cell)
    clients = (free - fixed - own * (not together)) // max(1.0, each + own * together)
    ways = [f"{counted(int(clients), 'client')} a round"] if 1 <= clients < cell.per_round else []
    stacked = cell.per_round * run_stack.rows_of(cell, parameters)
    graphs = graph * (cell.per_round if together else 1)
    if graphs and 1 <= (batch := (free - fixed - each * stacked) // graphs) < _batch(cell):
        ways.append(f"batch_size {int(batch)}")
    if not ways:
        return "it would not with one client or example either: take a smaller model"
    return f"it would with {' or with '.join(ways)}"


def of_cell(cell: Cell, parameters: int, data: int, graph: int = 0, together: int = 0, workers: int = 1) -> int:
    """Bytes of a worker that runs a stack of such cells.

    Args:
        cell: one of the stack.
        parameters: of its model.
        data: bytes of the data set as inputs.
        graph: bytes that one example keeps for the backward pass.
        together: 1 where the graphs of all clients exist at the same time, 0 where those of one.
        workers: of the run, which share the cells.
    """
    rows = run_stack.rows_of(cell, parameters, workers) * cell.per_round
    clients = cell.per_round if together else 1
    graphs = _with_slopes(graph) * _batch(cell) * clients
    return math.ceil(_fixed(data, workers) + copies(cell) * rows * parameters * 4 + graphs)


def _with_slopes(graph: int) -> int:
    """Bytes of an example's graph while the backward pass goes through it: gradients come before what it frees."""
    return math.ceil(graph * _SLOPES)


def _fixed(data: int, workers: int = 1) -> float:
    """Bytes that neither the model nor the clients change."""
    return (ALONE if workers == 1 else PROCESS) + data * 1.25


def _batch(cell: Cell) -> int:
    """Examples of a batch; a full one is as large as its client's data, and not known here."""
    return cell.batch_size if isinstance(cell.batch_size, int) else 0


def copies(cell: Cell) -> float:
    """How many matrices as large as the updates of a round exist at the same time."""
    number = _COPIES + (cell.client_momentum > 0)
    if cell.optimiser_state == "kept":
        number += _OF_KEPT_BUFFERS.get(name_of(cell.optimiser), _OF_OTHER_STATES)
    if name_of(cell.algorithm) == SCAFFOLD:
        number += _OF_SCAFFOLD
    number += max(_of_part("aggregator", name) for name in _names(cell.aggregator))
    if cell.attacked:
        number += max(_of_part("attack", name) for name in _names(cell.attack))
    return number


def _of_part(kind: str, name: str) -> float:
    if not any(registry.is_shipped(k, name) for k in (kind, "preaggregation")):
        return _OF_PLUGINS
    if kind == "aggregator":
        return _OF_RULES.get(name, 0.0)
    from flipbench.attacks.contract import place

    on_updates = _OF_UPDATE_ATTACKS * (place(registry.shipped("attack")[name]) == "updates")
    return _OF_ATTACKS.get(name, on_updates)


def _names(chain: str) -> Sequence[str]:
    return [part.name for part in parse_chain(chain)]


def available() -> int:
    """Bytes that new processes may take: of the machine, or of the container that this process is in."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
    except (OSError, ValueError):
        return free
