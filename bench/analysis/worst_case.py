"""What a defence is worth: its worst case over the attacks of the grid; and every attack against every rule.

For each rule, at each malicious fraction (flip rate, ...), the worst attack is the one under which the mean over seeds
is worst: min over attacks of the mean accuracy. Its interval is that attack's; that the attack was chosen after seeing
the numbers, among several, is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flipbench.analysis.attack_selection import pooled, showable
from flipbench.analysis.columns import Column, Values, columns_of, level_values, reading_values
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import squares

WORST = "worst_over_attacks"  # stands where a column has its attack
MOST_PLACES = 4  # settings x levels that still get an overview each
MANY = 6  # attacks; with more, overviews stand in the place of one table and heatmap an attack

Place = tuple[Values, Values]  # values of the page's settings and of its levels


def worst(page: Page, tidy: pd.DataFrame, shown: MetricColumn) -> pd.DataFrame:
    """The worst attack of each aggregator at each place, clean twins first.

    Args:
        page: whose squares; with more than one attack.
        tidy: of `analysis.metrics.evaluate`.
        shown: a measure that every attack has (no class map needed).

    Returns:
        Like `analysis.pivot.squares`, the attack of the columns being `WORST`, and ``worst``: the attack (the first
        of the plan where several are equally bad; None where there is no number), ``attacks``: how many have a
        number, ``asked``: how many the grid has here, for any rule; ``partial``: whether it lacks an attack, or seeds
        of one, that another rule has, so that it is no rival of the others (its worst may be yet to come), and
        ``remark``, which says so.
    """
    table = squares(page, tidy, shown, page.attacks)
    most = {c: int(n) for c, n in table.groupby("column", sort=False)["n"].max().items()}
    here: dict[Column, list[Column]] = {}  # the attacked columns of each place
    for column in table.loc[table["state"] != "absent", "column"].unique():
        here.setdefault(_place_of(column), []).append(column)
    sign = 1.0 if shown.higher_is_better else -1.0
    groups: dict[tuple[str, Column], list[dict[Any, Any]]] = {}
    for square in table.to_dict("records"):
        if square["state"] != "absent":
            groups.setdefault((square["aggregator"], _place_of(square["column"])), []).append(square)
    rows = []
    for (aggregator, place), found in groups.items():
        known = [s for s in found if s["state"] == "done"]
        chosen = min(known, key=lambda s: sign * s["mean"]) if known else found[0]
        told = None if place.clean or not known else chosen["column"].attack
        rows.append(
            {**chosen, "aggregator": aggregator, "column": place, "worst": told}
            | ({} if place.clean else {"tied": False})  # each rule has its own worst attack: no pair to compare
            | {"attacks": len(known), "asked": len(here[place])}
            | ({"partial": False} if place.clean or not known else _lacks(here[place], known, most))
        )
    columns = list(dict.fromkeys(r["column"] for r in rows))
    rows.sort(key=lambda r: (page.rows.index(r["aggregator"]), columns.index(r["column"])))
    return _complete(
        page, pd.DataFrame(rows, columns=[*table.columns, "worst", "attacks", "asked", "partial"]), columns
    )


def _place_of(column: Column) -> Column:
    """Where the worst of an attacked column stands; a clean column stands for itself."""
    return column if column.clean else Column(WORST, column.setting, column.level)


def _lacks(here: Sequence[Column], known: Sequence[Mapping[Any, Any]], most: Mapping[Any, int]) -> dict[str, Any]:
    """Whether, and in words what, a rule lacks at a place of what others have.

    Args:
        here: the columns of the place.
        known: the rule's squares there that have a number.
        most: column -> the most seeds that a rule has there.
    """
    told = [f"{len(known)} of {len(here)} attacks"] if len(known) < len(here) else []
    short = [s for s in known if s["n"] < most[s["column"]]]
    if short:
        least = min(short, key=lambda s: int(s["n"]))
        told.append(f"{least['n']} of {most[least['column']]} seeds under an attack")
    missed = {c for c in here if most[c]} - {s["column"] for s in known}
    return {"partial": bool(missed or short), "remark": ", ".join(told) or None}


def _complete(page: Page, table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Every aggregator under every column, as drawings need it."""
    index = pd.MultiIndex.from_product([page.rows, columns], names=["aggregator", "column"])
    whole = table.set_index(["aggregator", "column"]).reindex(index).reset_index()[list(table.columns)]
    counts = ["n", "planned", "attacks", "asked"]
    whole["state"] = whole["state"].fillna("absent")
    whole[counts] = whole[counts].fillna(0).astype(int)
    for name in ("tied", "partial"):
        whole[name] = whole[name].eq(True)
    for name in ("reason", "worst", "remark"):
        whole[name] = whole[name].astype(object).where(whole[name].notna(), None)
    whole["told"] = pd.Series([t if isinstance(t, tuple) else () for t in whole["told"]], dtype=object)
    return whole


def places(page: Page) -> list[Place]:
    """Where attacks can be compared: each combination of settings and levels that attacked cells have, ascending."""
    attacked = page.cells[page.cells["attack"].isin(page.attacks)]
    found = zip(level_values(attacked, page.settings), level_values(attacked, page.levels), strict=True)
    return sorted(set(found), key=lambda p: (reading_values(p[0], page.settings), reading_values(p[1], page.levels)))


def has_overview(page: Page, metric: str = "accuracy") -> bool:
    """Whether the page's attacks are shown side by side, one overview a place; of few attacks only their accuracy."""
    page = pooled(page)
    return len(page.attacks) > (1 if metric == "accuracy" else MANY) and len(places(page)) <= MOST_PLACES


def overview_only(page: Page) -> bool:
    """Whether the overviews take the place of one table and one heatmap an attack."""
    return has_overview(page) and len(pooled(page).attacks) > MANY


def overview(page: Page, tidy: pd.DataFrame, shown: MetricColumn, place: Place) -> pd.DataFrame:
    """Every attack that the measure can be said of (down) against every aggregator (across) at one place.

    Returns:
        One row a square, attacks in the order of the plan, the clean twins' ``none`` first and `WORST` last (both only
        where all attacks share them): ``attack`` and the columns of `worst`. Aggregators in the page's order.
    """
    every, page = page, pooled(page)
    told = showable(page, shown)
    if shown.needs_mapping:  # its clean value depends on the attack, so each stands alone
        tables = [squares(page, tidy, shown, [a]) for a in told]  # whose clean columns are left out
        table = pd.concat([t[t["column"].map(lambda c: not c.clean)] for t in tables]) if tables else pd.DataFrame()
    else:
        table = squares(page, tidy, shown, told, [Column(a, *place) for a in told])
        if len(told) > 1:
            table = pd.concat([table, worst(every, tidy, shown)[lambda t: t["column"].map(lambda c: not c.clean)]])
    if not len(table):
        return table.assign(attack=())
    here = table[table["column"].map(lambda c: c.setting == place[0] and (c.clean or c.level == place[1]))]
    here = here.assign(attack=here["column"].map(lambda c: c.attack))
    order = {a: i for i, a in enumerate(dict.fromkeys(c.attack for c in columns_of(here)))}
    ranks = [(order[a], page.rows.index(r)) for a, r in zip(here["attack"], here["aggregator"], strict=True)]
    return here.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)].reset_index(drop=True)
