"""One record as a flat row: every field a column, the raw counts as arrays beside them.

Nothing is computed here but what a reader would call the same field in another unit (the malicious fraction, total
seconds); metrics are `analysis.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipbench.spec.cell import CLEAN, FIELDS, SHARE
from flipbench.spec.field_groups import USUAL

PHASES = ("setup", "local", "aggregation", "evaluation")
COST = ("bytes_up", "bytes_down", "rule_peak")
PROVENANCE = (
    *("flipbench", "commit", "engine", "python", "torch", "numpy", "numba", "platform", "device", "processor"),
    *("threads", "executor", "finished"),
)

# Names that would hide a field are told apart: the task's pixels, who took part, the machine's device.
COLUMNS = (
    *("key", "twin", "status", "reason", "traceback", "attempts", "clean"),
    *FIELDS,
    *("task", "classes", "split", "train", "test", "pixels", "data_sha256", "content", "mapping"),
    *("rounds_evaluated", "confusion", "no_prediction", "clamped", "participants", "influence", "norms", "fedavg_gap"),
    *("malicious", "flips", "examples", "nonfinite"),
    *("kept", "class_counts", *COST),
    *("places", "adaptive", "dynamic", "search", "trials", "stamped", "target", "attacked_rounds"),
    *(f"seconds_{phase}" for phase in PHASES),
    "seconds",
    *(f"provenance_{name}" for name in PROVENANCE),
)


class Share:
    """Hands out one object for all that are equal: cells differ in few of their fields."""

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

    def whole(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Whole numbers, or lists of them, as an array."""
        nested = bool(values) and isinstance(values[0], list)
        name = ("array", tuple(map(tuple, values)) if nested else tuple(values))
        found: NDArray[np.int64] = self.made(name, lambda: _array(values, np.int64))
        return found


def row(record: Mapping[str, Any] | None, key: str, share: Share | None = None) -> dict[str, Any]:
    """One record as a flat row; None is a missing cell."""
    if record is None:
        return {"key": key, "status": "missing"}
    share = share or Share()
    fields, seconds = record["facts"], record["seconds"]
    task: Mapping[str, Any] = record["task"] or {}
    spent = [seconds.get(phase) for phase in PHASES]
    known = [s for s in spent if s is not None]
    return {
        **{name: record[name] for name in ("key", "status", "reason", "traceback", "attempts")},
        "twin": share.value(record["twin"]),
        **USUAL,  # a field that cells of an earlier version lack was this
        **fields,
        "clean": fields["attack"] == CLEAN,
        "malicious_fraction": fields["malicious_count"] / (fields["clients"] + _sybils(fields)),
        "task": task.get("dataset"),
        "classes": share.value(tuple(task["classes"])) if task else None,
        **{name: task.get(name) for name in ("split", "train", "test")},
        "pixels": task.get("features"),
        "data_sha256": share.value(record["content"].get("dataset")),
        "content": share.value(tuple(sorted(record["content"].items()))),
        "mapping": None if record["mapping"] is None else share.value(tuple((s, t) for s, t in record["mapping"])),
        **_attack(record, share),
        **_counts(record["result"], share),
        **{name: (record.get("cost") or {}).get(name) for name in COST},
        **{f"seconds_{phase}": value for phase, value in zip(PHASES, spent, strict=True)},
        "seconds": sum(known) if known else None,
        **{f"provenance_{name}": record["provenance"].get(name) for name in PROVENANCE},
    }


def _sybils(fields: Mapping[str, Any]) -> int:
    """Clients that the N do not count."""
    return 0 if fields.get("malicious_data", SHARE) == SHARE else int(fields["malicious_count"])


def _attack(record: Mapping[str, Any], share: Share) -> dict[str, Any]:
    """How the attack works; cells from before this was recorded were all attacked by static label flips."""
    attacked = record["facts"]["attack"] != CLEAN
    known: Mapping[str, Any] = record.get("attack") or {"places": ["labels"] if attacked else []}
    search = known.get("search")
    return {
        "places": share.value(tuple(known["places"])),
        "adaptive": bool(known.get("adaptive", False)),
        "dynamic": bool(known.get("dynamic", False)),
        "search": search,
        "trials": None if search is None else search.get("trials"),
        "target": known.get("target"),
    }


def _counts(result: Mapping[str, Any] | None, share: Share) -> dict[str, Any]:
    if result is None:
        return {}
    flips, left_out = result["flips"], result["nonfinite"].items()
    rounds = result.get("attacked_rounds")
    return {
        "rounds_evaluated": share.whole(result["rounds"]),
        "confusion": _whole(result["confusion"], result.get("no_prediction")),
        "no_prediction": share.value(_rounds_without(result)),
        "clamped": share.value(tuple(sorted(int(number) for number in result.get("clamped") or ()))),
        "participants": share.whole(result["clients"]),
        "influence": _array(result["influence"], np.float64),  # null becomes NaN
        "norms": _array(result["norms"], np.float64),
        "fedavg_gap": _array(result["fedavg_gap"], np.float64),
        "malicious": share.value(tuple(result["malicious"])),
        "flips": share.made(("flips", *(tuple(f.items()) for f in flips)), lambda: tuple(flips)),
        "examples": share.whole(result["examples"]),
        "nonfinite": share.made(("nonfinite", *left_out), lambda: {int(number): count for number, count in left_out}),
        "stamped": None
        if result.get("stamped") is None
        else _whole(result["stamped"], result.get("stamped_no_prediction")),
        "kept": None if result.get("kept") is None else _kept(result["kept"], len(result["clients"][0])),
        "class_counts": None if result.get("class_counts") is None else share.whole(result["class_counts"]),
        "attacked_rounds": None if rounds is None else share.value(tuple(rounds)),
    }


def _kept(told: Sequence[Sequence[int] | None], clients: int) -> NDArray[np.int8]:
    """Which clients the rule said it kept, ``(rounds, clients)``; -1 in rounds in which it told nothing."""
    return _array([[-1] * clients if row is None else row for row in told], np.int8)


def _rounds_without(result: Mapping[str, Any]) -> tuple[int, ...]:
    """The evaluated rounds in which some test image, stamped ones among them, has no prediction; none of a record from
    before these were counted."""
    each = [result[name] for name in ("no_prediction", "stamped_no_prediction") if result.get(name)]
    return tuple(r for r, *counts in zip(result["rounds"], *each, strict=True) if any(map(any, counts)))


def _whole(
    values: Sequence[Sequence[Sequence[int]]], none: Sequence[Sequence[int]] | None = None
) -> NDArray[np.signedinteger[Any]]:
    """Counts ``(rounds, L, L)`` in as few bytes as they need: they are most of a frame's memory.

    Args:
        values: the matrices.
        none: ``(rounds, L)`` images without a prediction, which become a last column; None: there are none.
    """
    if none is not None:
        values = [[[*line, more] for line, more in zip(*each, strict=True)] for each in zip(values, none, strict=True)]
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(values)), dtype=np.int64)
    most = int(flat.max(initial=0))
    least = np.int16 if most < 2**15 else np.int32 if most < 2**31 else np.int64
    sides = (len(values[0]), len(values[0][0])) if values else (0, 0)
    return _array(flat.reshape(len(values), *sides), least)


def _array(values: Any, kind: type[np.generic]) -> NDArray[Any]:
    array = np.array(values, dtype=kind)
    array.flags.writeable = False
    return array
