"""The store as a table: one row a cell of the plan, every fact a column, the raw counts as arrays beside them.

Nothing is computed here but what a reader would call the same fact in another unit (the malicious fraction, total
seconds); metrics are `bench.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cell import CLEAN, FACTS, Cell
from bench.store import Store

PHASES = ("setup", "local", "aggregation", "evaluation")
PROVENANCE = ("flipbench", "commit", "python", "torch", "numpy", "platform", "device", "threads", "finished")

# Names that would hide a fact are told apart: the task's pixels, who took part, the machine's device.
COLUMNS = (
    *("key", "twin", "status", "reason", "traceback", "attempts", "clean"),
    *FACTS,
    *("task", "classes", "split", "train", "test", "pixels", "data_sha256", "mapping"),
    *("rounds_evaluated", "confusion", "participants", "influence", "norms", "fedavg_gap"),
    *("malicious", "flips", "examples", "nonfinite"),
    *("places", "adaptive", "dynamic", "search", "trials", "stamped", "target", "attacked_rounds"),
    *(f"seconds_{phase}" for phase in PHASES),
    "seconds",
    *(f"provenance_{name}" for name in PROVENANCE),
)

_ARRAYS = {"classes", "mapping", "rounds_evaluated", "confusion", "participants", "influence", "norms", "fedavg_gap"}
_ARRAYS |= {"malicious", "flips", "examples", "nonfinite"}
_ARRAYS |= {"places", "search", "stamped", "attacked_rounds"}
_DEFAULTS = {f.name: f.default for f in fields(Cell)}  # a fact that cells of an earlier version lack was this


def load(folder: Path) -> pd.DataFrame:
    """The cells of the latest plan, in its order, as they are in the store.

    Args:
        folder: ``results/<grid>``.

    Returns:
        One row a cell with `COLUMNS`. ``status`` is done, infeasible, failed or missing; of a missing cell only the
        key is known, and only a done cell has counts; what is not known is None (seconds: NaN). These hold objects:

        - ``classes``: tuple of the L names; ``mapping``: tuple of (source, target) or None;
        - ``rounds_evaluated``: (rounds,) int; ``confusion``: (rounds, L, L) int, rows true, columns predicted;
        - ``participants``: (rounds, clients a round) int, who took part;
        - ``influence``, ``norms``: (rounds, clients a round) float; ``fedavg_gap``: (rounds,) float; NaN where null;
        - ``malicious``: tuple of ids; ``examples``: (clients,) int; ``nonfinite``: {round: count};
        - ``flips``: tuple of {client, examples, eligible, selected, changed}, one a malicious client;
        - ``places``: tuple of where the attack acts (labels, examples, updates), empty for a clean cell; ``search``:
          what an adaptive label attack tried and found, or None; ``trials``: how many federations that took;
        - ``stamped``: (rounds, L, L) int, the confusion over test images with a backdoor's trigger, or None;
          ``target``: the backdoor's class; ``attacked_rounds``: tuple of rounds, None where it was not recorded.

        ``malicious_fraction`` is malicious_count / clients; ``clean`` says whether nothing is attacked (then
        ``declared_byzantine`` tells which twin it is). ``adaptive`` says whether the attack knows the rule it faces,
        ``dynamic`` whether it follows the global model. ``seconds`` is the sum over the phases.

    Raises:
        UserError: the folder holds no plan, or cannot be read.
    """
    store = Store(folder)
    return frame_of(row(store.read(key), key) for key in dict.fromkeys(store.read_plan()["keys"]))


def frame_of(rows: Any) -> pd.DataFrame:
    """Rows as a frame with all of `COLUMNS`, in order."""
    rows = list(rows)
    # Column by column as objects: pandas would look into every array otherwise.
    columns = {name: pd.Series(_objects([r.get(name) for r in rows]), dtype=object) for name in COLUMNS}
    for name, column in columns.items():
        if name.startswith("seconds"):
            columns[name] = column.astype(np.float64)
        elif name not in _ARRAYS and not any(value is None for value in column):
            columns[name] = column.infer_objects()  # with a None in it, 20 would become 20.0
    return pd.DataFrame(columns)


def row(record: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    """One record as a flat row; None is a missing cell."""
    if record is None:
        return {"key": key, "status": "missing"}
    facts, seconds = record["facts"], record["seconds"]
    task: Mapping[str, Any] = record["task"] or {}
    spent = [seconds.get(phase) for phase in PHASES]
    known = [s for s in spent if s is not None]
    return {
        **{name: record[name] for name in ("key", "twin", "status", "reason", "traceback", "attempts")},
        **_DEFAULTS,
        **facts,
        "clean": facts["attack"] == CLEAN,
        "malicious_fraction": facts["malicious_count"] / facts["clients"],
        "task": task.get("dataset"),
        "classes": tuple(task["classes"]) if task else None,
        **{name: task.get(name) for name in ("split", "train", "test")},
        "pixels": task.get("features"),
        "data_sha256": record["content"].get("dataset"),
        "mapping": None if record["mapping"] is None else tuple((s, t) for s, t in record["mapping"]),
        **_attack(record),
        **_counts(record["result"]),
        **{f"seconds_{phase}": value for phase, value in zip(PHASES, spent, strict=True)},
        "seconds": sum(known) if known else None,
        **{f"provenance_{name}": record["provenance"].get(name) for name in PROVENANCE},
    }


def _attack(record: Mapping[str, Any]) -> dict[str, Any]:
    """How the attack works; cells from before this was recorded were all attacked by static label flips."""
    attacked = record["facts"]["attack"] != CLEAN
    told: Mapping[str, Any] = record.get("attack") or {"places": ["labels"] if attacked else []}
    search = told.get("search")
    return {
        "places": tuple(told["places"]),
        "adaptive": bool(told.get("adaptive", False)),
        "dynamic": bool(told.get("dynamic", False)),
        "search": search,
        "trials": None if search is None else search.get("trials"),
    }


def _counts(result: Mapping[str, Any] | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {
        "rounds_evaluated": np.array(result["rounds"], dtype=np.int64),
        "confusion": np.array(result["confusion"], dtype=np.int64),
        "participants": np.array(result["clients"], dtype=np.int64),
        "influence": _floats(result["influence"]),
        "norms": _floats(result["norms"]),
        "fedavg_gap": _floats(result["fedavg_gap"]),
        "malicious": tuple(result["malicious"]),
        "flips": tuple(result["flips"]),
        "examples": np.array(result["examples"], dtype=np.int64),
        "nonfinite": {int(number): count for number, count in result["nonfinite"].items()},
        "stamped": None if result.get("stamped") is None else np.array(result["stamped"], dtype=np.int64),
        "target": result.get("target"),
        "attacked_rounds": None if result.get("attacked_rounds") is None else tuple(result["attacked_rounds"]),
    }


def _floats(values: Any) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # null becomes NaN


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """A column of objects, arrays left whole."""
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        column[place] = value
    return column
