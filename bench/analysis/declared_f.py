"""Declared f against the true number of malicious clients: what the rule does, and the regret of being told wrong.

Regret = the metric where the declared f is the true one, minus the metric where it is not, at the same true number,
seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flipbench.analysis.columns import Values, level_values
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.summaries import STATISTICS, interval
from flipbench.spec.cell import CLEAN, expected_malicious

AXES = ("declared_byzantine", "malicious_fraction")

Key = tuple[str, int, int]  # aggregator, declared, true


def applies(page: Page) -> bool:
    """Whether declared f and the true number are two axes of the page."""
    return all(axis in page.levels for axis in AXES)


def rest(page: Page) -> tuple[str, ...]:
    """What else varies: one figure for each of its values."""
    return tuple(f for f in (*page.settings, *page.levels) if f not in AXES)


def variants(page: Page, attack: str) -> list[Values]:
    """The values of `rest` that an attack's cells have, in the order of the plan."""
    mine = page.cells[page.cells["attack"] == attack]
    return list(dict.fromkeys(level_values(mine, rest(page))))


def table(pivot: Pivot, shown: MetricColumn, attack: str, values: Values) -> pd.DataFrame:
    """The squares of one attack, all aggregators.

    Args:
        pivot: of a page that `applies`.
        shown: a metric itself, not its damage.
        attack: its reference; without malicious clients there is none, so the clean cells are the column of true 0.
        values: of `rest`.

    Returns:
        One row an aggregator, ``declared`` (f, whole) and ``true`` (malicious clients): ``right`` (whether declared is
        what a round of so many should be told: under client sampling the expected number, rounded up), ``state, mean,
        sd, n, low, high, planned`` of the metric, and with ``regret_`` before them those of the paired regret (state
        absent where the plan has no cell that declares the true number, infeasible also where the rule refuses that).
    """
    page = pivot.page
    cells = page.cells.merge(pivot.tidy[["key", shown.name]], on="key", how="left", validate="1:1")
    settings = [f for f in rest(page) if f in page.settings]
    wanted = {f: v for f, v in zip(rest(page), values, strict=True) if f in settings}
    theirs = pd.Series(level_values(cells, rest(page)), index=cells.index, dtype=object)
    alike = pd.Series(level_values(cells, settings), index=cells.index, dtype=object)
    mine = (cells["attack"] == attack) & theirs.map(lambda v: v == values)
    clean = (cells["attack"] == CLEAN) & (not shown.needs_mapping) & alike.map(lambda v: v == tuple(wanted.values()))
    groups: dict[Key, list[dict[Any, Any]]] = {}
    for cell in cells[mine | clean].to_dict("records"):
        key = (str(cell["aggregator"]), int(cell["declared_byzantine"]), int(cell["malicious_count"]))
        groups.setdefault(key, []).append(cell)
    told = {(k[0], k[2]): k for k, found in groups.items() if k[1] == expected_malicious(found[0])}
    rows = []
    for key, found in groups.items():
        right = told.get((key[0], key[2]))
        seeds = _seeds(found, shown)
        best = {} if right is None else _seeds(groups[right], shown)
        sign = 1.0 if shown.higher_is_better else -1.0
        lost = [sign * (best[s] - v) for s, v in seeds.items() if s in best]
        own, regret = _statement(found, list(seeds.values())), _statement(found, lost)
        if right is None:
            regret["state"] = "absent"
        elif own["state"] == "done" and all(c["status"] == "infeasible" for c in groups[right]):
            regret["state"] = "infeasible"  # as the truth is
        rows.append(
            dict(zip(("aggregator", "declared", "true"), key, strict=True))
            | {"right": key == right}
            | own
            | {f"regret_{name}": value for name, value in regret.items()}
        )
    names = ["state", *STATISTICS, "planned"]
    columns = ["aggregator", "declared", "true", "right", *names, *(f"regret_{n}" for n in names)]
    return pd.DataFrame(rows, columns=columns)


def _seeds(cells: Sequence[Mapping[Any, Any]], shown: MetricColumn) -> dict[int, float]:
    return {int(c["seed"]): float(c[shown.name]) for c in cells if c[shown.name] == c[shown.name]}


def _statement(cells: Sequence[Mapping[Any, Any]], values: Sequence[float]) -> dict[str, Any]:
    able = [c for c in cells if c["status"] != "infeasible"]
    state = "done" if values else "failed" if able else "infeasible"
    return {"state": state, **dict(zip(STATISTICS, interval(values), strict=True)), "planned": len(able)}
