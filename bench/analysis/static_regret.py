"""What assuming a static flip understates: the damage of the searched label map against that of the best static one.

For each rule and place, over the same seeds: damage = accuracy of the clean twin minus that of the attacked cell; the
best static flip is the one with the largest mean damage (chosen after seeing them all, which favours it); regret = the
searched attack's damage minus the best static flip's, seed by seed, with the 95 % interval of Student's paired t.
Positive: whoever tested the rule with static flips only was too sure of it by so much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import caveats
from flipbench.analysis.columns import Column, by_place
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.squares import DONE, INFEASIBLE, MISSING
from flipbench.analysis.statistics import DIFFERENCE, STATISTICS, Values, over_seeds
from flipbench.analysis.worst_case import places
from flipbench.spec.metric_names import DAMAGE

METRIC = "accuracy"
COLUMNS = (
    *("aggregator", "setting", "level", "state", "reason", "attack", "objective", "static", "caveat"),
    *(f"{what}_{statistic}" for what in ("static", "searched", "regret") for statistic in STATISTICS),
    *("maps", "lacking", "trials"),
)
Map = tuple[tuple[int, int], ...]  # (source, target) of each class that a flip moves


def searched(page: Page) -> tuple[str, ...]:
    """The page's attacks that search for a label map, knowing the rule, and do nothing else."""
    return _attacks(page, lambda c: bool(c["adaptive"]) and c["places"] == ("labels",))


def static(page: Page) -> tuple[str, ...]:
    """The page's label flips that are fixed beforehand: they know neither the rule nor the model."""
    return _attacks(page, lambda c: not c["adaptive"] and not c["dynamic"] and c["places"] == ("labels",))


def _attacks(page: Page, wanted: Callable[[Mapping[Any, Any]], bool]) -> tuple[str, ...]:
    # An infeasible or failed cell may lack what its attack is; the others of the same attack tell.
    known = page.cells[page.cells["status"] == DONE].drop_duplicates("attack").to_dict("records")
    found = {c["attack"] for c in known if wanted(c)}
    return tuple(a for a in page.attacks if a in found)


def regrets(pivot: Pivot) -> pd.DataFrame:
    """One row an aggregator, place and searched attack.

    Args:
        pivot: of the page.

    Returns:
        ``aggregator, setting, level`` (values of the page's settings and levels), ``state`` (done, infeasible or
        missing), ``reason``, ``attack`` (the searched one), ``objective`` of its search, ``static`` (the best static
        flip), ``caveat`` of either (`analysis.squares.Standing`), mean, sd, n, low, high of ``static_``, ``searched_``
        and ``regret_``, ``maps`` (pairs -> in how many seeds that map was found), ``lacking`` (those of these maps that
        are static flips of a published kind and that no static flip of the page has: the regret then holds a choice of
        classes, too) and ``trials`` (federations run by the search, the most over seeds). Empty where the page has no
        searched attack or no static flip.
    """
    page = pivot.page
    adaptive, flips = searched(page), static(page)
    if not adaptive or not flips:
        return pd.DataFrame(columns=list(COLUMNS))
    shown, attacks = metric_column(METRIC + DAMAGE), [a for a in page.attacks if a in {*adaptive, *flips}]
    values, columns = pivot.by_seed(shown, attacks)
    by_seed = dict(zip(columns, values, strict=True))
    squares = by_place(pivot.squares(shown, attacks))
    fixed_maps = {m for a, m in zip(page.cells["attack"], page.cells["mapping"], strict=True) if a in flips}
    rows = []
    for (row, aggregator), place, attack in product(enumerate(page.rows), places(page), adaptive):
        column = Column(attack, *place)
        square = squares.get((aggregator, column))
        if square is None or not (square["planned"] or square["state"] == INFEASIBLE):
            continue  # not in the grid
        line: dict[str, Any] = {"aggregator": aggregator, "setting": place[0], "level": place[1], "attack": attack}
        line["caveat"] = None
        if square["state"] == INFEASIBLE:
            line |= {"state": INFEASIBLE, "reason": square["reason"]}
        else:
            fixed = {a: by_seed[c][row] for a in flips if (c := Column(a, *place)) in by_seed}
            line |= _regret(by_seed[column][row], fixed) or {"state": MISSING}
            if line["state"] == DONE:
                line |= _search(pivot, column, row)
                beyond = {m: n for m, n in line["maps"].items() if m not in fixed_maps}
                line["lacking"] = {m: n for m, n in beyond.items() if published(m, page.classes)}
                best = squares[aggregator, Column(str(line["static"]), *place)]
                line["caveat"] = caveats.joined([square["caveat"], best["caveat"]])
        rows.append(line)
    by_name = {name: [row.get(name) for row in rows] for name in COLUMNS}
    # As objects: pandas would make NaN of a None among texts.
    texts = {"reason", "objective", "static", "caveat"}
    return pd.DataFrame({n: pd.Series(v, dtype=object) if n in texts else v for n, v in by_name.items()})


def published(flip: Map, classes: Sequence[str]) -> bool:
    """Whether a map is a published static flip: all to one class, one pair, a swap, a shift, or mirrored."""
    number, moves = len(classes), dict(flip)
    targets = set(moves.values())
    all_to_one = len(targets) == 1 and set(moves) | targets == set(range(number))
    pair_or_swap = len(moves) == 1 or (len(moves) == 2 and all(moves.get(t) == s for s, t in flip))
    shift = len(moves) == number and len({(t - s) % number for s, t in flip}) == 1
    mirrored = moves == {s: number - 1 - s for s in range(number) if s != number - 1 - s}
    return all_to_one or pair_or_swap or shift or mirrored


def _regret(own: Values, fixed: Mapping[str, Values]) -> dict[str, Any]:
    """From the damage of a square and of each static flip there, ``(seeds,)``; empty where either has no number."""
    means = {attack: over_seeds(damage)["mean"] for attack, damage in fixed.items() if not np.isnan(damage).all()}
    if not means or np.isnan(own).all():
        return {}
    best = max(means, key=means.__getitem__)
    each = {"static": fixed[best], "searched": own, "regret": own - fixed[best]}
    numbers = {f"{what}_{name}": v.item() for what, d in each.items() for name, v in over_seeds(d, DIFFERENCE).items()}
    return {"state": DONE, "static": best, **numbers}


def _search(pivot: Pivot, column: Column, row: int) -> dict[str, Any]:
    """What the search of a square was for, the maps it found and how many federations it took."""
    placed = pivot.placement
    here = (placed.cells.row == row) & (placed.cells.column == placed.columns.index(column))
    cells = pivot.page.cells.iloc[placed.cell[here]]
    searches = [s for s in cells["search"] if s is not None]
    maps = Counter(m for m in cells["mapping"] if m is not None)
    return {
        "objective": next((str(s["objective"]) for s in searches if s.get("objective") is not None), None),
        "maps": dict(maps.most_common()),
        "trials": max((s["trials"] for s in searches if s.get("trials") is not None), default=None),
    }
