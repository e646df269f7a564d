"""Which number stands where: aggregators down; attacks and the facts that vary across; the clean twins first.

Tables and heatmaps draw the same squares. A square is one aggregator under one column, over all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from bench.cell import CLEAN, FACTS
from bench.comparisons import seed_table, tied
from bench.errors import UserError
from bench.labels import is_nothing
from bench.metrics import LAST, METRICS
from bench.statistics import Values as Numbers
from bench.summary import summarise

FIRST = "fedavg"  # the yardstick stands on top, as in papers
PAGE_FACTS = ("dataset", "partition")  # numbers of two data sets have no common scale: one page each
# Facts of the attack that a clean twin lacks (or, declared f, shares with several attacked cells).
LEVEL_FACTS = (
    *("malicious_fraction", "flip_rate", "attack_availability"),
    *("attack_start", "attack_stop", "declared_byzantine"),
)
_ELSEWHERE = {"aggregator", "attack", "seed", "malicious_count"}

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """What all squares below one another share.

    Attributes:
        attack: its reference; ``none`` for the clean twins.
        setting: values of the page's settings.
        level: values of the page's levels; empty for the clean twins.
    """

    attack: str
    setting: Values = ()
    level: Values = ()

    @property
    def clean(self) -> bool:
        """Whether the clean twins stand here."""
        return self.attack == CLEAN


@dataclass(frozen=True)
class Measure:
    """A column of the tidy frame as it is shown.

    Attributes:
        name: the tidy column, like ``accuracy`` or ``accuracy_damage``.
        label: for people.
        higher_is_better: of the shown number.
        needs_mapping: only of attacks with a fixed class map; its clean value then depends on the attack.
        clean: the tidy column of the clean value; None where a clean twin has none (damage).
    """

    name: str
    label: str
    higher_is_better: bool
    needs_mapping: bool
    clean: str | None


@dataclass(frozen=True)
class Page:
    """The cells that share a table and a set of heatmaps.

    Attributes:
        about: facts that tell this page from the others; empty for an only page.
        constant: facts with one value on this page.
        rows: aggregators, FedAvg first, then in the order of the plan.
        attacks: in the order of the plan, the clean twins' ``none`` left out.
        adaptive: those of them that know the rule they face.
        backdoors: those of them whose success is measured on stamped test images.
        settings: names of facts that vary and that a clean twin shares with its attacked cell.
        levels: names of facts of the attack that vary.
        classes: names of the classes.
        seeds: how many distinct seeds the plan has here.
        cells: one row a cell; ``malicious_fraction`` is filled in.
        unknown: cells of the plan without any record, hence without facts, on any page.
    """

    about: Mapping[str, Any]
    constant: Mapping[str, Any]
    rows: tuple[str, ...]
    attacks: tuple[str, ...]
    adaptive: frozenset[str]
    backdoors: frozenset[str]
    settings: tuple[str, ...]
    levels: tuple[str, ...]
    classes: tuple[str, ...]
    seeds: int
    cells: pd.DataFrame
    unknown: int


def measure(name: str) -> Measure:
    """The measure of a metric, ``<metric>_damage`` or ``<metric>_last5``.

    Raises:
        UserError: no such metric.
    """
    base = name.removesuffix("_damage").removesuffix(f"_last{LAST}")
    if base not in METRICS or name not in {base, f"{base}_damage", f"{base}_last{LAST}"}:
        raise UserError(f"there is no metric {name!r}; there are {', '.join(METRICS)}, and each with _damage or _last5")
    one = METRICS[base]
    label = one.label[0].upper() + one.label[1:]
    if name.endswith("_damage"):
        return Measure(name, f"{label} damage", False, one.needs_mapping, None)
    if name != base:
        label += f", mean of the last {LAST} evaluated rounds"
    # A clean twin's last rounds are not told apart by attack, so they stand only where no mapping is needed.
    clean = f"{base}_clean" if one.needs_mapping and name == base else None if one.needs_mapping else name
    return Measure(name, label, one.higher_is_better, one.needs_mapping, clean)


def pages(frame: pd.DataFrame) -> tuple[Page, ...]:
    """The pages of a grid, in the order of the plan.

    Args:
        frame: of `bench.frame.load`.
    """
    known = frame[frame["status"] != "missing"]
    apart = [f for f in PAGE_FACTS if _varies(known[f])]
    unknown = len(frame) - len(known)
    if not apart:
        return (_page({}, known, unknown),) if len(known) else ()
    groups = known.groupby(apart, sort=False, dropna=False)
    return tuple(_page(dict(zip(apart, which, strict=True)), cells, unknown) for which, cells in groups)


def _page(about: dict[str, Any], cells: pd.DataFrame, unknown: int) -> Page:
    attacked = cells[cells["attack"] != CLEAN]
    telling = attacked if len(attacked) else cells
    vary = [f for f in FACTS if f not in _ELSEWHERE and _varies(telling[f])]
    implied = {"malicious_count"} | ({"declared_byzantine"} if declared_is_true(telling) else set())
    constant = {f: _plain(telling[f].iloc[0]) for f in FACTS if f not in {*vary, *_ELSEWHERE, *implied}}
    vary = [f for f in vary if f not in implied]
    classes = next((tuple(c) for c in cells["classes"] if c is not None), ())
    return Page(
        about=about,
        constant=constant if len(attacked) else {f: v for f, v in constant.items() if f not in LEVEL_FACTS},
        rows=tuple(sorted(dict.fromkeys(cells["aggregator"]), key=lambda name: name != FIRST)),
        attacks=tuple(dict.fromkeys(attacked["attack"])),
        adaptive=frozenset(attacked.loc[attacked["adaptive"].astype(bool), "attack"]),
        backdoors=frozenset(attacked.loc[attacked["stamped"].notna(), "attack"]),
        settings=tuple(f for f in vary if f not in LEVEL_FACTS),
        levels=tuple(f for f in LEVEL_FACTS if f in vary),
        classes=classes,
        seeds=int(cells["seed"].nunique()),
        cells=cells,
        unknown=unknown,
    )


def squares(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> pd.DataFrame:
    """The numbers of some attacks, one row a square, clean twins first.

    Args:
        page: whose cells.
        tidy: of `bench.metrics.evaluate`.
        shown: what to show.
        attacks: references; only one where the measure needs a mapping, which its clean value depends on.

    Returns:
        ``aggregator``, ``column`` (`Column`), ``state``: done, infeasible, failed, missing (the plan holds cells that
        were not run, maybe here) or absent (the grid has no such cell); ``mean, sd, low, high`` (95 % interval over
        seeds), ``n`` (seeds with a number), ``planned`` (seeds that could have one), ``reason`` and ``tied`` (whether
        it cannot be told from the best of its column: `bench.comparisons`). Aggregators in the page's order, columns in
        reading order; every aggregator under every column.
    """
    both, columns = _placed(page, tidy, shown, attacks)
    known = _by_square(both)
    equal = {
        (page.rows[rule], columns[column])
        for column, rule in tied(_seed_table(page, both, columns), shown.higher_is_better)
    }
    empty = {"state": "missing" if page.unknown else "absent", "n": 0, "planned": 0, "reason": None}
    numbers = dict.fromkeys(("mean", "sd", "low", "high"), float("nan"))
    return pd.DataFrame(
        [
            {"aggregator": row, "column": column, **numbers, **known.get((row, column), empty)}
            | {"tied": (row, column) in equal}
            for row, column in product(page.rows, columns)
        ],
        columns=["aggregator", "column", "state", *numbers, "n", "planned", "reason", "tied"],
    )


def by_seed(page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]) -> tuple[Numbers, list[Column]]:
    """What stands behind `squares`: numbers ``(columns, rules, seeds)``, NaN where there is none; and the columns."""
    both, columns = _placed(page, tidy, shown, attacks)
    return _seed_table(page, both, columns), columns


def _placed(
    page: Page, tidy: pd.DataFrame, shown: Measure, attacks: Sequence[str]
) -> tuple[pd.DataFrame, list[Column]]:
    """Cells with their ``value`` and ``column``; and the columns in reading order."""
    cells = page.cells.merge(tidy[["key", *_needed(shown)]], on="key", how="left", validate="1:1")
    attacked = cells[cells["attack"].isin(list(attacks))]
    parts = [_clean_cells(page, cells, attacked, shown), attacked.assign(value=attacked[shown.name])]
    both = pd.concat([part for part in parts if len(part)]) if any(len(p) for p in parts) else attacked.assign(value=())
    levels = [level_values(both, page.levels), level_values(both, page.settings)]
    own = [Column(a, s, () if a == CLEAN else v) for a, v, s in zip(both["attack"], *levels, strict=True)]
    both = both.assign(column=pd.Series(own, index=both.index, dtype=object))
    return both, sorted(dict.fromkeys(both["column"]), key=lambda c: _reading_order(c, attacks))


def _seed_table(page: Page, both: pd.DataFrame, columns: Sequence[Column]) -> Numbers:
    at, rule = {c: i for i, c in enumerate(columns)}, {r: i for i, r in enumerate(page.rows)}
    told = zip(both["column"], both["aggregator"], both["seed"], both["value"].astype(float), strict=True)
    return seed_table(((at[c], rule[a], int(s), v) for c, a, s, v in told), (len(columns), len(page.rows)))


def columns_of(table: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of `squares`, in reading order."""
    return tuple(dict.fromkeys(table["column"]))


def _needed(shown: Measure) -> list[str]:
    return list(dict.fromkeys([shown.name, *([shown.clean] if shown.clean else [])]))


def _clean_cells(page: Page, cells: pd.DataFrame, attacked: pd.DataFrame, shown: Measure) -> pd.DataFrame:
    """The clean column's cells with their ``value``: twins of the attacked ones, else every clean cell."""
    if shown.clean is None:
        return cells.iloc[:0].assign(value=())
    if shown.needs_mapping:  # the twin's number depends on the attack's mapping, and stands beside the attacked one
        once = attacked[~attacked["attack"].isin(page.backdoors)].drop_duplicates(["twin", "mapping"])
        return once.assign(value=once[shown.clean], attack=CLEAN)
    clean = cells[cells["attack"] == CLEAN]
    twins = set(page.cells.loc[page.cells["attack"] != CLEAN, "twin"])
    paired = clean[clean["key"].isin(twins)] if twins else clean
    return paired.assign(value=paired[shown.clean])


def _by_square(cells: pd.DataFrame) -> dict[tuple[str, Column], dict[str, Any]]:
    """State and statistics of each square that has cells."""
    if not len(cells):
        return {}
    places: dict[tuple[str, Column], int] = {}
    square = [places.setdefault(p, len(places)) for p in zip(cells["aggregator"], cells["column"], strict=True)]
    # Several clean twins (one a declared f) of one seed are one observation: `summarise` averages them first.
    stats = {s["square"]: s for s in summarise(cells.assign(square=square), ["square"], "value").to_dict("records")}
    members: dict[int, list[tuple[str, Any, Any]]] = {}
    for code, *one in zip(square, cells["status"], cells["reason"], cells["seed"], strict=True):
        members.setdefault(code, []).append((str(one[0]), one[1], one[2]))
    return {place: _statement(members[code], stats[code]) for place, code in places.items()}


def _statement(members: Sequence[tuple[str, Any, Any]], stats: Mapping[Any, Any]) -> dict[str, Any]:
    """What a square says of its cells (status, reason, seed)."""
    statuses = {status for status, _, _ in members}
    able = {seed for status, _, seed in members if status != "infeasible"}
    told: dict[str, Any] = {"state": "missing", "n": int(stats["n"]), "planned": len(able), "reason": None}
    if stats["n"]:
        return told | {"state": "done"} | {s: float(stats[s]) for s in ("mean", "sd", "low", "high")}
    if not able:
        return told | {"state": "infeasible", "reason": next(str(r) for _, r, _ in members)}
    # Run, but without a number: no test example of the class, or no class map.
    return told | {"state": "failed" if "failed" in statuses else "undefined"}


def _reading_order(column: Column, attacks: Sequence[str]) -> tuple[Any, ...]:
    place = -1 if column.clean else list(attacks).index(column.attack)
    return (reading_values(column.setting), place, reading_values(column.level))


def reading_values(values: Values) -> tuple[tuple[int, float, str], ...]:
    """A sorting key: nothing, then numbers, then text."""
    return tuple(
        (0, 0.0, "") if is_nothing(v) else (1, float(v), "") if isinstance(v, int | float) else (2, 0.0, str(v))
        for v in values
    )


def level_values(cells: pd.DataFrame, facts: Sequence[str]) -> list[Values]:
    """The values of some facts, a tuple a cell, as `Column` has them."""
    if not facts:
        return [()] * len(cells)
    return [tuple(_plain(v) for v in row) for row in zip(*(cells[f] for f in facts), strict=True)]


def _plain(value: Any) -> Any:
    """A Python value of a pandas one; None for nothing, so that equal facts are equal keys; 3.0 is 3."""
    if is_nothing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _varies(column: pd.Series[Any]) -> bool:
    return len({_plain(v) for v in column}) > 1


def declared_is_true(cells: pd.DataFrame) -> bool:
    """Whether every f follows from the number of malicious clients (as by default)."""
    per_round = cells["clients_per_round"].astype(object).where(cells["clients_per_round"].notna(), cells["clients"])
    expected = [
        -(-int(m) * int(r) // int(n))
        for m, r, n in zip(cells["malicious_count"], per_round, cells["clients"], strict=True)
    ]
    return bool((cells["declared_byzantine"].astype(int) == expected).all())
