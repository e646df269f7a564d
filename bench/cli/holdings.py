"""What a results folder holds: cells counted by state, and why cells failed (``flipbench results``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipbench.execution.progress import counted, label
from flipbench.spec.cell import Cell
from flipbench.spec.distinct_texts import printable
from flipbench.store.record_format import DEFECTS
from flipbench.store.store import Store

_MOST_REASONS = 5  # printed; the export has them all
_NUMBER = re.compile(r"(?<![\w:.])\d[\d,.]*(?:e[+-]?\d+)?")  # not the 14 of rule.py:14


@dataclass(frozen=True)
class Holdings:
    """The contents of one grid's results folder.

    Attributes:
        folder: of the grid.
        plan: of the latest run.
        states: key -> ``done``, ``infeasible``, ``failed`` or ``missing``; cells of the plan only.
        reasons: key -> why the cell failed in the last run; failed cells only.
        earlier: key -> state; cells that only earlier commands asked for.
        other: keys of undamaged records in the format of another version of flipbench.
        quarantined: file -> what is wrong with it.
    """

    folder: Path
    plan: Mapping[str, Any]
    states: Mapping[str, str]
    reasons: Mapping[str, str]
    earlier: Mapping[str, str]
    other: tuple[str, ...]
    quarantined: Mapping[str, str]


def holdings(folder: Path) -> Holdings:
    """Read the folder of a grid; every file is checked, and damaged ones are moved to quarantine.

    Raises:
        UserError: no grid was run there, or it cannot be read.
    """
    store = Store(folder)
    plan = store.read_plan()
    seen = store.survey()
    known = seen.statuses
    states = {k: known.get(k, "missing") for k in plan["keys"]}
    reasons = {k: store.failure(k) for k, state in states.items() if state == "failed"}
    earlier = {k: state for k, state in known.items() if k not in states}
    return Holdings(folder, plan, states, reasons, earlier, seen.other, store.quarantined())


def text(held: Holdings) -> str:
    """The counts for the terminal, and why cells failed."""
    count = Counter(held.states.values())
    name = str(held.plan.get("grid") or held.folder.name)
    rows = [(state, count[state], "") for state in ("done", "infeasible", "failed", "missing")]
    if held.earlier:
        by_state = Counter(held.earlier.values())
        counts = ", ".join(f"{number:,} {state}" for state, number in sorted(by_state.items()))
        note = f"of commands before the latest; kept, and shown again by a command that asks for them ({counts})"
        rows.append(("earlier", len(held.earlier), note))
    if held.other:
        rows.append(("other version", len(held.other), DEFECTS["schema"]))
    for wrong, number in sorted(Counter(held.quarantined.values()).items()):
        rows.append(("quarantined", number, f"{wrong}: {DEFECTS.get(wrong, 'not put there by flipbench')}"))
    width = len(f"{max(number for _, number, _ in rows):,}")
    lines = [f"{name}: {counted(len(held.states), 'cell')} in the plan"]
    lines += [f"  {state:<14} {number:>{width},}  {note}".rstrip() for state, number, note in rows]
    lines += [f"  {k[:12]} {printable(why)}" for k, why in list(held.reasons.items())[:_MOST_REASONS]]
    if len(held.reasons) > _MOST_REASONS:
        lines.append(f"  and {counted(len(held.reasons) - _MOST_REASONS, 'failed cell')} more")
    odd = [name for name, wrong in held.quarantined.items() if wrong == "odd"]
    reasons = Store(held.folder).reasons() if odd else {}
    lines += [f"  {name}: {printable(reasons.get(name, ''), 500)}" for name in odd[:_MOST_REASONS]]
    if held.quarantined:
        lines.append(f"  the damaged files are in {held.folder / 'quarantine'}; their cells count as missing")
    return "\n".join(lines)


def failures(held: Holdings) -> str:
    """Why cells failed: each kind of reason once, with the number of its cells, an example, and its traceback.

    Reasons of one kind differ in numbers alone, such as a round or an amount of memory; lines of files are no such.
    """
    if not held.reasons:
        return "no cell of the latest plan failed"
    groups: dict[str, list[str]] = {}
    for key, why in held.reasons.items():
        groups.setdefault(_NUMBER.sub("#", why), []).append(key)
    store, blocks = Store(held.folder), []
    for keys in sorted(groups.values(), key=len, reverse=True):
        record, why = store.read(keys[0]), held.reasons[keys[0]]
        cell = "" if record is None else f", {label(Cell(**record['facts']))}"
        lines = [f"{counted(len(keys), 'cell')}: {printable(why, 1000)}", f"  for example {keys[0][:12]}{cell}"]
        if (others := len({held.reasons[key] for key in keys}) - 1) > 0:
            lines.append(f"  {counted(others, 'other reason')} of this kind: only the numbers differ")
        trace = None if record is None else record["traceback"]
        lines += [f"  {printable(line, 1000)}" for line in (trace or "no traceback: its process ended").splitlines()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
