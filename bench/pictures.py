"""Which pictures a grid gets, and what they are called: the standard ones, and those that its file asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench import canvas, curves, heatmaps, pairs
from bench.arrangement import (
    EVERY_PAIR,
    MOST_PAIRS,
    Measure,
    Page,
    level_values,
    measure,
    pages,
    pooled,
    single_pairs,
    squares,
)
from bench.cell import CLEAN
from bench.labels import attack_label, fact_label, slug, value_label
from bench.requests import wanted

_SINGLE = {f"{m}{part}" for m in ("source_recall", "attack_success_rate") for part in ("", "_damage")}


@dataclass(frozen=True)
class Picture:
    """A picture to draw.

    Attributes:
        name: of its files, without suffix: lower-case letters, digits, hyphens and underscores.
        draw: makes the figure.
    """

    name: str
    draw: Callable[[], Figure]


def catalogue(frame: pd.DataFrame, tidy: pd.DataFrame, plan: Mapping[str, Any]) -> Iterator[Picture]:
    """All pictures of a grid; drawn one by one, so that few are in memory."""
    all_pages, (names, _) = pages(frame), wanted(plan)
    taken: set[str] = set()
    for picture in _all(all_pages, tidy, names):
        name = picture.name if picture.name not in taken else f"{picture.name}-{_short_hash(picture.name, len(taken))}"
        taken.add(name)
        yield replace(picture, name=name)


def _all(all_pages: Sequence[Page], tidy: pd.DataFrame, names: Mapping[str, Sequence[str]]) -> Iterator[Picture]:
    for name in names["heatmap"]:
        yield from _heatmaps(all_pages, tidy, measure(name))
    for page in all_pages:
        if len(single_pairs(page)) > MOST_PAIRS:
            for name in names["pairs"]:
                yield from _pairs(page, tidy, measure(name))
    for page in all_pages:
        yield from _curves(page)


def _heatmaps(all_pages: Sequence[Page], tidy: pd.DataFrame, shown: Measure) -> Iterator[Picture]:
    """One an attack; all of them, on all pages, share one scale."""
    found = []
    for page in map(pooled, all_pages):
        single = {*single_pairs(page), EVERY_PAIR}
        clean_only = [] if page.attacks or shown.clean is None or shown.needs_mapping else [CLEAN]
        for attack in [*page.attacks, *clean_only]:
            if shown.name not in _SINGLE or attack in single:
                found.append((page, attack, squares(page, tidy, shown, [attack] if attack != CLEAN else [])))
    found = [(p, a, t) for p, a, t in found if (t["state"] != "undefined").any()]  # an attack without class map
    norm = canvas.scale([v for _, _, t in found for v in t["mean"]], harm=not shown.higher_is_better)
    for page, attack, table in found:
        yield Picture(_name(page, shown.name, attack), _later(heatmaps.heatmap, page, table, shown, norm, attack))


def _pairs(page: Page, tidy: pd.DataFrame, shown: Measure) -> Iterator[Picture]:
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
    norm = canvas.scale(values, harm=not shown.higher_is_better)
    for part, panels, told in parts:
        name = "_".join([_name(page, f"pairs_{shown.name}"), *(slug(f"{f} {v}") for f, v in told.items())])
        yield Picture(name, _later(pairs.draw, part, panels, shown, norm))


def _curves(page: Page) -> Iterator[Picture]:
    """One an attack, and one a setting where facts vary that are not the attack's."""
    page = pooled(page)
    for attack in page.attacks:
        lines = curves.series(page, attack)
        for setting in dict.fromkeys(lines["down"].map(lambda down: down[: len(page.settings)])) if len(lines) else ():
            mine = lines[lines["down"].map(lambda down, setting=setting: down[: len(setting)] == setting)]
            told = [slug(f"{fact_label(f)} {value_label(f, v)}") for f, v in zip(page.settings, setting, strict=True)]
            name = "_".join([_name(page, "rounds", attack), *told])
            yield Picture(name, _later(curves.draw, page, attack, mine))


def _later(draw: Callable[..., Figure], *given: Any) -> Callable[[], Figure]:
    return lambda: draw(*given)


def _name(page: Page, what: str, attack: str | None = None) -> str:
    parts = [slug(value_label(f, v)) for f, v in page.about.items()]
    parts += [what] if attack is None else [what, slug(attack_label(attack, page.classes))]
    return "_".join(parts)


def _short_hash(text: str, place: int) -> str:
    return sha256(f"{text}{place}".encode()).hexdigest()[:8]
