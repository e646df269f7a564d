"""``flipbench results``: what a results folder holds, by state; the same as one file for other tools."""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.execution.progress import counted
from flipbench.spec.key import canonical_json
from flipbench.spec.labels import printable
from flipbench.store.record_format import DEFECTS
from flipbench.store.store import Store

FORMATS = (".csv", ".json", ".parquet")
_MOST_REASONS = 5  # printed; the export has them all


@dataclass(frozen=True)
class Holdings:
    """What lies in the folder of one grid.

    Attributes:
        folder: of the grid.
        plan: of the latest run.
        states: key -> ``done``, ``infeasible``, ``failed`` or ``missing``, of the cells that the plan asks for.
        reasons: key -> why it failed the last time, of the failed ones.
        stale: key -> state, of cells that only earlier plans asked for.
        other: keys of whole records that another version of flipbench wrote or will read.
        quarantined: file -> what is wrong with it.
    """

    folder: Path
    plan: Mapping[str, Any]
    states: Mapping[str, str]
    reasons: Mapping[str, str]
    stale: Mapping[str, str]
    other: tuple[str, ...]
    quarantined: Mapping[str, str]


def holdings(folder: Path) -> Holdings:
    """Look through the folder of a grid; every file is checked, damaged ones go to quarantine.

    Raises:
        UserError: no grid was run there, or it cannot be read.
    """
    store = Store(folder)
    plan = store.read_plan()
    seen = store.survey()
    known = seen.statuses
    states = {k: known.get(k, "missing") for k in plan["keys"]}
    reasons = {k: store.failure(k) for k, state in states.items() if state == "failed"}
    stale = {k: state for k, state in known.items() if k not in states}
    return Holdings(folder, plan, states, reasons, stale, seen.other, store.quarantined())


def text(found: Holdings) -> str:
    """The counts for the terminal, and why cells failed."""
    count = Counter(found.states.values())
    name = str(found.plan.get("grid") or found.folder.name)
    rows = [(state, count[state], "") for state in ("done", "infeasible", "failed", "missing")]
    if found.stale:
        by_state = Counter(found.stale.values())
        told = ", ".join(f"{number:,} {state}" for state, number in sorted(by_state.items()))
        rows.append(("stale", len(found.stale), f"not asked for by the latest plan ({told})"))
    if found.other:
        rows.append(("other version", len(found.other), DEFECTS["schema"]))
    for wrong, number in sorted(Counter(found.quarantined.values()).items()):
        rows.append(("quarantined", number, f"{wrong}: {DEFECTS.get(wrong, 'not put there by flipbench')}"))
    width = len(f"{max(number for _, number, _ in rows):,}")
    lines = [f"{name}: {counted(len(found.states), 'cell')} in the plan"]
    lines += [f"  {state:<14} {number:>{width},}  {told}".rstrip() for state, number, told in rows]
    lines += [f"  {k[:12]} {printable(why)}" for k, why in list(found.reasons.items())[:_MOST_REASONS]]
    if len(found.reasons) > _MOST_REASONS:
        lines.append(f"  and {counted(len(found.reasons) - _MOST_REASONS, 'failed cell')} more")
    if found.quarantined:
        lines.append(f"  the damaged files are in {found.folder / 'quarantine'}; their cells count as missing")
    return "\n".join(lines)


def export(folder: Path, path: Path) -> int:
    """Write the cells of the latest plan as one file; equal cells give equal bytes.

    Args:
        folder: of the grid.
        path: ``.csv`` or ``.parquet``: one line a finished cell with facts, metrics and seconds, as in
            ``tables/cells.csv``; ``.json``: the stored records as they are, failed ones too, with counts and
            provenance.

    Returns:
        How many cells it holds.

    Raises:
        UserError: another ending, no pyarrow for parquet, or the file cannot be written.
    """
    ending = ending_of(path)
    if ending == ".json":
        store = Store(folder)
        records = [r for k in store.read_plan()["keys"] if (r := store.read(k)) is not None]
        lines = b",\n".join(canonical_json({n: v for n, v in r.items() if n != "body"}) for r in records)
        _put(path, b"[\n" + lines + b"\n]\n" if records else b"[]\n")
        return len(records)
    from flipbench.analysis import frame as frames
    from flipbench.analysis import metrics
    from flipbench.report.tables import summary

    tidy = metrics.evaluate(frames.load(folder))
    if ending == ".csv":
        raw = summary.cells_csv(tidy).encode()
    else:
        plain = tidy.copy()
        for name in ("classes", "mapping"):
            if name in plain:
                plain[name] = [None if v is None else str(v) for v in plain[name]]
        raw = bytes(plain.to_parquet(None, index=False))
    _put(path, raw)
    return len(tidy)


def ending_of(path: Path) -> str:
    """What is to be written there, in small letters.

    Raises:
        UserError: another ending, or no pyarrow for parquet.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"--export needs a file that ends in {', '.join(FORMATS)}, got {path}")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "--export to parquet needs the package pyarrow: pip install -c constraints.txt -e '.[parquet]', "
            "or export .csv or .json"
        )
    return ending


def _put(path: Path, raw: bytes) -> None:
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temp.write_bytes(raw)
        os.replace(temp, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file with --export") from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
