"""The store as a table: one row a cell of the plan, every fact a column, the raw counts as arrays beside them.

Nothing is computed here but what a reader would call the same fact in another unit (the malicious fraction, total
seconds); metrics are `bench.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cell import CLEAN, FACTS, SHARE, Cell
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
        - ``rounds_evaluated``: (rounds,) int; ``confusion``: (rounds, L, L) int, rows true, columns predicted, of the
          least width that holds the counts: numpy sums them wide, convert them before any other arithmetic;
        - ``participants``: (rounds, clients a round) int, who took part;
        - ``influence``, ``norms``: (rounds, clients a round) float; ``fedavg_gap``: (rounds,) float; NaN where null;
        - ``malicious``: tuple of ids; ``examples``: (clients,) int; ``nonfinite``: {round: count};
        - ``flips``: tuple of {client, examples, eligible, selected, changed}, one a malicious client;
        - ``places``: tuple of where the attack acts (labels, examples, updates), empty for a clean cell; ``search``:
          what an adaptive label attack tried and found, or None; ``trials``: how many federations that took;
        - ``stamped``: (rounds, L, L) int, the confusion over test images with a backdoor's trigger, or None;
          ``target``: the backdoor's class; ``attacked_rounds``: tuple of rounds, None where it was not recorded.

        ``malicious_fraction`` is malicious_count / clients, sybils among them; ``clean`` says whether nothing is
        attacked (then ``declared_byzantine`` tells which twin it is). ``adaptive`` says whether the attack knows the
        rule it faces, ``dynamic`` whether it follows the global model. ``seconds`` is the sum over the phases.

        Equal objects of different cells are one object, and arrays cannot be written to: a hundred thousand cells fit
        into a gigabyte.

    Raises:
        UserError: the folder holds no plan, or cannot be read.
    """
    store, share = Store(folder), _Share()
    return _frame_of(row(store.read(key), key, share) for key in dict.fromkeys(store.read_plan()["keys"]))


def _frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with all of `COLUMNS`, in order."""
    values: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    adders = [(name, column.append) for name, column in values.items()]
    for one in rows:  # read one by one: all rows at once would take half a gigabyte
        get = one.get
        for name, add in adders:
            add(get(name))
    columns: dict[str, pd.Series[Any]] = {}
    for name in COLUMNS:
        told = values.pop(name)
        if name.startswith("seconds"):
            columns[name] = pd.Series(told, dtype=np.float64)
            continue
        # As objects: pandas would look into every array otherwise.
        column = pd.Series(_objects(told), dtype=object)
        if name not in _ARRAYS and not any(value is None for value in told):
            column = column.infer_objects()  # with a None in it, 20 would become 20.0
        columns[name] = column
    return pd.DataFrame(columns, copy=False)


class _Share:
    """Hands out one object for all that are equal: cells differ in few of their facts."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def value(self, value: Any) -> Any:
        """The first of all equal values of one type: text, tuples and the like."""
        return self._known.setdefault((type(value), value), value)

    def made(self, value: Any, make: Callable[[], Any]) -> Any:
        """What was made of an equal value before; ``value`` can be hashed."""
        if (known := self._known.get(value)) is None:
            known = self._known[value] = make()
        return known

    def array(self, array: NDArray[Any]) -> NDArray[Any]:
        """The first of all equal arrays."""
        known: NDArray[Any] = self._known.setdefault((array.dtype, array.shape, array.tobytes()), array)
        return known


def row(record: Mapping[str, Any] | None, key: str, share: _Share | None = None) -> dict[str, Any]:
    """One record as a flat row; None is a missing cell."""
    if record is None:
        return {"key": key, "status": "missing"}
    share = share or _Share()
    facts, seconds = record["facts"], record["seconds"]
    task: Mapping[str, Any] = record["task"] or {}
    spent = [seconds.get(phase) for phase in PHASES]
    known = [s for s in spent if s is not None]
    return {
        **{name: record[name] for name in ("key", "status", "reason", "traceback", "attempts")},
        "twin": share.value(record["twin"]),
        **_DEFAULTS,
        **facts,
        "clean": facts["attack"] == CLEAN,
        "malicious_fraction": facts["malicious_count"] / (facts["clients"] + _sybils(facts)),
        "task": task.get("dataset"),
        "classes": share.value(tuple(task["classes"])) if task else None,
        **{name: task.get(name) for name in ("split", "train", "test")},
        "pixels": task.get("features"),
        "data_sha256": share.value(record["content"].get("dataset")),
        "mapping": None if record["mapping"] is None else share.value(tuple((s, t) for s, t in record["mapping"])),
        **_attack(record, share),
        **_counts(record["result"], share),
        **{f"seconds_{phase}": value for phase, value in zip(PHASES, spent, strict=True)},
        "seconds": sum(known) if known else None,
        **{f"provenance_{name}": record["provenance"].get(name) for name in PROVENANCE},
    }


def _sybils(facts: Mapping[str, Any]) -> int:
    """Clients that the N do not count."""
    return 0 if facts.get("malicious_data", SHARE) == SHARE else int(facts["malicious_count"])


def _attack(record: Mapping[str, Any], share: _Share) -> dict[str, Any]:
    """How the attack works; cells from before this was recorded were all attacked by static label flips."""
    attacked = record["facts"]["attack"] != CLEAN
    told: Mapping[str, Any] = record.get("attack") or {"places": ["labels"] if attacked else []}
    search = told.get("search")
    return {
        "places": share.value(tuple(told["places"])),
        "adaptive": bool(told.get("adaptive", False)),
        "dynamic": bool(told.get("dynamic", False)),
        "search": search,
        "trials": None if search is None else search.get("trials"),
        "target": told.get("target"),
    }


def _counts(result: Mapping[str, Any] | None, share: _Share) -> dict[str, Any]:
    if result is None:
        return {}
    flips = result["flips"]
    rounds = result.get("attacked_rounds")
    return {
        "rounds_evaluated": share.array(_array(result["rounds"], np.int64)),
        "confusion": _whole(result["confusion"]),
        "participants": share.array(_array(result["clients"], np.int64)),
        "influence": _array(result["influence"], np.float64),  # null becomes NaN
        "norms": _array(result["norms"], np.float64),
        "fedavg_gap": _array(result["fedavg_gap"], np.float64),
        "malicious": share.value(tuple(result["malicious"])),
        "flips": share.made(("flips", *(tuple(f.items()) for f in flips)), lambda: tuple(flips)),
        "examples": share.array(_array(result["examples"], np.int64)),
        "nonfinite": {int(number): count for number, count in result["nonfinite"].items()},
        "stamped": None if result.get("stamped") is None else _whole(result["stamped"]),
        "attacked_rounds": None if rounds is None else share.value(tuple(rounds)),
    }


def _whole(values: Any) -> NDArray[np.signedinteger[Any]]:
    """Whole numbers in as few bytes as they need, which are half of a frame's memory."""
    array = np.array(values, dtype=np.int64)
    least = np.int16 if array.max(initial=0) < 2**15 else np.int32 if array.max() < 2**31 else np.int64
    return _array(array, least)


def _array(values: Any, kind: type[np.generic]) -> NDArray[Any]:
    array = np.array(values, dtype=kind)
    array.flags.writeable = False
    return array


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """A column of objects, arrays left whole."""
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        column[place] = value
    return column
