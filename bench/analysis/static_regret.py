"""What assuming a static flip understates: the damage of the searched label map against that of the best static one.

For each rule and place, over the same seeds: damage = accuracy of the clean twin minus that of the attacked cell; the
best static flip is the one with the largest mean damage (chosen after seeing them all, which favours it); regret = the
searched attack's damage minus the best static flip's, seed by seed, with the 95 % interval of Student's paired t.
Positive: whoever tested the rule with static flips only was too sure of it by so much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from flipbench.analysis.columns import level_values, reading_values
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.summaries import STATISTICS, interval
from flipbench.spec.metric_names import DAMAGE

METRIC = "accuracy"
COLUMNS = (
    *("aggregator", "setting", "level", "state", "reason", "attack", "objective", "static"),
    *(f"{what}_{statistic}" for what in ("static", "searched", "regret") for statistic in STATISTICS),
    *("maps", "trials"),
)


def searched(page: Page) -> tuple[str, ...]:
    """The page's attacks that search for a label map, knowing the rule, and do nothing else."""
    return _attacks(page, lambda c: bool(c["adaptive"]) and c["places"] == ("labels",))


def static(page: Page) -> tuple[str, ...]:
    """The page's label flips that are fixed beforehand: they know neither the rule nor the model."""
    return _attacks(page, lambda c: not c["adaptive"] and not c["dynamic"] and c["places"] == ("labels",))


def _attacks(page: Page, wanted: Any) -> tuple[str, ...]:
    # An infeasible or failed cell may lack what its attack is; the others of the same attack tell.
    told = page.cells[page.cells["status"] == "done"].drop_duplicates("attack").to_dict("records")
    found = {c["attack"] for c in told if wanted(c)}
    return tuple(a for a in page.attacks if a in found)


def regrets(pivot: Pivot) -> pd.DataFrame:
    """One row an aggregator, place and searched attack.

    Args:
        pivot: of the page.

    Returns:
        ``aggregator, setting, level`` (values of the page's settings and levels), ``state`` (done, infeasible or
        missing), ``reason``, ``attack`` (the searched one), ``objective`` of its search, ``static`` (the best static
        flip), mean, sd, n, low, high of ``static_``, ``searched_`` and ``regret_``, ``maps`` (pairs -> in how many
        seeds that map was found) and ``trials`` (federations run by the search, the most over seeds). Empty where the
        page has no searched attack or no static flip.
    """
    page = pivot.page
    adaptive, flips = searched(page), static(page)
    if not adaptive or not flips:
        return pd.DataFrame(columns=list(COLUMNS))
    name = METRIC + DAMAGE
    cells = page.cells.merge(pivot.tidy[["key", name]], on="key", how="left", validate="1:1")
    cells = cells[cells["attack"].isin([*adaptive, *flips])]
    places = list(zip(level_values(cells, page.settings), level_values(cells, page.levels), strict=True))
    order = sorted(set(places), key=lambda p: (reading_values(p[0], page.settings), reading_values(p[1], page.levels)))
    cells = cells.assign(place=pd.Series(places, index=cells.index, dtype=object))
    by_square = dict(iter(cells.groupby(["aggregator", "place"], sort=False)))
    rows = []
    for aggregator in page.rows:
        for place in order:
            for attack in adaptive:
                here = by_square.get((aggregator, place))
                if here is not None and (here["attack"] == attack).any():
                    told = {"aggregator": aggregator, "setting": place[0], "level": place[1], "attack": attack}
                    rows.append({**told, **_regret(here, attack, flips, name)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _regret(cells: pd.DataFrame, attack: str, flips: Sequence[str], name: str) -> dict[str, Any]:
    """One square's numbers, from its cells under the searched attack and the static flips."""
    mine = cells[cells["attack"] == attack]
    if (mine["status"] == "infeasible").all():
        return {"state": "infeasible", "reason": str(mine["reason"].iloc[0])}
    by_seed = {a: _seeds(cells[cells["attack"] == a], name) for a in (attack, *flips)}
    means = {a: sum(seeds.values()) / len(seeds) for a, seeds in by_seed.items() if seeds and a != attack}
    if not means or not by_seed[attack]:
        return {"state": "missing"}
    best = max(means, key=means.__getitem__)
    both = [s for s in by_seed[attack] if s in by_seed[best]]
    searches = [s for s in mine["search"] if s is not None]
    maps = Counter(m for m in mine["mapping"] if m is not None)
    trials = [s["trials"] for s in searches if s.get("trials") is not None]
    return {
        "state": "done",
        "static": best,
        "objective": next((str(s["objective"]) for s in searches if s.get("objective") is not None), None),
        "maps": dict(maps.most_common()),
        "trials": max(trials, default=None),
        **dict(_statistics("static", by_seed[best].values())),
        **dict(_statistics("searched", by_seed[attack].values())),
        **dict(_statistics("regret", [by_seed[attack][s] - by_seed[best][s] for s in both])),
    }


def _seeds(cells: pd.DataFrame, name: str) -> Mapping[int, float]:
    known = cells[cells[name].notna()]
    return dict(zip(known["seed"].astype(int), known[name].astype(float), strict=True))


def _statistics(what: str, values: Any) -> Iterator[tuple[str, float]]:
    for statistic, value in zip(STATISTICS, interval(list(values)), strict=True):
        yield f"{what}_{statistic}", value
