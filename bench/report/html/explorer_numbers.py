"""What a reader of the page can choose among: every measure of every square, computed once for all of them.

The numbers are those of `analysis.pivot.squares` and `analysis.worst_case.worst`, for all measures and attacks at once:
the cells are placed one time, and each measure is an array ``(columns, rules, seeds)``. The page's script chooses,
colours and sorts them; it computes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import statistics
from flipbench.analysis.columns import level_values, reading_values
from flipbench.analysis.comparisons import seed_table, tied
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.metrics import LAST, METRICS
from flipbench.analysis.pages import Page
from flipbench.analysis.statistics import Values
from flipbench.analysis.worst_case import WORST
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import class_name

Places = NDArray[np.int64]

ATTACKED, TWIN, TWIN_OF, WORST_OF = range(4)  # kinds of columns
STATES = ("done", "infeasible", "failed", "missing", "undefined", "absent")
DONE, INFEASIBLE, FAILED, MISSING, UNDEFINED, ABSENT = range(6)
SHOWN = ("", "_damage", f"_last{LAST}")
OWN_TWIN = "_clean"  # after a metric: of the very twins of a square's cells
_FLAG_BEST, _FLAG_TIED = 1, 2


@dataclass(frozen=True)
class Square:
    """One kind of column with its place.

    Attributes:
        kind: `ATTACKED`; `TWIN`, clean cells; `TWIN_OF`, clean cells by the classes of one attack, for measures that
            need a class map; `WORST_OF`, the worst attack of each rule.
        attack: its reference; of a `TWIN_OF` the attack whose classes it is about.
        setting, level: as in `analysis.columns.Column`.
    """

    kind: int
    attack: str
    setting: tuple[Any, ...]
    level: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """One measure, arrays ``(columns, rules)``.

    Attributes:
        mean, half: over seeds, and half of its 95 % interval; NaN where there is none.
        n: seeds with a number.
        marks: 1 best of its column, 2 cannot be told from it.
        chosen: of a `WORST_OF` column: the column of the worst attack; -1 elsewhere.
    """

    mean: Values
    half: Values
    n: Places
    marks: Places
    chosen: Places


@dataclass(frozen=True)
class Placed:
    """The cells of a page in their squares.

    Attributes:
        page: whose cells.
        tidy: their numbers, of `analysis.metrics.evaluate`.
        columns: in reading order.
        column, rule, seed, row: of each observation: the places of its column, rule and seed, its row in ``tidy`` (-1:
            no number).
        cell: of each observation, its place in ``page.cells``.
    """

    page: Page
    tidy: pd.DataFrame
    columns: tuple[Square, ...]
    column: Places
    rule: Places
    seed: Places
    row: Places
    cell: Places

    @cached_property
    def pooled(self) -> bool:
        """Whether clean columns hold twins that were told different f, so that they are no square's own twins."""
        clean = self.kinds[self.column] == TWIN
        places = zip(*(a[clean].tolist() for a in (self.column, self.rule, self.seed)), strict=True)
        return len(set(places)) < int(clean.sum())

    @cached_property
    def kinds(self) -> Places:
        """Of each column."""
        return np.array([c.kind for c in self.columns], dtype=np.int64)

    @cached_property
    def states(self) -> tuple[Places, Places, list[list[str | None]]]:
        """State of each square without a number, seeds that could have one, and why it is infeasible."""
        shape = (len(self.columns), len(self.page.rows))
        state: Places = np.full(shape, MISSING if self.page.unknown else ABSENT, dtype=np.int64)
        planned = np.zeros(shape, dtype=np.int64)
        reasons: list[list[str | None]] = [[None] * shape[1] for _ in self.columns]
        status, why = (self.page.cells[name].tolist() for name in ("status", "reason"))
        members: dict[tuple[int, int], list[tuple[str, Any, int]]] = {}
        told = zip(*(a.tolist() for a in (self.column, self.rule, self.seed, self.cell)), strict=True)
        for column, rule, seed, cell in told:
            members.setdefault((column, rule), []).append((status[cell], why[cell], seed))
        for (column, rule), found in members.items():
            able = len({seed for one, _, seed in found if one != "infeasible"})
            failed = any(one == "failed" for one, _, _ in found)
            planned[column, rule] = able
            state[column, rule] = INFEASIBLE if not able else FAILED if failed else UNDEFINED
            if not able:
                reasons[column][rule] = next(str(r) for _, r, _ in found)
        for target, sources in self.worst_of.items():
            for rule in range(shape[1]):
                there = [c for c in sources if state[c, rule] != ABSENT]
                if there:
                    state[target, rule], planned[target, rule] = state[there[0], rule], planned[there[0], rule]
                    reasons[target][rule] = reasons[there[0]][rule]
        return state, planned, reasons

    @cached_property
    def worst_of(self) -> dict[int, list[int]]:
        """Each `WORST_OF` column -> the attacked columns at its place."""
        here: dict[tuple[Any, Any], list[int]] = {}
        for i, c in enumerate(self.columns):
            if c.kind == ATTACKED:
                here.setdefault((c.setting, c.level), []).append(i)
        return {i: here[c.setting, c.level] for i, c in enumerate(self.columns) if c.kind == WORST_OF}


def measures(pooled: bool = False) -> Iterator[MetricColumn]:
    """All that can be chosen; where clean columns are pooled also what stands in an opened square's column of twins."""
    for shown in SHOWN:
        for name in METRICS:
            yield metric_column(name + shown)
    for name in METRICS if pooled else ():
        one = metric_column(name)
        yield replace(one, name=name + OWN_TWIN, label=f"{one.label} of the clean twins", clean=None)


def place(page: Page, tidy: pd.DataFrame) -> Placed:
    """Put every cell of a page where it stands.

    Args:
        page: whose cells.
        tidy: of `analysis.metrics.evaluate`.
    """
    cells = page.cells
    keys, attacks, twins, mappings = (cells[name].tolist() for name in ("key", "attack", "twin", "mapping"))
    settings, levels = level_values(cells, page.settings), level_values(cells, page.levels)
    wanted = {t for t, a in zip(twins, attacks, strict=True) if a != CLEAN}
    found: list[tuple[Square, int]] = []
    once: set[tuple[str, str, Any]] = set()
    for i, (attack, setting, level) in enumerate(zip(attacks, settings, levels, strict=True)):
        if attack != CLEAN:
            found.append((Square(ATTACKED, attack, setting, level), i))
            same = (attack, twins[i], mappings[i])
            if attack not in page.backdoors and same not in once:  # a twin's value depends on the attack's class map
                once.add(same)
                found.append((Square(TWIN_OF, attack, setting), i))
        elif keys[i] in wanted or not wanted:
            found.append((Square(TWIN, CLEAN, setting), i))
    places = dict.fromkeys(s for s, _ in found)
    if len(page.attacks) > 1:
        places |= dict.fromkeys(Square(WORST_OF, WORST, s.setting, s.level) for s in places if s.kind == ATTACKED)
    columns = tuple(sorted(places, key=lambda s: _order(page, s)))
    at, rules = {c: i for i, c in enumerate(columns)}, {r: i for i, r in enumerate(page.rows)}
    which = np.array([i for _, i in found], dtype=np.int64)
    row_of = {key: i for i, key in enumerate(tidy["key"])}
    seeds = {seed: i for i, seed in enumerate(sorted(set(cells["seed"].tolist())))}
    names, own_seed = cells["aggregator"].tolist(), cells["seed"].tolist()
    rule, seed, row = (
        np.array(values, dtype=np.int64)[which] if len(which) else which
        for values in (
            [rules[name] for name in names],
            [seeds[s] for s in own_seed],
            [row_of.get(key, -1) for key in keys],
        )
    )
    column = np.array([at[s] for s, _ in found], dtype=np.int64)
    return Placed(page, tidy, columns, column, rule, seed, row, which)


def numbers(placed: Placed, shown: MetricColumn) -> Numbers:
    """A measure in every square.

    Args:
        placed: of `place`.
        shown: the measure.
    """
    values = _by_seed(placed, shown)
    mean, _, n = statistics.moments(values)
    low, high = statistics.student_interval(values)
    half = (high - low) / 2
    marks = np.zeros(mean.shape, dtype=np.int64)
    for columns in _tables(placed, shown):
        own = values[columns]
        own = own[..., ~np.isnan(own).all((0, 1))] if own.size else own
        for column, rule in tied(own, shown.higher_is_better) if own.size else ():
            marks[columns[column], rule] = _FLAG_TIED
    chosen = np.full(mean.shape, -1)
    sign = 1.0 if shown.higher_is_better else -1.0
    for target, sources in placed.worst_of.items() if not shown.needs_mapping else ():
        score = np.where(np.isnan(mean[sources]), np.inf, sign * mean[sources])
        first = np.array(sources)[score.argmin(0)]
        known = np.flatnonzero(np.isfinite(score.min(0)))
        chosen[target, known] = first[known]
        for part in (mean, half, n):
            part[target, known] = part[first[known], known]
    _mark_best(marks, mean, shown.higher_is_better)
    return Numbers(mean, half, n, marks, chosen)


def targets(page: Page) -> dict[str, str]:
    """Attack -> the class that it sends examples to: its name, "several", or "none" where it has no fixed one."""
    found: dict[str, set[int]] = {}
    told = (page.cells[name].tolist() for name in ("attack", "mapping", "target"))
    for attack, mapping, target in zip(*told, strict=True):
        mine = found.setdefault(attack, set())
        mine |= {int(t) for _, t in mapping or ()}
        if target is not None and target == target:
            mine.add(int(target))
    label = {a: class_name(next(iter(t)), page.classes) if len(t) == 1 else "several" for a, t in found.items() if t}
    return {attack: label.get(attack, "none") for attack in page.attacks}


def _by_seed(placed: Placed, shown: MetricColumn) -> Values:
    """``(columns, rules, seeds)``; of several numbers for one seed their mean, NaN where there is none."""
    own = placed.tidy[shown.name].to_numpy(dtype=np.float64)
    clean = placed.tidy[shown.clean].to_numpy(dtype=np.float64) if shown.clean else np.full(len(own), np.nan)
    kind, row = placed.kinds[placed.column], placed.row
    asked = (row >= 0) & ((kind == ATTACKED) | (kind == (TWIN_OF if shown.needs_mapping else TWIN)))
    value = np.where(kind[asked] == ATTACKED, own[row[asked]], clean[row[asked]])
    shape = (len(placed.columns), len(placed.page.rows))
    return seed_table(placed.column[asked], placed.rule[asked], placed.seed[asked], value, shape)


def _tables(placed: Placed, shown: MetricColumn) -> Iterator[list[int]]:
    """The columns over which a table makes its claims: all attacks, or each alone where its clean value is its own."""
    columns = list(enumerate(placed.columns))
    if not shown.needs_mapping:
        yield [i for i, c in columns if c.kind == ATTACKED or (c.kind == TWIN and shown.clean)]
        return
    for attack in placed.page.attacks:
        yield [
            i for i, c in columns if c.attack == attack and (c.kind == ATTACKED or (c.kind == TWIN_OF and shown.clean))
        ]


def _mark_best(marks: Places, mean: Values, higher_is_better: bool) -> None:
    """The best of each column and all that show the same number; nothing where there is no choice."""
    for column, line in enumerate(mean):
        known = {r: round(float(line[r]), 3) for r in np.flatnonzero(~np.isnan(line))}
        if len(known) > 1:
            best = (max if higher_is_better else min)(known.values())
            for rule, value in known.items():
                if value == best:
                    marks[column, rule] = _FLAG_BEST


def _order(page: Page, square: Square) -> tuple[Any, ...]:
    attack = page.attacks.index(square.attack) if square.attack in page.attacks else -1
    rank = {TWIN: 0, ATTACKED: 1, TWIN_OF: 1, WORST_OF: 2}[square.kind]
    setting, level = reading_values(square.setting, page.settings), reading_values(square.level, page.levels)
    return (setting, rank, attack, square.kind == ATTACKED, level)
