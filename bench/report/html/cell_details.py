"""What stands behind a square: its cells with their fields, numbers, curves and confusion matrices, a part a rule.

Kinds of detail are taken in while they fit into the room that the page has; what is left out is said there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis.columns import level_values
from flipbench.analysis.metrics import METRICS, accuracy, malicious_influence
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.rounds.late_rounds import CLEAN_VALUE, LATE, STABILITY
from flipbench.analysis.rounds.stability import CLASSES
from flipbench.analysis.squares import Places
from flipbench.report.html.packed_json import Dictionary, packed, rounded, tenths
from flipbench.report.html.rerun_command import Rerun, setting
from flipbench.spec.cell import FIELDS
from flipbench.spec.distinct_texts import printable
from flipbench.spec.labels import aggregator_label, attack_label, field_label, mapping_label, value_label
from flipbench.spec.metric_names import DAMAGE

KINDS = ("seeds", "curves", "confusion")
STATUSES = ("done", "infeasible", "failed")
MOST_POINTS = 24  # of a curve: evenly chosen among the evaluated rounds, first and last included
_LEAST = 44  # bytes of a cell: its key in base64, which nothing makes shorter
_CLEARLY = 1.3  # times the room: parts that promise more are given up before all are made
Detail = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """The cells of a page, with what their parts share.

    Attributes:
        pivot: of the page.
        cells: one row a cell, numbered from 0.
        rules: the places of each rule's cells.
        row: of each cell: its place in the tidy frame; -1 for none.
        column: of each cell: the place of its column; -1 for none.
        codes: field that varies, or that commands set -> the number of each cell's value; ``values`` has them.
        values: such a field -> its values.
        texts: reasons and class maps.
    """

    pivot: Pivot
    cells: pd.DataFrame
    rules: tuple[list[int], ...]
    row: Places
    column: Places
    codes: Mapping[str, list[int]]
    values: Mapping[str, list[Any]]
    texts: Dictionary


def details(pivot: Pivot, rerun: Rerun, room: int) -> tuple[Detail, int]:
    """All kinds of detail that fit.

    Args:
        pivot: of the page.
        rerun: the commands of their grid.
        room: bytes.

    Returns:
        ``parts``: kind -> one packed text a rule, in the page's order; ``fields``: those that vary, each with labels of
        its values and the options that set them; ``start``: of every command; ``texts``: of reasons and class maps;
        ``left_out``: kinds that do not fit. And how many bytes the parts take.
    """
    parts: dict[str, list[str]] = {}
    if len(pivot.page.cells) * _LEAST > room:
        return {"parts": parts, "fields": [], "start": rerun.start, "texts": [], "left_out": list(KINDS)}, 0
    shared = _shared(pivot, rerun.fields)
    for kind in KINDS:
        made = _fitting(shared, kind, room - sum(len(text) for texts in parts.values() for text in texts))
        if made is None:
            break  # a curve needs its seeds
        parts[kind] = made
    classes = pivot.page.classes
    fields = [
        {
            "label": field_label(field),
            "values": [_label(field, v, classes) for v in values],
            "options": [setting(field, v) for v in values] if field in rerun.fields else None,
        }
        for field, values in shared.values.items()
    ]
    detail = {"parts": parts, "fields": fields, "start": rerun.start, "texts": shared.texts.texts}
    return detail | {"left_out": [k for k in KINDS if k not in parts]}, sum(len(t) for p in parts.values() for t in p)


def _shared(pivot: Pivot, set_by_commands: Sequence[str]) -> Cells:
    """What all parts need.

    Args:
        pivot: of the page.
        set_by_commands: fields that commands set, be they the same in all cells or not.
    """
    cells, placement = pivot.page.cells.reset_index(drop=True), pivot.placement
    rules: dict[str, list[int]] = {rule: [] for rule in pivot.page.rows}
    for i, name in enumerate(cells["aggregator"]):
        rules[name].append(i)
    column = np.full(len(cells), -1)
    own = np.array([not c.of for c in placement.columns], dtype=bool)[placement.cells.column]
    column[placement.cell[own]] = placement.cells.column[own]
    row = pd.Index(pivot.tidy["key"]).get_indexer(pd.Index(cells["key"])).astype(np.int64)
    codes, values = {}, {}
    for field in FIELDS:
        number, found = pd.factorize(cells[field], use_na_sentinel=False)
        if len(found) > 1 or field in set_by_commands:
            first = np.unique(number, return_index=True)[1]
            codes[field], values[field] = number.tolist(), [v for (v,) in level_values(cells.iloc[first], [field])]
    return Cells(pivot, cells, tuple(rules.values()), row, column, codes, values, Dictionary())


def _label(field: str, value: Any, classes: Sequence[str]) -> str:
    if field == "aggregator":
        return aggregator_label(str(value))
    return attack_label(str(value), classes) if field == "attack" else value_label(field, value)


def _fitting(shared: Cells, kind: str, room: int) -> list[str] | None:
    """One packed part a rule; None where they do not fit."""
    made: list[str] = []
    size = done = 0
    for members in shared.rules:
        made.append(packed(_PARTS[kind](shared, members)))
        size, done = size + len(made[-1]), done + len(members)
        if size * len(shared.cells) > _CLEARLY * room * max(1, done):
            return None
    return made if size <= room else None


def _seeds(shared: Cells, members: list[int]) -> Detail:
    """What a line of the table of seeds says, and what is told of its cell beside the drawings."""
    cells, tidy = shared.cells.iloc[members], shared.pivot.tidy
    row = shared.row[members]
    local = {key: i for i, key in enumerate(cells["key"])}
    reason = [None if r is None or r != r else printable(str(r), 500) for r in cells["reason"]]
    maps = cells["mapping"].tolist()
    labels = {m: mapping_label(m, shared.pivot.page.classes) for m in set(maps) if m is not None}
    mapping = [labels.get(m) for m in maps]

    def of_tidy(name: str) -> Any:
        known = np.append(tidy[name].to_numpy(dtype=np.float64), np.nan)  # the last: of cells without numbers
        return known[row]

    def kinds_of(name: str) -> list[int]:
        """Whether each is steady, as places in ``CLASSES``; -1 where it has no number."""
        known = tidy[name + STABILITY].tolist()
        return [CLASSES.index(kind) if i >= 0 and (kind := known[i]) in CLASSES else -1 for i in row.tolist()]

    return {
        "column": shared.column[members].tolist(),
        "seed": cells["seed"].tolist(),
        "status": [STATUSES.index(s) for s in cells["status"]],
        "reason": [shared.texts.number(r) for r in reason],
        "mapping": [shared.texts.number(m) for m in mapping],
        "key": cells["key"].tolist(),
        "twin": [local.get(t, -1) for t in cells["twin"]],
        "fields": [[codes[i] for i in members] for codes in shared.codes.values()],
        "numbers": {
            name: [tenths(of_tidy(name + part)) for part in ("", CLEAN_VALUE, DAMAGE)]
            for name in METRICS
            if not np.isnan(of_tidy(name)).all()
        },
        "late": {
            name: [tenths(of_tidy(name + LATE[1])), tenths(of_tidy(name + LATE[2])), kinds_of(name)]
            for name in METRICS
            if not np.isnan(of_tidy(name)).all()
        },
        "flips": [rounded(of_tidy(f"flips_{kind}"), 1) for kind in ("eligible", "selected", "changed")],
        "influence": tenths(of_tidy("malicious_influence_mean")),
        "nonfinite": rounded(of_tidy("nonfinite_updates"), 1),
        "seconds": [rounded(of_tidy(name), 100) for name in ("seconds", "seconds_aggregation")],
    }


def _curves(shared: Cells, members: list[int]) -> Detail:
    """Accuracy and summed influence of the malicious clients at evaluated rounds, in tenths of a per cent."""
    cells = shared.cells.iloc[members]
    rounds: dict[tuple[int, ...], int] = {}
    which = [-1] * len(members)
    right: list[list[int | None]] = [[] for _ in members]
    weight: list[list[int | None]] = [[] for _ in members]
    alike: dict[Any, list[int]] = {}  # cells that can be evaluated in one call
    names = ("rounds_evaluated", "participants", "malicious", "confusion", "influence")
    evaluated, who, malicious, counts, influence = (cells[name].tolist() for name in names)
    for i, own_rounds in enumerate(evaluated):
        if own_rounds is not None:
            same = (own_rounds.tobytes(), who[i].tobytes(), who[i].shape, malicious[i], counts[i].shape)
            alike.setdefault(same, []).append(i)
    for places in alike.values():
        own_rounds, bad = evaluated[places[0]], malicious[places[0]]
        at = np.unique(np.linspace(0, len(own_rounds) - 1, min(len(own_rounds), MOST_POINTS)).round().astype(np.int64))
        number = rounds.setdefault(tuple(own_rounds[at].tolist()), len(rounds))
        shares = accuracy(np.stack([counts[i][at] for i in places]))
        weights = malicious_influence(np.stack([influence[i] for i in places]), who[places[0]], bad)[:, at]
        for i, own, theirs in zip(places, shares, weights, strict=True):
            which[i], right[i], weight[i] = number, tenths(own), tenths(theirs) if bad else []
    return {"rounds": [list(r) for r in rounds], "which": which, "accuracy": right, "influence": weight}


def _confusion(shared: Cells, members: list[int]) -> Detail:
    """Counts of the last round, row by row (true classes); the images with a backdoor's trigger beside them."""
    last = [None if c is None else c[-1].ravel().tolist() for c in shared.cells["confusion"].iloc[members]]
    stamped = [None if s is None else s[-1].ravel().tolist() for s in shared.cells["stamped"].iloc[members]]
    return {"counts": last, "stamped": stamped}


_PARTS = {"seeds": _seeds, "curves": _curves, "confusion": _confusion}
