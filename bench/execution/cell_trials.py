"""Tries one small real cell of each kind that has a plug-in, before a run: one round, one step, few test images.

A plug-in runs only in a process of its own here: what crashes, exits or hangs is reported, and the driver goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.execution import memory_need, preflight
from flipbench.execution.memory_need import Need
from flipbench.execution.preflight import Answer, Question
from flipbench.execution.progress import counted
from flipbench.federation import tasks
from flipbench.grid.fields import REFERENCES
from flipbench.grid.reader import contents
from flipbench.plugins import first_load, registry
from flipbench.spec.cell import CLEAN, Cell
from flipbench.spec.key import key_of_normal
from flipbench.spec.reference import CODE
from flipbench.store.store import Store
from flipbench.system import atomic_files, private_paths

FILE = "trials.txt"  # in the results folder: tracebacks of the trials that failed
_MOST = 30  # kinds of cells that are tried


class TrialError(UserError):
    """Cells that cannot work; the message has all of them."""


@dataclass(frozen=True)
class Failure:
    """A kind of cells whose trial failed.

    Attributes:
        names: of the plug-ins that all these cells have.
        why: in one sentence, with the user's file and line where there is one.
        trace: the traceback; empty where the process died.
        cells: how many of the cells are of this kind.
    """

    names: tuple[str, ...]
    why: str
    trace: str
    cells: int


def before_run(cells: Sequence[Cell], folder: Path, trials: bool = True, elsewhere: bool = False) -> None:
    """Check the device, and try what a run would run of plug-ins; cells with a result are passed over.

    Args:
        cells: of the grid.
        folder: of its results.
        trials: False: only the device is checked.
        elsewhere: the workers are on other machines, so the device is theirs; plug-ins are tried on this one all the
            same, on its processor where it lacks the device.

    Raises:
        UserError: there is no such device.
        TrialError: some cannot work; with the path of their tracebacks, which are written into the folder.
    """
    if not elsewhere:
        check_devices(cells)
    if not trials:
        return
    load(c.dataset for c in cells)
    store = Store(folder)
    pending = [c for c in cells if _plugins(c) and not store.has(key_of_normal(c, contents(c)))]
    if failures := tried(pending):
        atomic_files.replace(folder / FILE, traces(failures).encode())
        raise TrialError(message(failures, folder / FILE))


def check_devices(cells: Iterable[Cell]) -> None:
    """See that this machine has what the cells run on.

    Raises:
        UserError: it has no such device.
    """
    for device in sorted({c.device for c in cells}):
        tasks.check_device(device)


def memory(cells: Iterable[Cell], folder: Path, workers: int) -> Need | None:
    """The memory of a run of the cells that have no result yet; cells with a model of a plug-in are passed over.

    Args:
        cells: of the grid.
        folder: of its results.
        workers: processes on this machine.
    """
    store, shipped = Store(folder, repairs=False), [c for c in cells if "model" not in _plugins(c)]
    pending = [c for c in shipped if not store.has(key_of_normal(c, contents(c)))]
    found = preflight.answers([preflight.of_model(c) for c in pending])
    rooms = {c: answer.room for c in pending if (answer := found[preflight.of_model(c)]).failed is None}
    return memory_need.need(rooms, min(workers, max(1, len(pending))))


def load(datasets: Iterable[str]) -> None:
    """Load data sets of plug-ins in a process of their own, before this process does.

    Args:
        datasets: references; shipped ones are passed over.

    Raises:
        TrialError: one cannot be loaded.
    """
    refs = sorted(ref for ref in set(datasets) if not registry.all_shipped("dataset", ref))
    for ref in refs:
        first_load.check("dataset", ref)
    found = preflight.answers([Question("dataset", ref, dataset=ref) for ref in refs])
    if wrong := list(dict.fromkeys(a.failed for a in found.values() if a.failed is not None)):
        raise TrialError("\n".join(wrong))


def tried(cells: Iterable[Cell]) -> list[Failure]:
    """The kinds of cells that fail; cells without plug-ins are not tried."""
    kinds: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if _plugins(cell):
            kinds.setdefault(_kind(cell), []).append(cell)
    chosen = dict(_chosen(kinds))
    asked = {kind: preflight.of_cell(members[0]) for kind, members in chosen.items()}
    found = preflight.answers(list(asked.values()))
    return list(_failures(chosen, {kind: found[question] for kind, question in asked.items()}))


def message(failures: Sequence[Failure], file: Path | None) -> str:
    """All failures as one message."""
    lines = ["a trial of one small cell of each kind shows that these cannot work; nothing was run:"]
    lines += [f"  {', '.join(f.names)} ({counted(f.cells, 'cell')}): {f.why}" for f in failures]
    if file is not None and any(f.trace for f in failures):
        lines.append(f"full tracebacks: {file}")
    lines.append("repair them or take them out of the grid; --no-trial runs the grid as it is")
    return "\n".join(lines)


def traces(failures: Sequence[Failure]) -> str:
    """The tracebacks of all failures."""
    return private_paths.in_text("\n".join(f"{', '.join(f.names)}: {f.why}\n{f.trace}" for f in failures))


def temporary(failures: Sequence[Failure]) -> Path:
    """A file for the tracebacks where the results folder is not to be written to."""
    with tempfile.NamedTemporaryFile("w", prefix="flipbench-", suffix="-trials.txt", delete=False) as file:
        file.write(traces(failures))
    return Path(file.name)


def _failures(
    kinds: Mapping[tuple[str, ...], Sequence[Cell]], answers: Mapping[tuple[str, ...], Answer]
) -> Iterator[Failure]:
    together: list[Failure] = []
    for kind, found in answers.items():
        if found.failed is None:
            continue
        names = tuple(CODE.sub("", name) for name in _plugins(kinds[kind][0]).values())
        for place, known in enumerate(together):
            common = tuple(name for name in known.names if name in names)
            if known.why == found.failed and common:  # one plug-in fails in several kinds of cells
                together[place] = Failure(common, known.why, known.trace, known.cells + len(kinds[kind]))
                break
        else:
            together.append(Failure(names, found.failed, found.trace, len(kinds[kind])))
    yield from together


def _chosen(kinds: Mapping[tuple[str, ...], Sequence[Cell]]) -> Iterator[tuple[tuple[str, ...], Sequence[Cell]]]:
    """At most `_MOST` kinds: first those that bring a plug-in that no earlier one has."""
    seen: set[str] = set()
    first: list[tuple[tuple[str, ...], Sequence[Cell]]] = []
    rest: list[tuple[tuple[str, ...], Sequence[Cell]]] = []
    for kind, cells in kinds.items():
        names = set(_plugins(cells[0]).values())
        (rest if names <= seen else first).append((kind, cells))
        seen |= names
    yield from [*first, *rest][: max(_MOST, len(first))]


def _kind(cell: Cell) -> tuple[str, ...]:
    """What tells kinds of cells apart: all references, but shipped rules are one kind and shipped attacks another."""
    plugins = _plugins(cell)
    values: dict[str, Any] = {field: getattr(cell, field) for field in REFERENCES}
    for field in ("attack", "aggregator"):
        if field not in plugins:
            values[field] = "shipped" if values[field] != CLEAN else CLEAN
    return tuple(map(str, values.values()))


def _plugins(cell: Cell) -> dict[str, str]:
    """Field -> reference, of those that name something that does not come with flipbench."""
    given = {field: getattr(cell, field) for field in REFERENCES}
    if not cell.attacked:
        given["attack"] = CLEAN
    named = {field: text for field, text in given.items() if text != CLEAN}
    return {field: text for field, text in named.items() if not registry.all_shipped(REFERENCES[field], text)}
