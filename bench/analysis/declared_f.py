"""Declared f against the true number of malicious clients: what the rule does, and the regret of being told wrong.

Regret = the metric where the declared f is the true one, minus the metric where it is not, at the same true number,
seed by seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from flipbench.analysis import caveats
from flipbench.analysis.columns import Values, coded, level_values
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.rounds.late_rounds import moves
from flipbench.analysis.squares import ABSENT, DONE, UNDEFINED, Cells, standing
from flipbench.analysis.statistics import DIFFERENCE, over_seeds
from flipbench.spec.cell import CLEAN, expected_malicious

AXES = ("declared_byzantine", "malicious_fraction")


def applies(page: Page) -> bool:
    """Whether declared f and the true number are two axes of the page."""
    return all(axis in page.levels for axis in AXES)


def rest(page: Page) -> tuple[str, ...]:
    """What else varies: one figure for each of its values."""
    return tuple(f for f in (*page.settings, *page.levels) if f not in AXES)


def variants(page: Page, attack: str) -> list[Values]:
    """The values of `rest` that an attack's cells have, in the order of the plan."""
    cells = page.cells[page.cells["attack"] == attack]
    return list(dict.fromkeys(level_values(cells, rest(page))))


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
        sd, n, low, high, planned, caveat`` (`analysis.squares`) of the metric, and with ``regret_`` before them those
        of the paired regret (state absent where the plan has no cell that declares the true number; of a square with a
        number whose true one has none, that of the true one).
    """
    cells = pivot.page.cells
    cut = len(pivot.page.settings)  # `rest` begins with the settings, which are all that clean cells have of it
    wanted = [
        own == values if name == attack else name == CLEAN and not shown.needs_mapping and own[:cut] == values[:cut]
        for name, own in zip(cells["attack"], level_values(cells, rest(pivot.page)), strict=True)
    ]
    cells = cells[np.array(wanted, dtype=bool)]
    codes, keys = coded(cells, ("aggregator", "declared_byzantine", "malicious_count"))
    first = cells.iloc[np.unique(codes, return_index=True)[1]].to_dict("records")
    truth = {
        (k[0], k[2]): i for i, (k, cell) in enumerate(zip(keys, first, strict=True)) if k[1] == expected_malicious(cell)
    }
    right = np.array([truth.get((rule, true), -1) for rule, _, true in keys], dtype=np.int64)
    placed, shape = Cells.of(cells, codes, np.zeros_like(codes)), (len(keys), 1)
    moved = moves(pivot.tidy, cells["key"], shown.metric)
    placed = replace(placed, caveat=caveats.with_moves(placed.caveat, moved))
    number = pivot.tidy.set_index("key")[shown.name].reindex(cells["key"]).to_numpy(dtype=np.float64)
    values_here, states = placed.by_seed(number, shape)[:, 0], standing(placed, shape)
    best = np.where(right[:, None] >= 0, values_here[right], np.nan)
    own = over_seeds(values_here, shown.bounds)
    lost = over_seeds((best - values_here) * (1 if shown.higher_is_better else -1), DIFFERENCE)
    state = np.where(own["n"] > 0, DONE, states.state[:, 0])
    of_lost = np.where(state == DONE, np.where(state[right] == DONE, UNDEFINED, state[right]), state)
    of_lost = np.where(right < 0, ABSENT, np.where(lost["n"] > 0, DONE, of_lost))
    caveat = states.caveat[:, 0]
    of_both = np.array([caveats.joined(caveat[[i, j]] if j >= 0 else [caveat[i]]) for i, j in enumerate(right)])
    table = pd.DataFrame(keys, columns=["aggregator", "declared", "true"])
    table["right"] = right == np.arange(len(keys))
    for prefix, named, numbers, said in (("", state, own, caveat), ("regret_", of_lost, lost, of_both)):
        columns = {"state": named, **numbers, "planned": states.planned[:, 0]}
        columns["caveat"] = pd.Series(said, dtype=object)  # pandas would make NaN of a None among texts
        table = table.assign(**{f"{prefix}{name}": column for name, column in columns.items()})
    return table
