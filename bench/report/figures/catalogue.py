"""Lists the figures of a grid and their names: the standard ones, and those that its file asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flipbench.analysis import declared_f as declared_table
from flipbench.analysis.columns import WORST, coded
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import MOST_PAIRS, Page, showable, single_pairs
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.ranking import rank
from flipbench.analysis.settings.choice import Decision, curves
from flipbench.analysis.worst_case import MOST_PLACES, has_overview, overview, overview_only, places, worst
from flipbench.report.figures import (
    accuracy_curves,
    attack_overview,
    damage_bars,
    declared_f,
    heatmap,
    influence_curves,
    partition_crossover,
    rank_diagram,
    style,
    tuning_curves,
)
from flipbench.report.figures import class_pairs as pairs
from flipbench.report.figures.layout import TooSmall
from flipbench.report.figures.requests import MOST_OF_LARGE, WIDEST_OF_LARGE, asked, left_out, wanted
from flipbench.report.tables.attacks import place_label
from flipbench.spec.cell import CLEAN
from flipbench.spec.figure_options import FigureOptions
from flipbench.spec.labels import attack_label, labelled, slug, value_label

_SINGLE = {f"{m}{part}" for m in ("source_recall", "attack_success_rate") for part in ("", "_damage")}


class NamedFigure(NamedTuple):
    """A figure to draw."""

    name: str  # of its files, without suffix: lower-case letters, digits, hyphens and underscores
    draw: Callable[[], Figure]


def figures(
    pivots: Sequence[Pivot], plan: Mapping[str, Any], every: bool = False, decisions: Sequence[Decision] = ()
) -> Iterator[NamedFigure]:
    """All figures of a grid; drawn one by one, so that few are in memory.

    Args:
        pivots: of the grid's pages.
        plan: the grid's.
        every: all figures of a large grid too, in place of those that its file asks for and a few more.
        decisions: of the trials of a tuned grid.
    """
    cells = sum(len(pivot.page.cells) for pivot in pivots) + max((pivot.page.unknown for pivot in pivots), default=0)
    taken: set[str] = set()
    whole = chain.from_iterable(chain(_by_metric(pivots, pivots, wanted(plan)[0]), _others(pivots)))
    shown = _few(pivots, plan) if left_out(cells) and not every else whole
    for name, draw in chain(_tuning(decisions), shown):
        own = f"{name}-{sha256(f'{name}{len(taken)}'.encode()).hexdigest()[:8]}" if name in taken else name
        taken.add(own)
        yield NamedFigure(own, draw)


def _tuning(decisions: Sequence[Decision]) -> Iterator[NamedFigure]:
    """The score against each tuned field, one a setting that something was chosen for."""
    lines = curves(decisions)
    for setting in dict.fromkeys(lines["setting"]):
        own = lines[[other == setting for other in lines["setting"]]]
        more = [slug(text) for text in labelled([f for f, _ in setting], [v for _, v in setting])]
        draw = partial(tuning_curves.draw, own, setting, decisions[0])
        yield NamedFigure("_".join(["tuning-curve", *more]), draw)


def fitted(planned: NamedFigure, options: FigureOptions) -> tuple[Figure, list[str]]:
    """The figure with these options; where it has no room in a chosen size, in the size that it needs, and a sentence.

    Args:
        planned: of `figures`.
        options: width, height, title and others.
    """
    notes: list[str] = []
    for _ in range(3):  # its width may be too small, and its height, and what follows from these
        try:
            with style.drawing(options):
                return planned.draw(), notes
        except TooSmall as error:
            given = getattr(options, error.side)
            text = (
                f"the figure {planned.name} has a {error.side} of {error.needed:g} inches, not the {given:g} asked for"
            )
            notes.append(f"{text}: its panels and labels do not fit into less")
            changed: dict[str, Any] = {error.side: error.needed}
            options = replace(options, **changed)
    with style.drawing(replace(options, width=None, height=None)):
        return planned.draw(), notes


Names = Mapping[str, Sequence[str]]


def _few(pivots: Sequence[Pivot], plan: Mapping[str, Any]) -> Iterator[NamedFigure]:
    """What the grid's file asks for, and some of the standard figures, kinds in turn."""
    own = asked(plan)[0]
    rest = {kind: [name for name in names if name not in own[kind]] for kind, names in wanted(plan)[0].items()}
    yield from chain.from_iterable(_by_metric(pivots, pivots, own))
    columns = (len(p.page.cells[[*p.page.settings, *p.page.levels]].drop_duplicates()) for p in pivots)  # about
    narrow = [p for p, breadth in zip(pivots, columns, strict=True) if breadth <= WIDEST_OF_LARGE]
    standard = chain(_by_metric(pivots, narrow, rest), _others(pivots))
    yield from islice(_in_turn(standard), MOST_OF_LARGE)


def _by_metric(pivots: Sequence[Pivot], narrow: Sequence[Pivot], names: Names) -> Iterator[Iterator[NamedFigure]]:
    """Figures of one kind and metric each, in order; heatmaps of the narrow pages only."""
    plain = [p for p in narrow if not declared_table.applies(p.page)]
    for name in names["heatmap"]:
        yield _heatmaps(plain, metric_column(name))
        yield _misdeclared([p for p in narrow if declared_table.applies(p.page)], metric_column(name))
    for pivot in pivots:
        if len(single_pairs(pivot.page)) > MOST_PAIRS:
            for name in names["pairs"]:
                yield _pairs(pivot, metric_column(name))


def _others(pivots: Sequence[Pivot]) -> Iterator[Iterator[NamedFigure]]:
    """Figures of no metric that a file could choose, in order."""
    yield _crossovers(pivots)
    for pivot in pivots:
        yield _ranks(pivot)
        yield _bars(pivot)
    for pivot in pivots:
        yield _curves(pivot.pooled.page)
        yield _influence(pivot.pooled.page)


def _in_turn(kinds: Iterable[Iterator[NamedFigure]]) -> Iterator[NamedFigure]:
    """The first of each, then the second of each that has one, and so on."""
    left = list(kinds)
    while left:
        drawn, left = left, []
        for kind in drawn:  # one by one: a figure that is not taken is not computed
            if (planned := next(kind, None)) is not None:
                yield planned
                left.append(kind)


_FEW_ROUNDS = 2  # two evaluated rounds are a table, not a curve

Drawing = tuple[str, pd.DataFrame, Callable[[Normalize], Figure]]  # name, squares, what draws them on a scale


def _heatmaps(pivots: Sequence[Pivot], shown: MetricColumn) -> Iterator[NamedFigure]:
    """The worst case, every attack against every rule, one attack each: all of them, on all pages, share one scale."""
    found = [
        *_worst(pivots, shown),
        *_overviews(pivots, shown),
        *_one_by_one([p for p in pivots if not overview_only(p.page)], shown),
    ]
    norm = style.scale([v for _, table, _ in found for v in table["mean"]], harm=not shown.higher_is_better, gains=True)
    for name, _, draw in found:
        yield NamedFigure(name, partial(draw, norm))


def _worst(pivots: Sequence[Pivot], shown: MetricColumn) -> Iterator[Drawing]:
    """The worst case over attacks, one a page with several."""
    for pivot in pivots:
        page = pivot.page
        if len(page.attacks) > 1 and not shown.needs_mapping and shown.clean is not None:
            table = worst(pivot, shown)
            yield _name(page, f"{shown.name}_worst-case"), table, partial(heatmap.draw, page, table, shown, WORST)


def _overviews(pivots: Sequence[Pivot], shown: MetricColumn) -> Iterator[Drawing]:
    """Every attack against every rule, one a page and place."""
    for pivot in pivots:
        page = pivot.page
        for place in places(page) if has_overview(page, shown.name) else ():
            table = overview(pivot, shown, place)
            if table["attack"].nunique() > 1:
                name = _name(page, f"{shown.name}_every-attack", more=place_label(page, place))
                yield name, table, partial(attack_overview.draw, page, table, shown, place)


def _one_by_one(pivots: Sequence[Pivot], shown: MetricColumn) -> Iterator[Drawing]:
    """One an attack."""
    for pivot in (p.pooled for p in pivots):
        page = pivot.page
        clean_only = [] if page.attacks or shown.clean is None or shown.needs_mapping else [CLEAN]
        attacks = showable(page, shown) if shown.name in _SINGLE else page.attacks
        for attack in [*attacks, *clean_only]:
            table = pivot.squares(shown, [attack] if attack != CLEAN else [])
            if (table["state"] != "undefined").any():  # an attack without class map
                yield _name(page, shown.name, attack), table, partial(heatmap.draw, page, table, shown, attack)


def _misdeclared(pivots: Sequence[Pivot], shown: MetricColumn) -> Iterator[NamedFigure]:
    """Declared against true f, one an attack and value of what else varies: the metric, then the regret."""
    if shown.clean is None:
        return
    found = [
        (pivot.page, attack, values, declared_table.table(pivot, shown, attack, values))
        for pivot in pivots
        for attack in showable(pivot.page, shown)
        for values in declared_table.variants(pivot.page, attack)
    ]
    for regret, column in ((False, "mean"), (True, "regret_mean")):
        harm = regret or not shown.higher_is_better
        norm = style.scale([v for *_, t in found for v in t[column]], harm=harm, gains=True)
        for page, attack, values, table in found:
            what = f"{shown.name}_declared" + ("_regret" if regret else "")
            name = _name(page, what, attack, labelled(declared_table.rest(page), values))
            yield NamedFigure(name, partial(declared_f.draw, page, table, shown, norm, attack, values, regret))


def _crossovers(pivots: Sequence[Pivot]) -> Iterator[NamedFigure]:
    """Accuracy by partition, one a data set and place, where partitions vary."""
    of_page = {id(pivot.page): pivot for pivot in pivots}
    for group in partition_crossover.groups([pivot.page for pivot in pivots]):
        for place in partition_crossover.all_places(group):
            table = partition_crossover.points([of_page[id(page)] for page in group], place)
            if (table["state"] == "done").any():
                alike = replace(group[0], about={f: v for f, v in group[0].about.items() if f != "partition"})
                name = _name(alike, "accuracy_by-partition", more=place_label(group[0], place))
                yield NamedFigure(name, partial(partition_crossover.draw, group, table, place))


def _pairs(pivot: Pivot, shown: MetricColumn) -> Iterator[NamedFigure]:
    """One a combination of the other varying fields, all on one scale."""
    page = pivot.page
    rest = (*page.settings, *page.levels)
    attacked = page.cells[page.cells["attack"] != CLEAN]
    codes, values = coded(attacked, rest)
    parts = []
    for code, key in enumerate(values):
        fixed = dict(zip(rest, key, strict=True))
        part = replace(page, cells=attacked[codes == code], constant={**page.constant, **fixed})
        parts.append((part, pairs.matrices(part, pivot.tidy, shown), fixed))
    drawn = [float(v) for _, panels, _ in parts for m in panels.values() for v in m.ravel()]
    norm = style.scale(drawn, harm=not shown.higher_is_better, gains=True)
    for part, panels, fixed in parts:
        name = _name(page, f"pairs_{shown.name}", more=(f"{f} {v}" for f, v in fixed.items()))
        yield NamedFigure(name, partial(pairs.draw, part, panels, shown, norm))


def _curves(page: Page) -> Iterator[NamedFigure]:
    """One an attack, and one a setting where fields vary that are not the attack's."""
    for attack in page.attacks:
        lines = accuracy_curves.series(page, attack)
        if not len(lines) or lines["round"].nunique() <= _FEW_ROUNDS:
            continue
        settings = lines["down"].map(lambda down: down[: len(page.settings)])
        for setting in dict.fromkeys(settings):
            own = lines[[other == setting for other in settings]]
            name = _name(page, "rounds", attack, labelled(page.settings, setting))
            yield NamedFigure(name, partial(accuracy_curves.draw, page, attack, own))


def _bars(pivot: Pivot) -> Iterator[NamedFigure]:
    """Damage by attack and rule, one a place, where the bars are few enough to be read."""
    page, plain, shown = pivot.page, pivot.pooled.page, metric_column("accuracy_damage")
    if not 0 < len(plain.attacks) * len(plain.rows) <= damage_bars.MOST_BARS or len(places(plain)) > MOST_PLACES:
        return
    table = pivot.pooled.squares(shown, plain.attacks)
    for place in places(plain):
        here = table["column"].map(lambda c, place=place: (c.setting, c.level) == place)
        if (table.loc[here, "state"] == "done").any():
            name = _name(page, "damage-bars", more=place_label(plain, place))
            yield NamedFigure(name, partial(damage_bars.draw, plain, table[here], shown, place))


def _ranks(pivot: Pivot) -> Iterator[NamedFigure]:
    """The rank diagram of a page's rules under its attacks."""
    page, shown = pivot.page, metric_column("accuracy")
    found = rank(pivot, shown)
    if found is not None and len(found.rules) > 2 and not found.silent:
        yield NamedFigure(_name(page, "ranks"), partial(rank_diagram.draw, page, found, shown))


def _influence(page: Page) -> Iterator[NamedFigure]:
    """One an attack."""
    for attack in page.attacks:
        lines = influence_curves.series(page, attack)
        if len(lines) and lines["mean"].notna().any() and lines["round"].nunique() > _FEW_ROUNDS:
            yield NamedFigure(_name(page, "influence", attack), partial(influence_curves.draw, page, attack, lines))


def _name(page: Page, what: str, attack: str | None = None, more: Iterable[str] = ()) -> str:
    """Name of a figure's files: what varies between pages, what is drawn, the attack, and what else sets it apart."""
    about = [slug(value_label(f, v)) for f, v in page.about.items()]
    attacks = [] if attack is None else [slug(attack_label(attack, page.classes))]
    return "_".join([*about, what, *attacks, *map(slug, more)])
