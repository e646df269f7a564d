"""What a defence is worth: its worst case over the attacks of the grid; and every attack against every rule.

For each rule, at each malicious fraction (flip rate, ...), the worst attack is the one under which the mean over seeds
is worst: min over attacks of the mean accuracy. Its interval is that attack's; that the attack was chosen after seeing
the numbers, among several, is not in it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from flipbench.analysis.columns import Column, Values, columns_of, level_values, reading_values
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, pooled, showable
from flipbench.analysis.pivot import Pivot, Whole
from flipbench.analysis.squares import ABSENT, DONE

MOST_PLACES = 4  # settings x levels that still get an overview each
MANY = 6  # attacks; with more, overviews stand in the place of one table and heatmap an attack

Place = tuple[Values, Values]  # values of the page's settings and of its levels


def worst(pivot: Pivot, shown: MetricColumn) -> pd.DataFrame:
    """The worst attack of each aggregator at each place, clean twins first.

    Args:
        pivot: of a page with more than one attack.
        shown: a metric that every attack has (no class map needed).

    Returns:
        Like `analysis.pivot.Pivot.squares`, the attack of the columns being `WORST`, and ``worst``: the attack (the
        first of the plan where several are equally bad; None where there is no number), ``attacks``: how many have a
        number, ``asked``: how many the grid has here, for any rule; ``partial``: whether it lacks an attack, or seeds
        of one, that another rule has, so that it is no rival of the others, and ``remark``, which says so. ``tied`` is
        never true of a worst case: each rule has its own worst attack, so there is no pair to compare.
    """
    return pivot.once(("worst", shown), lambda: _worst(pivot, shown))


def _worst(pivot: Pivot, shown: MetricColumn) -> pd.DataFrame:
    whole, standing, columns = pivot.whole(shown), pivot.standing, pivot.placement.columns
    reason, caveat = pivot.reasons(shown), pivot.caveats(shown)
    keep = [i for i, c in enumerate(columns) if i in whole.worst or (c.clean and not c.of and shown.clean is not None)]
    rows = []
    for row, aggregator in enumerate(pivot.page.rows):
        for i in keep:
            at = int(whole.chosen[i, row])
            source = at if at >= 0 else i
            own = {name: array[i, row] for name, array in whole.numbers.names().items()}
            own |= {
                "planned": standing.planned[source, row],
                "reason": reason[source, row],
                "caveat": caveat[source, row],
                "mark": whole.marks[i, row],
            }
            own["state"] = DONE if own["n"] else standing.state[i, row]
            about = {"worst": columns[at].attack if at >= 0 else None, "declared_f": standing.declared_f[i, row]}
            rows.append(
                {"aggregator": aggregator, "column": columns[i], **own, **about, **_compared(pivot, whole, i, row)}
            )
    names = (
        *("aggregator", "column", "state", "planned", "reason", "declared_f", "remark", "caveat"),
        *("mean", "sd", "low", "high", "n", "tied", "mark", "worst", "attacks", "asked", "partial"),
    )
    objects = {"column", "reason", "declared_f", "remark", "caveat", "mark", "worst"}
    return pd.DataFrame({n: pd.Series([r[n] for r in rows], dtype=object if n in objects else None) for n in names})


def _compared(pivot: Pivot, whole: Whole, i: int, row: int) -> dict[str, Any]:
    """How many attacks a square is the worst of, and whether, and in words what, it lacks of what others have."""
    standing, n = pivot.standing, whole.numbers.n
    there = standing.state[i, row] != ABSENT
    if i not in whole.worst:
        remark = standing.remark[i, row]
        return {"attacks": int(n[i, row] > 0), "asked": int(there), "partial": False, "remark": remark}
    chosen, asked = whole.worst[i], len(pivot.placement.worst[i])
    lacks, known = [], int(chosen.known[row])
    if 0 < known < asked:
        lacks.append(f"{known} of {asked} attacks")
    if known and chosen.fewest[row] >= 0:
        lacks.append(f"{n[chosen.fewest[row], row]} of {chosen.most[row]} seeds under an attack")
    about = {"attacks": known, "asked": asked if there else 0, "partial": bool(chosen.partial[row])}
    return {**about, "remark": ", ".join(lacks) or None}


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


def overview(pivot: Pivot, shown: MetricColumn, place: Place) -> pd.DataFrame:
    """Every attack that the metric can be said of (down) against every aggregator (across) at one place.

    Returns:
        One row a square, attacks in the order of the plan, the clean twins' ``none`` first and `WORST` last (both only
        where all attacks share them): ``attack`` and the columns of `worst`. Aggregators in the page's order.
    """
    every, pivot = pivot, pivot.pooled
    attacks = showable(pivot.page, shown)
    if shown.needs_mapping:  # its clean value depends on the attack, so each stands alone
        tables = [_attacked(pivot.squares(shown, [a])) for a in attacks]
        table = pd.concat(tables) if tables else pd.DataFrame()
    else:
        table = pivot.squares(shown, attacks, [Column(a, *place) for a in attacks])
        if len(attacks) > 1:
            table = pd.concat([table, _attacked(worst(every, shown))])
    if not len(table):
        return table.assign(attack=())
    here = table[table["column"].map(lambda c: c.setting == place[0] and (c.clean or c.level == place[1]))]
    here = here.assign(attack=here["column"].map(lambda c: c.attack))
    order = {a: i for i, a in enumerate(dict.fromkeys(c.attack for c in columns_of(here)))}
    ranks = [(order[a], pivot.page.rows.index(r)) for a, r in zip(here["attack"], here["aggregator"], strict=True)]
    return here.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)].reset_index(drop=True)


def _attacked(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["column"].map(lambda c: not c.clean)]
