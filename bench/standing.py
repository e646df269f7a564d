"""What every table of defences should say beside accuracy: what a rule costs without an attack, and whom it keeps.

Robustness cost = FedAvg's clean accuracy minus the rule's, seed by seed. Influence = summed least-squares weight of the
malicious clients in the server's update, mean over evaluated rounds; a plain mean gives them their share of the
clients. Kept = share of the evaluated rounds under attack in which the rule gave some malicious client more than half
of the weight of a plain mean, 1/(2n) with n clients in the round (`bench.metrics.malicious_kept`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench import statistics
from bench.arrangement import FIRST, Page, by_seed, level_values, measure
from bench.blocks import DASH, UNKNOWN, Block, Entry, half_width, number
from bench.cell import CLEAN
from bench.comparisons import seed_table
from bench.labels import aggregator_label, fact_label, value_label
from bench.metrics import KEPT
from bench.statistics import Values

COST, INFLUENCE, KEEPS = "robustness_cost", "malicious_influence_mean", "malicious_kept"
_MOST = 4  # settings or malicious fractions that still get a column each; of more the mean stands
_FACT = "malicious_fraction"
COST_SAID = "FedAvg's clean accuracy minus the rule's, seed by seed: what the rule costs while nobody attacks."
INFLUENCE_SAID = (
    "Influence: summed least-squares weight of the malicious clients in the update, mean over evaluated rounds; a "
    "plain mean gives them their share. Kept: share of the evaluated rounds under attack in which some malicious "
    f"client had a weight above {KEPT:g}/n, n clients in the round."
)


def cost_blocks(pages: Sequence[Page], tidy: pd.DataFrame) -> Iterator[Block]:
    """One table a data set: the robustness cost on each partition and setting side by side.

    Args:
        pages: of the grid; those without FedAvg, or with FedAvg alone, have no cost.
        tidy: of `bench.metrics.evaluate`.
    """
    groups: dict[Any, list[Page]] = {}
    for page in pages:
        if FIRST in page.rows and len(page.rows) > 1:
            groups.setdefault(page.about.get("dataset"), []).append(page)
    for dataset, mine in groups.items():
        columns: list[tuple[tuple[str, ...], Mapping[str, Entry]]] = []
        for page in mine:
            partition = {"partition": page.about["partition"]} if "partition" in page.about else {}
            for setting, values in _costs(page, tidy):
                told = {**partition, **setting}
                entries = {rule: _entry(line) for rule, line in zip(page.rows, values, strict=True)}
                columns.append((tuple(value_label(f, v) for f, v in told.items()) or ("clean",), entries))
                names = tuple(map(fact_label, told)) or ("",)
        if columns:
            where = f", {value_label('dataset', dataset)}" if dataset is not None else ""
            rules = list(dict.fromkeys(rule for page in mine for rule in page.rows if rule != FIRST))
            yield Block(
                f"Robustness cost: clean accuracy (%) lost against FedAvg{where}",
                names,
                tuple(zip(*(head for head, _ in columns), strict=True)),
                tuple((aggregator_label(r), tuple(e.get(r, Entry(UNKNOWN)) for _, e in columns)) for r in rules),
                (),
            )


def _costs(page: Page, tidy: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Values]]:
    """Facts of each clean column and the costs there, ``(rules, seeds)``; their mean where settings are many."""
    values, columns = by_seed(page, tidy, measure("accuracy"), page.attacks)
    clean = [i for i, column in enumerate(columns) if column.clean]
    lost = {i: values[i, page.rows.index(FIRST)] - values[i] for i in clean}
    if len(clean) > _MOST:
        yield {"settings": f"mean of {len(clean)}"}, statistics.moments(np.stack([*lost.values()], axis=-1))[0]
        return
    for i in clean:
        yield dict(zip(page.settings, columns[i].setting, strict=True)), lost[i]


def influence_blocks(page: Page, tidy: pd.DataFrame) -> Iterator[Block]:
    """One table a page: influence of the malicious clients and how often they were kept, by malicious fraction.

    Means over attacks and whatever else varies, within each seed first.
    """
    found = {name: _by_fraction(page, tidy, name) for name in (INFLUENCE, KEEPS)}
    columns: list[tuple[str, str, Values]] = []
    for name, head in ((INFLUENCE, "influence"), (KEEPS, "kept")):
        columns += [(head, value_label(_FACT, fraction), values) for fraction, values in found[name]]
    if columns:
        yield Block(
            "Influence of the malicious clients, and how often they were kept (%)",
            ("", fact_label(_FACT)),
            (tuple(c[0] for c in columns), tuple(c[1] for c in columns)),
            tuple(
                (aggregator_label(rule), tuple(_entry(values[r]) for _, _, values in columns))
                for r, rule in enumerate(page.rows)
            ),
            (),
        )


def _by_fraction(page: Page, tidy: pd.DataFrame, name: str) -> list[tuple[Any, Values]]:
    """Malicious fractions, ascending, with ``(rules, seeds)`` each; one mean where they are many."""
    cells = page.cells[(page.cells["attack"] != CLEAN) & (page.cells["status"] == "done")]
    values = tidy.set_index("key")[name].reindex(cells["key"]).to_numpy(dtype=float)
    if np.isnan(values).all():
        return []
    fractions = [v[0] for v in level_values(cells, [_FACT])]
    order = sorted(set(fractions))
    several = len(order) <= _MOST
    column = [order.index(f) if several else 0 for f in fractions]
    rule = pd.Index(page.rows).get_indexer(pd.Index(cells["aggregator"]))
    table = seed_table(column, rule, cells["seed"], values, (len(order) if several else 1, len(page.rows)))
    told = order if several else [float(np.mean(fractions))]
    return list(zip(told, table, strict=True))


def _entry(values: Values) -> Entry:
    """Mean over seeds and half of its interval."""
    mean, _, n = statistics.moments(values)
    low, high = statistics.student_interval(values)
    if not n:
        return Entry(DASH)
    half = f" ± {half_width({'low': float(low), 'high': float(high)})}" if n > 1 else ""
    return Entry(number(float(mean)) + half)
