"""Which number stands where on a page: aggregators down; attacks and the fields that vary across; clean twins first.

A `Pivot` puts every cell of a page in its squares once. Tables, figures and the report page ask it for the squares of
some attacks, and what was computed for one of them is not computed again for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from flipbench.analysis import caveats, squares
from flipbench.analysis.columns import WORST, Column, coded, reading_values
from flipbench.analysis.metric_columns import MetricColumn, why_undefined
from flipbench.analysis.pages import FIRST, Page, clean_alone, pages, pooled, shared_twins
from flipbench.analysis.rounds.late_rounds import movements
from flipbench.analysis.squares import Cells, Mask, Objects, Places, Standing
from flipbench.analysis.statistics import Values
from flipbench.spec.cell import CLEAN

T = TypeVar("T")
_SQUARE = ("state", "planned", "reason", "declared_f", "remark", "caveat")


@dataclass(frozen=True)
class Placement:
    """Every cell of a page in its squares.

    Attributes:
        columns: all of the page in reading order, `WORST` ones among them, which no cell stands in.
        cells: rows are the page's aggregators.
        cell: the place of each of them in ``page.cells``.
        row: its place in the tidy frame; -1 where it has no number.
        twin: a number that a clean cell shares with the attacked cells whose twin it is.
        twin_by_map: the same, told apart by class map too.
        with_twin: the caveat of each of them together with that of its clean twin, for damage.
        alone: clean cells that are no twin, of a rule without attacked cells.
    """

    columns: tuple[Column, ...]
    cells: Cells
    cell: Places
    row: Places
    twin: Places
    twin_by_map: Places
    with_twin: Objects
    alone: Mask

    @cached_property
    def worst(self) -> dict[int, list[int]]:
        """Each `WORST` column -> the attacked columns at its place."""
        here: dict[Any, list[int]] = {}
        for i, c in enumerate(self.columns):
            if c.attacked:
                here.setdefault((c.setting, c.level), []).append(i)
        return {i: here[c.setting, c.level] for i, c in enumerate(self.columns) if c.attack == WORST}

    def some(self, which: Mask) -> Placement:
        """Some of the cells, under the same columns."""
        cells = Cells(**{f.name: getattr(self.cells, f.name)[which] for f in fields(Cells)})
        parts: tuple[Any, ...] = (self.cell, self.row, self.twin, self.twin_by_map, self.with_twin, self.alone)
        rest = (part[which] for part in parts)
        return Placement(self.columns, cells, *rest)


@dataclass(frozen=True)
class Whole:
    """A metric in every square of a page, ``(columns, aggregators)`` as `Placement.columns` has them.

    Attributes:
        numbers: a worst case has those of its attack.
        chosen: the column of that attack; -1 elsewhere.
        marks: of `squares.marks`.
        worst: each `WORST` column -> what it was chosen among; empty where the metric needs a class map.
    """

    numbers: squares.Numbers
    chosen: Places
    marks: Objects
    worst: Mapping[int, squares.Worst]


@dataclass(frozen=True, eq=False)
class Pivot:
    """The squares of a page.

    Attributes:
        page: whose cells.
        tidy: their numbers, of `analysis.metrics.evaluate`.
    """

    page: Page
    tidy: pd.DataFrame
    _known: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, or gave before under this name; it is never changed."""
        if name not in self._known:
            self._known[name] = make()
        made: T = self._known[name]
        return made

    @cached_property
    def pooled(self) -> Pivot:
        """The same with its single-pair attacks as one, where they are too many to stand side by side."""
        page = pooled(self.page)
        return self if page is self.page else Pivot(page, self.tidy)

    @cached_property
    def placement(self) -> Placement:
        """Every cell in its squares."""
        return _placement(self.page, self.tidy)

    def squares(
        self, shown: MetricColumn, attacks: Sequence[str], among: Collection[Column] | None = None
    ) -> pd.DataFrame:
        """The numbers of some attacks, one row a square, clean twins first.

        Args:
            shown: what to show.
            attacks: references, in the page's order; only one where the metric needs a class map, which its clean
                value depends on.
            among: attacked columns of a table that shows these alone: its clean columns hold their twins. None: all.
                What cannot be told from the best is found among all of them either way.

        Returns:
            ``aggregator``, ``column`` (`Column`), ``state`` (done, or that of `squares.Standing`); ``mean, sd, low,
            high`` (95 % interval over seeds), ``n`` (seeds with a number), ``planned`` (seeds that could have one),
            ``reason`` (why infeasible or undefined), ``declared_f``, ``remark`` and ``caveat`` (`squares.Standing`; of
            damage those of the clean twins too), ``tied``
            (cannot be told from the best of its column) and ``mark`` (`squares.BEST`, `squares.TIED` or None).
            Aggregators in the page's order, columns in reading order; every aggregator under every column.
        """
        some = None if among is None else frozenset(among)
        return self.once(("squares", shown, tuple(attacks), some), lambda: self._squares(shown, attacks, some))

    def by_seed(self, shown: MetricColumn, attacks: Sequence[str]) -> tuple[Values, list[Column]]:
        """What stands behind `squares`: ``(columns, aggregators, seeds)``, NaN where there is none; the columns."""
        placed = self._of_attacks(shown, attacks)
        return self._values(placed, shown), list(placed.columns)

    def robustness_cost(self, shown: MetricColumn) -> tuple[Values, list[Column]]:
        """What each aggregator loses against FedAvg without an attack, seed by seed; positive is a price.

        Args:
            shown: a metric with a clean value of its own.

        Returns:
            ``(clean columns, aggregators, seeds)``, NaN where either has no number, and the clean columns; none where
            FedAvg is not on the page.
        """
        values, columns = self.by_seed(shown, self.page.attacks)
        clean = [i for i, c in enumerate(columns) if c.clean and FIRST in self.page.rows]
        row = self.page.rows.index(FIRST) if clean else 0
        lost = values[clean][:, [row]] - values[clean]
        return lost if shown.higher_is_better else -lost, [columns[i] for i in clean]

    @cached_property
    def standing(self) -> Standing:
        """What every square of the page says of its cells; of a worst case the first attack that is not absent."""
        placed, shape = self.placement, (len(self.placement.columns), len(self.page.rows))
        found = squares.standing(placed.cells, shape, unknown=bool(self.page.unknown))
        for target, sources in placed.worst.items():
            for row in range(shape[1]):
                there = [c for c in sources if found.state[c, row] != squares.ABSENT]
                for array in (found.state, found.planned) if there else ():
                    array[target, row] = array[there[0], row]
                found.reason[target, row] = found.reason[there[0], row] if there else None
        return found

    def caveats(self, shown: MetricColumn) -> Objects:
        """What must be known of every square of the page, in words, where a metric is shown: `Standing.caveat`."""
        placed, shape = self.placement, (len(self.placement.columns), len(self.page.rows))
        cells = replace(placed.cells, caveat=self._caveat_of_each(placed, shown))
        return self.once(("caveats", shown), lambda: squares.caveat_texts(cells, shape))

    def _caveat_of_each(self, placed: Placement, shown: MetricColumn) -> Objects:
        """The caveat of each cell for a metric: of damage that of its clean twin too."""
        known = placed.with_twin if shown.damage else placed.cells.caveat
        by_map = np.array([bool(c.of) for c in placed.columns], dtype=bool)[placed.cells.column]
        for of_twin, wanted in ((False, ~by_map), (True, by_map)):
            moves = movements(self.tidy, shown.metric, of_twin=of_twin)
            there = (wanted | shown.damage) & (placed.row >= 0)
            if any(move is not None for move in moves[placed.row[there]]):
                found = [moves[row] if use else None for row, use in zip(placed.row, there, strict=True)]
                known = caveats.with_moves(known, found)
        return known

    def reasons(self, shown: MetricColumn) -> Objects:
        """Why each square of the page has no number of a metric; None where that is not known."""
        states = replace(self.standing, reason=self.standing.reason.copy())
        shows = np.array([self._shows(c, shown) for c in self.placement.columns], dtype=bool)
        known = (self.whole(shown).numbers.n > 0) | ~shows[:, None]
        _say_why_undefined(self.page, self.placement, shown, states, known)
        for target, sources in self.placement.worst.items():
            for row in np.flatnonzero(states.state[target] == squares.UNDEFINED):
                there = next(c for c in sources if states.state[c, row] != squares.ABSENT)
                states.reason[target, row] = states.reason[there, row]
        return states.reason

    def whole(self, shown: MetricColumn) -> Whole:
        """A metric in every square of the page at once.

        Claims are those of the tables: all attacks together, or each alone where its clean value is its own.
        """
        return self.once(("whole", shown), lambda: self._whole(shown))

    def _whole(self, shown: MetricColumn) -> Whole:
        placed, higher = self.placement, shown.higher_is_better
        wanted = [i for i, c in enumerate(placed.columns) if self._shows(c, shown)]
        families = [wanted]
        if shown.needs_mapping:
            families = [[i for i in wanted if placed.columns[i].about == a] for a in self.page.attacks]
        values = self._values(placed.some(np.isin(placed.cells.column, wanted)), shown)
        silent = placed.cells.silent(values.shape[:2])
        found = squares.numbers(values, higher, silent, families, shown.bounds)
        worst = (
            {}
            if shown.needs_mapping
            else {
                target: squares.worst_of(found.mean, found.n, sources, higher)
                for target, sources in placed.worst.items()
            }
        )
        chosen, partial = np.full(found.n.shape, -1), found.partial
        for target, of_target in worst.items():
            rows = np.flatnonzero(of_target.column >= 0)
            chosen[target], partial[target] = of_target.column, of_target.partial
            silent[target] = silent[list(placed.worst[target])].any(0)
            for array in (found.mean, found.sd, found.low, found.high, found.n):
                array[target, rows] = array[of_target.column[rows], rows]
        return Whole(found, chosen, squares.marks(found.mean, found.tied, higher, partial | silent), worst)

    def _shows(self, column: Column, shown: MetricColumn) -> bool:
        if not column.clean:
            return column.attacked
        return shown.clean is not None and bool(column.of) == shown.needs_mapping

    def _of_attacks(
        self, shown: MetricColumn, attacks: Sequence[str], among: frozenset[Column] | None = None
    ) -> Placement:
        """The cells of some attacks and their clean twins, under their columns alone."""
        name = ("cells", shown.needs_mapping, shown.clean is None, tuple(attacks))
        placed = self.once(name, lambda: self._columns_of(shown, attacks))
        if among is not None:
            telling = np.array([c in among for c in placed.columns], dtype=bool)[placed.cells.column]
            twin = placed.twin_by_map if shown.needs_mapping else placed.twin
            placed = placed.some(~placed.cells.clean | placed.alone | np.isin(twin, twin[telling]))
        return placed

    def _columns_of(self, shown: MetricColumn, attacks: Sequence[str]) -> Placement:
        placed = self.placement
        clean, column = placed.cells.clean, placed.cells.column
        wanted = np.array([self._shows(c, shown) and c.about in {*attacks, ""} for c in placed.columns], dtype=bool)
        there = wanted[column]
        if (there & ~clean).any() and not shown.needs_mapping:
            there &= ~clean | placed.alone | np.isin(placed.twin, placed.twin[there & ~clean])
        placed = placed.some(there)
        used, column = np.unique(placed.cells.column, return_inverse=True)
        cells = replace(placed.cells, column=column.astype(np.int64))
        return replace(placed, columns=tuple(placed.columns[i] for i in used), cells=cells)

    def _values(self, placed: Placement, shown: MetricColumn) -> Values:
        """The numbers of cells in their squares; NaN where there is none."""
        value = np.full(len(placed.row), np.nan)
        for which, name in ((placed.cells.clean, shown.clean), (~placed.cells.clean, shown.name)):
            there = which & (placed.row >= 0)
            if name is not None and there.any():
                value[there] = self.tidy[name].to_numpy(dtype=np.float64)[placed.row[there]]
        return placed.cells.by_seed(value, (len(placed.columns), len(self.page.rows)))

    def _squares(self, shown: MetricColumn, attacks: Sequence[str], among: frozenset[Column] | None) -> pd.DataFrame:
        placed = self._of_attacks(shown, attacks, among)
        values = self._values(placed, shown)
        silent = placed.cells.silent(values.shape[:2])
        found = squares.numbers(values, shown.higher_is_better, silent, bounds=shown.bounds)
        known = replace(placed.cells, caveat=self._caveat_of_each(placed, shown))
        states = squares.standing(known, values.shape[:2], unknown=bool(self.page.unknown))
        _say_why_undefined(self.page, placed, shown, states, found.n > 0)
        mark = squares.marks(found.mean, found.tied, shown.higher_is_better, found.partial | silent)
        columns = placed.columns
        if among is not None:
            settings = {c.setting for c in among}
            keep = [i for i, c in enumerate(columns) if c in among or (c.clean and c.setting in settings)]
        else:
            keep = list(range(len(columns)))
        arrays = {name: getattr(states, name) for name in _SQUARE} | found.names() | {"mark": mark}
        arrays["state"][found.n > 0] = squares.DONE
        return as_table(self.page.rows, [columns[i] for i in keep], {n: a[keep] for n, a in arrays.items()})


def pivots(frame: pd.DataFrame, tidy: pd.DataFrame) -> tuple[Pivot, ...]:
    """A pivot of each page of a grid, in the order of the plan.

    Args:
        frame: of `analysis.frame.load`.
        tidy: of `analysis.metrics.evaluate` on it.
    """
    return tuple(Pivot(page, tidy) for page in pages(frame))


def as_table(rows: Sequence[str], columns: Sequence[Column], arrays: dict[str, Any]) -> pd.DataFrame:
    """Arrays ``(columns, rows)`` as a frame of one row a square: rows down, columns across."""
    names, places = zip(*product(rows, columns), strict=True) if columns else ((), ())
    table = pd.DataFrame({"aggregator": names, "column": pd.Series(places, dtype=object)})
    for name, array in arrays.items():
        flat = array.T.ravel()
        table[name] = pd.Series(flat, dtype=object) if array.dtype == object else flat
    return table


def several_f(table: pd.DataFrame) -> tuple[int, ...]:
    """The declared f over which a clean column of `Pivot.squares` is averaged; empty where each holds a single one."""
    found: set[int] = set()
    for _, of_column in table.loc[table["declared_f"].map(len) > 0].groupby("column", sort=False)["declared_f"]:
        own = set().union(*of_column)
        found |= own if len(own) > 1 else set()
    return tuple(sorted(found))


def _say_why_undefined(page: Page, placed: Placement, shown: MetricColumn, states: Standing, known: Mask) -> None:
    """The reason of each square that was run and has no number, from its first finished cell."""
    for column, row in zip(*np.nonzero((states.state == squares.UNDEFINED) & ~known), strict=True):
        here = (placed.cells.column == column) & (placed.cells.row == row) & (placed.row >= 0)
        if here.any():
            at = int(placed.cell[here][0])
            cell = {name: page.cells[name].iat[at] for name in ("confusion", "mapping", "classes", "stamped")}
            states.reason[column, row] = why_undefined(shown, cell, placed.columns[column].clean)


def _placement(page: Page, tidy: pd.DataFrame) -> Placement:
    """Attacked cells; clean twins (of a rule without attacked cells every clean cell); and each attacked cell again as
    the clean twin by its own class map, once for each twin and map."""
    cells = page.cells
    is_clean = (cells["attack"] == CLEAN).to_numpy(dtype=bool)
    alone = clean_alone(cells).to_numpy(dtype=bool)
    twins = shared_twins(cells)
    is_twin = is_clean & (twins.isin(set(twins[~is_clean])).to_numpy(dtype=bool) | alone)
    by_map = cells[["attack", "twin", "mapping"]].duplicated().to_numpy(dtype=bool) | is_clean
    by_map |= cells["attack"].isin(page.backdoors).to_numpy(dtype=bool)  # its twin sees no stamped image
    kinds = [np.flatnonzero(~is_clean), np.flatnonzero(is_twin), np.flatnonzero(~by_map)]
    codes, values = coded(cells, ("attack", *page.settings, *page.levels))
    cut = 1 + len(page.settings)
    every = [
        [Column(v[0], v[1:cut], v[cut:]), Column(CLEAN, v[1:cut]), Column(CLEAN, v[1:cut], (), v[0])] for v in values
    ]
    own = [every[code][kind] for kind, places in enumerate(kinds) for code in codes[places].tolist()]
    columns = dict.fromkeys(own)
    if len(page.attacks) > 1:
        columns |= dict.fromkeys(Column(WORST, c.setting, c.level) for c in columns if c.attacked)
    ordered = sorted(columns, key=lambda c: _reading_order(page, c))
    code_of = {c: i for i, c in enumerate(ordered)}
    cell = np.concatenate(kinds)
    declared = cells["declared_byzantine"].to_numpy(dtype=np.int64)
    of_twin = cells["twin"].map(dict(zip(cells["key"], declared.tolist(), strict=True))).to_numpy(dtype=np.float64)
    of_twin = np.where(np.isnan(of_twin), declared, of_twin).astype(np.int64)  # a twin without a record
    placed = Cells.of(
        cells.iloc[cell],
        np.array([code_of[c] for c in own], dtype=np.int64),
        pd.Index(page.rows).get_indexer(pd.Index(cells["aggregator"])).astype(np.int64)[cell],
        np.concatenate([declared[kinds[0]], declared[kinds[1]], of_twin[kinds[2]]]),
        np.array([c.clean for c in own], dtype=bool),
    )
    own_caveat, twin_caveat = placed.caveat, _of_twins(cells)[cell]
    by_twin = np.arange(len(cell)) >= len(cell) - len(kinds[2])
    with_twin = np.empty(len(cell), dtype=object)
    with_twin[:] = [caveats.merged(both) for both in zip(own_caveat, twin_caveat, strict=True)]
    return Placement(
        tuple(ordered),
        replace(placed, caveat=np.where(by_twin, twin_caveat, own_caveat)),
        cell,
        pd.Index(tidy["key"]).get_indexer(pd.Index(cells["key"])).astype(np.int64)[cell],
        coded(cells.assign(twin=twins), ("twin",))[0][cell],
        coded(cells.assign(twin=twins), ("twin", "mapping"))[0][cell],
        with_twin,
        alone[cell],
    )


def _of_twins(cells: pd.DataFrame) -> Objects:
    """The caveat of each cell's clean twin; nothing where the twin is not among the cells."""
    by_key = dict(zip(cells["key"], caveats.of_cells(cells), strict=True))
    found = np.empty(len(cells), dtype=object)
    found[:] = [by_key.get(twin, caveats.NOTHING) for twin in cells["twin"]]
    return found


def _reading_order(page: Page, column: Column) -> tuple[Any, ...]:
    """Settings ascending; in each the clean twins, the attacks (their own clean twins first), the worst case."""
    kind = 2 if column.attack == WORST else 1 if column.about else 0
    attack = page.attacks.index(column.about) if column.about in page.attacks else -1
    setting, level = reading_values(column.setting, page.settings), reading_values(column.level, page.levels)
    return (setting, kind, attack, column.attacked, level)
