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

from flipbench.analysis import statistics
from flipbench.analysis.columns import level_values
from flipbench.analysis.comparisons import seed_table
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import KEPT
from flipbench.analysis.pages import FIRST, Page
from flipbench.analysis.pivot import by_seed, several_f, squares
from flipbench.analysis.statistics import Values
from flipbench.report.tables.model import UNKNOWN, Block, Entry, entry_of
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label, field_label, value_label

INFLUENCE, KEEPS = "malicious_influence_mean", "malicious_kept"
_MOST = 4  # settings or malicious fractions that still get a column each; of more the mean stands
_FACT = "malicious_fraction"
COST_SAID = (
    "FedAvg's clean accuracy minus the rule's, seed by seed: what the rule costs while nobody attacks; where attacked "
    "cells are told several f, the mean over these (the heading says which)."
)
INFLUENCE_SAID = (
    "Influence: summed least-squares weight of the malicious clients in the update, mean over evaluated rounds; a "
    "plain mean gives them their share. Kept: share of the evaluated rounds under attack in which some malicious "
    f"client had a weight above {KEPT:g}/n, n clients in the round."
)


def cost_blocks(pages: Sequence[Page], tidy: pd.DataFrame) -> Iterator[Block]:
    """One table a data set: the robustness cost on each partition and setting side by side.

    Args:
        pages: of the grid; those without FedAvg, or with FedAvg alone, have no cost.
        tidy: of `analysis.metrics.evaluate`.
    """
    groups: dict[Any, list[Page]] = {}
    for page in pages:
        if FIRST in page.rows and len(page.rows) > 1:
            groups.setdefault(page.about.get("dataset"), []).append(page)
    for dataset, mine in groups.items():
        columns: list[tuple[tuple[str, ...], Mapping[str, Entry]]] = []
        notes: dict[str, str] = {}
        several: set[int] = set()
        for page in mine:
            partition = {"partition": page.about["partition"]} if "partition" in page.about else {}
            table = squares(page, tidy, metric_column("accuracy"), page.attacks)
            several |= set(several_f(table))
            for setting, lines in _costs(page, tidy, table):
                told = {**partition, **setting}
                entries = {rule: entry_of(line, notes) for rule, line in zip(page.rows, lines, strict=True)}
                columns.append((tuple(value_label(f, v) for f, v in told.items()) or ("clean",), entries))
                names = tuple(map(field_label, told)) or ("",)
        if columns:
            over = f"; mean over declared f {', '.join(map(str, sorted(several)))}" if several else ""
            where = f", {value_label('dataset', dataset)}" if dataset is not None else ""
            rules = list(dict.fromkeys(rule for page in mine for rule in page.rows if rule != FIRST))
            yield Block(
                f"Robustness cost: clean accuracy (%) lost against FedAvg{where}{over}",
                names,
                tuple(zip(*(head for head, _ in columns), strict=True)),
                tuple((aggregator_label(r), tuple(e.get(r, Entry(UNKNOWN)) for _, e in columns)) for r in rules),
                tuple((letter, text) for text, letter in notes.items()),
            )


Square = Mapping[Any, Any]


def _costs(page: Page, tidy: pd.DataFrame, table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], list[Square]]]:
    """Facts of each clean column and the cost of each rule there, as `entry_of` reads it; their mean where settings are
    many."""
    values, columns = by_seed(page, tidy, metric_column("accuracy"), page.attacks)
    clean = [i for i, column in enumerate(columns) if column.clean]
    lost = {i: values[i, page.rows.index(FIRST)] - values[i] for i in clean}
    at = {(s["aggregator"], s["column"]): s for s in table.to_dict("records")}
    if len(clean) > _MOST:
        each = statistics.moments(np.stack([*lost.values()], axis=-1))[0]
        told = [[at[rule, columns[i]] for i in clean] for rule in page.rows]
        yield {"settings": f"mean of {len(clean)}"}, [_mean_of(one, line) for one, line in zip(told, each, strict=True)]
        return
    for i in clean:
        told = [[at[rule, columns[i]]] for rule in page.rows]
        facts = dict(zip(page.settings, columns[i].setting, strict=True))
        yield facts, [_mean_of(one, line) for one, line in zip(told, lost[i], strict=True)]


def _mean_of(squares_of: Sequence[Square], values: Values) -> Square:
    """Numbers over seeds, with what the squares that they come from say where there is none."""
    mean, _, n = statistics.moments(values)
    low, high = statistics.student_interval(values)
    numbers = {"mean": float(mean), "low": float(low), "high": float(high), "n": int(n)}
    one = next((s for s in squares_of if s["state"] != "done"), squares_of[0])
    if not n and one["state"] == "done":  # FedAvg has no number for these seeds
        return {**one, **numbers, "state": "undefined", "reason": "FedAvg has no number in these seeds"}
    remark = next((s["remark"] for s in squares_of if s["remark"]), None)
    if n and one["state"] != "done":
        remark = f"{sum(s['state'] == 'done' for s in squares_of)} of {len(squares_of)} settings"
    planned = max(int(s["planned"]) for s in squares_of)
    state = "done" if n else one["state"]
    return {**one, **numbers, "state": state, "planned": planned, "remark": remark}


def influence_blocks(page: Page, tidy: pd.DataFrame) -> Iterator[Block]:
    """One table a page: influence of the malicious clients and how often they were kept, by malicious fraction.

    Means over attacks and whatever else varies, within each seed first; the heading says over what.
    """
    found = {name: _by_fraction(page, tidy, name) for name in (INFLUENCE, KEEPS)}
    columns: list[tuple[str, str, list[Square]]] = []
    for name, head in ((INFLUENCE, "influence"), (KEEPS, "kept")):
        columns += [(head, told, lines) for told, lines in found[name]]
    if columns:
        notes: dict[str, str] = {}
        lines = tuple(
            (aggregator_label(rule), tuple(entry_of(squares_of[r], notes) for _, _, squares_of in columns))
            for r, rule in enumerate(page.rows)
        )
        yield Block(
            f"Influence of the malicious clients, and how often they were kept (%){_averaged(page)}",
            ("", field_label(_FACT)),
            (tuple(c[0] for c in columns), tuple(c[1] for c in columns)),
            lines,
            tuple((letter, text) for text, letter in notes.items()),
        )


def _averaged(page: Page) -> str:
    """Over what the influence is averaged, for the heading."""
    rest = [field_label(f) for f in (*page.settings, *page.levels) if f != _FACT]
    attacks = [f"{len(page.attacks)} attacks"] if len(page.attacks) > 1 else []
    return f"; mean over {', '.join([*attacks, *rest])}" if attacks or rest else ""


def _by_fraction(page: Page, tidy: pd.DataFrame, name: str) -> list[tuple[str, list[Square]]]:
    """Malicious fractions, ascending, with a square a rule each; one mean where they are many."""
    cells = page.cells[page.cells["attack"] != CLEAN]
    values = tidy.set_index("key")[name].reindex(cells["key"]).to_numpy(dtype=float)
    if np.isnan(values).all():
        return []
    fractions = [v[0] for v in level_values(cells, [_FACT])]
    order = sorted(set(fractions))
    several = len(order) <= _MOST
    column = [order.index(f) if several else 0 for f in fractions]
    rule = pd.Index(page.rows).get_indexer(pd.Index(cells["aggregator"]))
    shape = (len(order) if several else 1, len(page.rows))
    table = seed_table(column, rule, cells["seed"], values, shape)
    able = (cells["status"] != "infeasible").to_numpy()
    planned = (~np.isnan(seed_table(column, rule, cells["seed"], np.where(able, 0.0, np.nan), shape))).sum(-1)
    mean, _, n = statistics.moments(table)
    low, high = statistics.student_interval(table)
    refused, failed = (_reasons(cells, column, rule, state) for state in ("infeasible", "failed"))
    there = set(zip(column, rule.tolist(), strict=True))
    told = [value_label(_FACT, f) for f in order] if several else [f"mean of {len(order)}"]
    found: list[tuple[str, list[Square]]] = []
    for i, text in enumerate(told):
        lines: list[Square] = []
        for r in range(len(page.rows)):
            state = "absent" if (i, r) not in there else "infeasible" if not planned[i, r] else "undefined"
            state = "done" if n[i, r] else "failed" if state == "undefined" and (i, r) in failed else state
            numbers = {"mean": float(mean[i, r]), "low": float(low[i, r]), "high": float(high[i, r]), "n": int(n[i, r])}
            why = refused.get((i, r)) if state == "infeasible" else "its weights were not finite"
            lines.append({**numbers, "state": state, "planned": int(planned[i, r]), "reason": why})
        found.append((text, lines))
    return found


def _reasons(cells: pd.DataFrame, column: Sequence[int], rule: Any, state: str) -> dict[tuple[int, int], str]:
    """(fraction, rule) of cells in a state -> the first one's reason."""
    found: dict[tuple[int, int], str] = {}
    for i, r, status, why in zip(column, rule.tolist(), cells["status"], cells["reason"], strict=True):
        if status == state:
            found.setdefault((i, r), str(why))
    return found
