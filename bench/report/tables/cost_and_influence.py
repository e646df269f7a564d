"""What every table of defences should say beside accuracy: what a rule costs without an attack, and whom it keeps.

Robustness cost = FedAvg's clean accuracy minus the rule's, seed by seed. Influence = summed least-squares weight of the
malicious clients in the server's update, mean over evaluated rounds; a plain mean gives them their share of the
clients. Kept = share of the evaluated rounds under attack in which the rule gave some malicious client more than half
of the weight of a plain mean, 1/(2n) with n clients in the round (`analysis.metrics.malicious_kept`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import caveats, statistics
from flipbench.analysis.columns import by_place, level_values
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import KEPT
from flipbench.analysis.pages import FIRST, Page
from flipbench.analysis.pivot import Pivot, several_f
from flipbench.analysis.settings.forms import FORM
from flipbench.analysis.squares import DONE, INFEASIBLE, UNDEFINED, Cells, standing
from flipbench.analysis.statistics import Values
from flipbench.report.tables.model import UNKNOWN, Block, Entry, entry_of, footnotes
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label, field_label, value_label
from flipbench.spec.metric_names import POINTS

INFLUENCE, KEEPS = "malicious_influence_mean", "malicious_kept"
_BOUNDS = {INFLUENCE: statistics.UNBOUNDED, KEEPS: statistics.SHARE}  # weights can be negative, and above 1
_MOST = 4  # settings or malicious fractions that still get a column each; of more the mean stands
_FRACTION = "malicious_fraction"
_ACCURACY = metric_column("accuracy")
COST_SAID = (
    "FedAvg's clean accuracy minus the rule's, seed by seed: what the rule costs without an attack; where clean twins "
    "have several declared f, the mean over these (the heading names them)."
)
INFLUENCE_SAID = (
    "Influence: summed least-squares weight of the malicious clients in the update, mean over evaluated rounds; a "
    "plain mean gives them their share. Kept: share of the evaluated rounds under attack in which some malicious "
    f"client had a weight above {KEPT:g}/n, n clients in the round."
)


def cost_blocks(pivots: Sequence[Pivot]) -> Iterator[Block]:
    """One table a data set: the robustness cost on each partition and setting side by side.

    Args:
        pivots: of the grid; pages without FedAvg, or with FedAvg alone, have no cost.
    """
    groups: dict[Any, list[Pivot]] = {}
    for pivot in pivots:
        if FIRST in pivot.page.rows and len(pivot.page.rows) > 1:
            groups.setdefault(pivot.page.about.get("dataset"), []).append(pivot)
    for dataset, members in groups.items():
        columns: list[tuple[tuple[str, ...], Mapping[str, Entry]]] = []
        notes: dict[str, str] = {}
        several: set[int] = set()
        for pivot in members:
            page = pivot.page
            partition = {f: page.about[f] for f in ("partition", FORM) if f in page.about}
            several |= set(several_f(pivot.squares(_ACCURACY, page.attacks)))
            for setting, lines in _costs(pivot):
                about = {**partition, **setting}
                entries = {rule: entry_of(line, notes) for rule, line in zip(page.rows, lines, strict=True)}
                columns.append((tuple(value_label(f, v) for f, v in about.items()) or ("clean",), entries))
                names = tuple(map(field_label, about)) or ("",)
        if columns:
            over = f"; mean over declared f {', '.join(map(str, sorted(several)))}" if several else ""
            where = f", {value_label('dataset', dataset)}" if dataset is not None else ""
            rules = list(dict.fromkeys(rule for pivot in members for rule in pivot.page.rows if rule != FIRST))
            yield Block(
                f"Robustness cost: clean accuracy lost against FedAvg ({POINTS}){where}{over}",
                names,
                tuple(zip(*(head for head, _ in columns), strict=True)),
                tuple((aggregator_label(r), tuple(e.get(r, Entry(UNKNOWN)) for _, e in columns)) for r in rules),
                footnotes(notes),
            )


Square = Mapping[Any, Any]


def _costs(pivot: Pivot) -> Iterator[tuple[dict[str, Any], list[Square]]]:
    """Fields of each clean column and the cost of each rule there, as `entry_of` reads it; their mean where settings
    are many."""
    page = pivot.page
    lost, clean = pivot.robustness_cost(_ACCURACY)
    at = by_place(pivot.squares(_ACCURACY, page.attacks))
    if len(clean) > _MOST:
        each = statistics.moments(np.moveaxis(lost, 0, -1))[0]
        behind = [[at[rule, column] for column in clean] for rule in page.rows]
        fedavg = [at[FIRST, column] for column in clean]
        yield {"settings": f"mean of {len(clean)}"}, [_mean_of(b, fedavg, e) for b, e in zip(behind, each, strict=True)]
        return
    for column, values in zip(clean, lost, strict=True):
        of_rules = zip(page.rows, values, strict=True)
        squares = [_mean_of([at[rule, column]], [at[FIRST, column]], lost_here) for rule, lost_here in of_rules]
        yield dict(zip(page.settings, column.setting, strict=True)), squares


def _mean_of(behind: Sequence[Square], against: Sequence[Square], values: Values) -> Square:
    """Numbers over seeds, with what the squares that they come from say where there is none; ``against``: FedAvg's."""
    numbers = _numbers(values, statistics.DIFFERENCE)
    first = next((s for s in behind if s["state"] != DONE), behind[0])
    square = {**first, **numbers, "mark": None}
    if not numbers["n"] and first["state"] == DONE:  # FedAvg has no number for these seeds
        return {**square, "state": UNDEFINED, "reason": "FedAvg has no number in these seeds"}
    remark = next((s["remark"] for s in behind if s["remark"]), None)
    square["caveat"] = caveats.joined(s["caveat"] for s in [*behind, *against])
    if numbers["n"] and first["state"] != DONE:
        remark = f"{sum(s['state'] == DONE for s in behind)} of {len(behind)} settings"
    planned = max(int(s["planned"]) for s in behind)
    return {**square, "state": DONE if numbers["n"] else first["state"], "planned": planned, "remark": remark}


def _numbers(values: Values, bounds: statistics.Bounds) -> dict[str, Any]:
    """Mean, interval and n over seeds ``(seeds,)``."""
    return {name: value.item() for name, value in statistics.over_seeds(values, bounds).items()}


def influence_blocks(pivot: Pivot) -> Iterator[Block]:
    """One table a page: influence of the malicious clients and how often they were kept, by malicious fraction.

    Means over attacks and whatever else varies, within each seed first; the heading says over what.
    """
    page = pivot.page
    found = {name: _by_fraction(pivot, name) for name in (INFLUENCE, KEEPS)}
    columns: list[tuple[str, str, list[Square]]] = []
    for name, head in ((INFLUENCE, "influence"), (KEEPS, "kept")):
        columns += [(head, text, lines) for text, lines in found[name]]
    if columns:
        notes: dict[str, str] = {}
        lines = tuple(
            (aggregator_label(rule), tuple(entry_of(squares_of[r], notes) for _, _, squares_of in columns))
            for r, rule in enumerate(page.rows)
        )
        yield Block(
            f"Influence of the malicious clients, and how often they were kept (%){_averaged(page)}",
            ("", field_label(_FRACTION)),
            (tuple(c[0] for c in columns), tuple(c[1] for c in columns)),
            lines,
            footnotes(notes),
        )


def _averaged(page: Page) -> str:
    """Over what the influence is averaged, for the heading."""
    rest = [field_label(f) for f in (*page.settings, *page.levels) if f != _FRACTION]
    attacks = [f"{len(page.attacks)} attacks"] if len(page.attacks) > 1 else []
    return f"; mean over {', '.join([*attacks, *rest])}" if attacks or rest else ""


def _by_fraction(pivot: Pivot, name: str) -> list[tuple[str, list[Square]]]:
    """Malicious fractions, ascending, with a square a rule each; one mean where they are many."""
    rules = pivot.page.rows
    frame = pivot.page.cells[pivot.page.cells["attack"] != CLEAN]
    value = pivot.tidy.set_index("key")[name].reindex(frame["key"]).to_numpy(dtype=float)
    if np.isnan(value).all():
        return []
    fractions = [v[0] for v in level_values(frame, [_FRACTION])]
    order = sorted(set(fractions))
    several = len(order) <= _MOST
    column = np.array([order.index(f) if several else 0 for f in fractions], dtype=np.int64)
    cells = Cells.of(frame, column, pd.Index(rules).get_indexer(pd.Index(frame["aggregator"])).astype(np.int64))
    shape = (len(order) if several else 1, len(rules))
    states, values = standing(cells, shape), cells.by_seed(value, shape)
    found: list[tuple[str, list[Square]]] = []
    for i, text in enumerate([value_label(_FRACTION, f) for f in order] if several else [f"mean of {len(order)}"]):
        lines: list[Square] = []
        for r in range(len(rules)):
            numbers = _numbers(values[i, r], _BOUNDS[name])
            state = DONE if numbers["n"] else states.state[i, r]
            why = states.reason[i, r] if state == INFEASIBLE else "its weights were not finite"
            about = {"planned": int(states.planned[i, r]), "reason": why, "caveat": states.caveat[i, r]}
            lines.append({**numbers, "state": state, **about})
        found.append((text, lines))
    return found
