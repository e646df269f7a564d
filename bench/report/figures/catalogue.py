"""Which figures a grid gets, and what they are called: the standard ones, and those that its file asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from typing import Any

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flipbench.analysis import declared_f as declared_table
from flipbench.analysis.attack_selection import MOST_PAIRS, pooled, showable, single_pairs
from flipbench.analysis.columns import level_values
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import Page, pages
from flipbench.analysis.pivot import squares
from flipbench.analysis.ranking import rank
from flipbench.analysis.worst_case import MOST_PLACES, WORST, has_overview, overview, overview_only, places, worst
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
)
from flipbench.report.figures import class_pairs as pairs
from flipbench.report.figures.requests import MOST_OF_LARGE, WIDEST_OF_LARGE, asked, large, wanted
from flipbench.report.tables.attacks import place_label
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import attack_label, field_label, slug, value_label

_SINGLE = {f"{m}{part}" for m in ("source_recall", "attack_success_rate") for part in ("", "_damage")}


@dataclass(frozen=True)
class NamedFigure:
    """A figure to draw.

    Attributes:
        name: of its files, without suffix: lower-case letters, digits, hyphens and underscores.
        draw: makes the figure.
    """

    name: str
    draw: Callable[[], Figure]


def figures(
    frame: pd.DataFrame, tidy: pd.DataFrame, plan: Mapping[str, Any], every: bool = False
) -> Iterator[NamedFigure]:
    """All figures of a grid; drawn one by one, so that few are in memory.

    Args:
        frame, tidy, plan: as everywhere.
        every: all figures of a large grid too, in place of those that its file asks for and a few more.
    """
    all_pages, (names, _) = pages(frame), wanted(plan)
    taken: set[str] = set()
    for planned in _few(all_pages, tidy, plan) if large(len(frame)) and not every else _all(all_pages, tidy, names):
        name = planned.name if planned.name not in taken else f"{planned.name}-{_short_hash(planned.name, len(taken))}"
        taken.add(name)
        yield replace(planned, name=name)


Names = Mapping[str, Sequence[str]]


def _all(all_pages: Sequence[Page], tidy: pd.DataFrame, names: Names) -> Iterator[NamedFigure]:
    yield from chain.from_iterable(_by_metric(all_pages, all_pages, tidy, names))
    yield from chain.from_iterable(_others(all_pages, tidy))


def _few(all_pages: Sequence[Page], tidy: pd.DataFrame, plan: Mapping[str, Any]) -> Iterator[NamedFigure]:
    """What the grid's file asks for, and some of the standard figures, kinds in turn."""
    mine = asked(plan)[0]
    rest = {kind: [name for name in names if name not in mine[kind]] for kind, names in wanted(plan)[0].items()}
    yield from chain.from_iterable(_by_metric(all_pages, all_pages, tidy, mine))
    narrow = [p for p in all_pages if _breadth(p) <= WIDEST_OF_LARGE]
    standard = chain(_by_metric(all_pages, narrow, tidy, rest), _others(all_pages, tidy))
    yield from islice(_in_turn(standard), MOST_OF_LARGE)


def _breadth(page: Page) -> int:
    """Columns of a heatmap, about."""
    return len(page.cells[[*page.settings, *page.levels]].drop_duplicates())


def _by_metric(
    all_pages: Sequence[Page], narrow: Sequence[Page], tidy: pd.DataFrame, names: Names
) -> Iterator[Iterator[NamedFigure]]:
    """Figures of one kind and metric each, in order; heatmaps of the narrow pages only."""
    plain = [p for p in narrow if not declared_table.applies(p)]
    for name in names["heatmap"]:
        yield _heatmaps(plain, tidy, metric_column(name))
        yield _misdeclared([p for p in narrow if declared_table.applies(p)], tidy, metric_column(name))
    for page in all_pages:
        if len(single_pairs(page)) > MOST_PAIRS:
            for name in names["pairs"]:
                yield _pairs(page, tidy, metric_column(name))


def _others(all_pages: Sequence[Page], tidy: pd.DataFrame) -> Iterator[Iterator[NamedFigure]]:
    """Figures that show what they show, in order."""
    yield _crossovers(all_pages, tidy)
    for page in all_pages:
        yield _ranks(page, tidy)
        yield _bars(page, tidy)
    for page in all_pages:
        yield _curves(page)
        yield _influence(page)


def _in_turn(kinds: Iterable[Iterator[NamedFigure]]) -> Iterator[NamedFigure]:
    """The first of each, then the second of each that has one, ..."""
    going = list(kinds)
    while going:
        still = []
        for one in going:
            if (planned := next(one, None)) is not None:
                yield planned
                still.append(one)
        going = still


_FEW_ROUNDS = 2  # two evaluated rounds are a table, not a curve

Drawing = tuple[str, pd.DataFrame, Callable[[Normalize], Figure]]  # name, squares, what draws them on a scale


def _heatmaps(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[NamedFigure]:
    """The worst case, every attack against every rule, one attack each: all of them, on all pages, share one scale."""
    found = [
        *_worst(all_pages, tidy, shown),
        *_overviews(all_pages, tidy, shown),
        *_one_by_one([p for p in all_pages if not overview_only(p)], tidy, shown),
    ]
    norm = style.scale([v for _, table, _ in found for v in table["mean"]], harm=not shown.higher_is_better, gains=True)
    for name, _, draw in found:
        yield NamedFigure(name, _later(draw, norm))


def _worst(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[Drawing]:
    """The worst case over attacks, one a page with several."""
    for page in all_pages:
        if len(page.attacks) > 1 and not shown.needs_mapping and shown.clean is not None:
            table = worst(page, tidy, shown)
            yield _name(page, f"{shown.name}_worst-case"), table, partial(heatmap.draw, page, table, shown, WORST)


def _overviews(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[Drawing]:
    """Every attack against every rule, one a page and place."""
    for page in all_pages:
        for place in places(page) if has_overview(page, shown.name) else ():
            table = overview(page, tidy, shown, place)
            if table["attack"].nunique() > 1:
                told = [slug(text) for text in place_label(page, place)]
                name = "_".join([_name(page, f"{shown.name}_every-attack"), *told])
                yield name, table, partial(attack_overview.draw, page, table, shown, place)


def _one_by_one(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[Drawing]:
    """One an attack."""
    for page in map(pooled, all_pages):
        clean_only = [] if page.attacks or shown.clean is None or shown.needs_mapping else [CLEAN]
        told = showable(page, shown) if shown.name in _SINGLE else page.attacks
        for attack in [*told, *clean_only]:
            table = squares(page, tidy, shown, [attack] if attack != CLEAN else [])
            if (table["state"] != "undefined").any():  # an attack without class map
                yield _name(page, shown.name, attack), table, partial(heatmap.draw, page, table, shown, attack)


def _misdeclared(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[NamedFigure]:
    """Declared against true f, one an attack and value of what else varies: the metric, then the regret."""
    if shown.clean is None:
        return
    found = [
        (page, attack, values, declared_table.table(page, tidy, shown, attack, values))
        for page in all_pages
        for attack in showable(page, shown)
        for values in declared_table.variants(page, attack)
    ]
    for regret, column in ((False, "mean"), (True, "regret_mean")):
        harm = regret or not shown.higher_is_better
        norm = style.scale([v for *_, t in found for v in t[column]], harm=harm, gains=True)
        for page, attack, values, table in found:
            told = [
                slug(f"{field_label(f)} {value_label(f, v)}")
                for f, v in zip(declared_table.rest(page), values, strict=True)
            ]
            what = f"{shown.name}_declared" + ("_regret" if regret else "")
            name = "_".join([_name(page, what, attack), *told])
            yield NamedFigure(name, _later(declared_f.draw, page, table, shown, norm, attack, values, regret))


def _crossovers(all_pages: Sequence[Page], tidy: pd.DataFrame) -> Iterator[NamedFigure]:
    """Accuracy by partition, one a data set and place, where partitions vary."""
    for group in partition_crossover.groups(all_pages):
        for place in partition_crossover.all_places(group):
            table = partition_crossover.points(group, tidy, place)
            if (table["state"] == "done").any():
                about = [slug(value_label(f, v)) for f, v in group[0].about.items() if f != "partition"]
                told = [slug(text) for text in place_label(group[0], place)]
                name = "_".join([*about, "accuracy_by-partition", *told])
                yield NamedFigure(name, _later(partition_crossover.draw, group, table, place))


def _pairs(page: Page, tidy: pd.DataFrame, shown: MetricColumn) -> Iterator[NamedFigure]:
    """One a combination of the other varying facts, all on one scale."""
    rest = (*page.settings, *page.levels)
    places = level_values(page.cells, rest)
    attacked = (page.cells["attack"] != CLEAN).tolist()
    keys = list(dict.fromkeys(p for p, a in zip(places, attacked, strict=True) if a))
    parts = []
    for key in keys:
        told = dict(zip(rest, key, strict=True))
        mine = [p == key and a for p, a in zip(places, attacked, strict=True)]
        part = replace(page, cells=page.cells[mine], constant={**page.constant, **told})
        parts.append((part, pairs.matrices(part, tidy, shown), told))
    values = [float(v) for _, panels, _ in parts for m in panels.values() for v in m.ravel()]
    norm = style.scale(values, harm=not shown.higher_is_better, gains=True)
    for part, panels, told in parts:
        name = "_".join([_name(page, f"pairs_{shown.name}"), *(slug(f"{f} {v}") for f, v in told.items())])
        yield NamedFigure(name, _later(pairs.draw, part, panels, shown, norm))


def _curves(page: Page) -> Iterator[NamedFigure]:
    """One an attack, and one a setting where facts vary that are not the attack's."""
    page = pooled(page)
    for attack in page.attacks:
        lines = accuracy_curves.series(page, attack)
        if not len(lines) or lines["round"].nunique() <= _FEW_ROUNDS:
            continue
        for setting in dict.fromkeys(lines["down"].map(lambda down: down[: len(page.settings)])) if len(lines) else ():
            mine = lines[lines["down"].map(lambda down, setting=setting: down[: len(setting)] == setting)]
            told = [slug(f"{field_label(f)} {value_label(f, v)}") for f, v in zip(page.settings, setting, strict=True)]
            name = "_".join([_name(page, "rounds", attack), *told])
            yield NamedFigure(name, _later(accuracy_curves.draw, page, attack, mine))


def _bars(page: Page, tidy: pd.DataFrame) -> Iterator[NamedFigure]:
    """Damage by attack and rule, one a place, where the bars are few enough to be read."""
    shown, plain = metric_column("accuracy_damage"), pooled(page)
    if not 0 < len(plain.attacks) * len(plain.rows) <= damage_bars.MOST_BARS or len(places(plain)) > MOST_PLACES:
        return
    table = squares(plain, tidy, shown, plain.attacks)
    for place in places(plain):
        here = table["column"].map(lambda c, place=place: (c.setting, c.level) == place)
        if (table.loc[here, "state"] == "done").any():
            told = [slug(text) for text in place_label(plain, place)]
            name = "_".join([_name(page, "damage-bars"), *told])
            yield NamedFigure(name, _later(damage_bars.draw, plain, table[here], shown, place))


def _ranks(page: Page, tidy: pd.DataFrame) -> Iterator[NamedFigure]:
    """The rank diagram of a page's rules under its attacks."""
    shown = metric_column("accuracy")
    found = rank(page, tidy, shown)
    if found is not None and len(found.rules) > 2:
        yield NamedFigure(_name(page, "ranks"), _later(rank_diagram.draw, page, found, shown))


def _influence(page: Page) -> Iterator[NamedFigure]:
    """One an attack."""
    page = pooled(page)
    for attack in page.attacks:
        lines = influence_curves.series(page, attack)
        if len(lines) and lines["mean"].notna().any() and lines["round"].nunique() > _FEW_ROUNDS:
            yield NamedFigure(_name(page, "influence", attack), _later(influence_curves.draw, page, attack, lines))


def _later(draw: Callable[..., Figure], *given: Any) -> Callable[[], Figure]:
    return lambda: draw(*given)


def _name(page: Page, what: str, attack: str | None = None) -> str:
    parts = [slug(value_label(f, v)) for f, v in page.about.items()]
    parts += [what] if attack is None else [what, slug(attack_label(attack, page.classes))]
    return "_".join(parts)


def _short_hash(text: str, place: int) -> str:
    return sha256(f"{text}{place}".encode()).hexdigest()[:8]
