"""Pages of a grid: the cells that share a table and a set of figures, and which fields and attacks vary among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from flipbench.analysis.columns import plain
from flipbench.analysis.frame import headline_of, of_honest_noise
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.settings import forms
from flipbench.analysis.statistics import seed_plan
from flipbench.privacy import of_tables
from flipbench.spec.cell import CLEAN, FIELDS, expected_malicious
from flipbench.spec.field_groups import LEVEL_FIELDS
from flipbench.spec.headline import LAST_ROUND, Headline
from flipbench.spec.labels import ADAPTIVE, attack_label

FIRST = "fedavg"  # the yardstick stands on top, as in papers
PAGE_FIELDS = ("dataset", "partition")  # numbers of two data sets have no common scale: one page each
EVERY_PAIR = "every_pair"  # as grids name them: all source and target classes, one attack each
MOST_PAIRS = 12  # attacks on a single pair that still stand side by side
_ELSEWHERE = {"aggregator", "attack", "seed", "malicious_count"}


@dataclass(frozen=True)
class Page:
    """The cells that share a table and a set of heatmaps.

    Attributes:
        about: fields that tell this page from the others; empty for an only page.
        constant: fields with one value on this page.
        rows: aggregators, FedAvg first, then in the order of the plan.
        attacks: in the order of the plan, the clean twins' ``none`` left out.
        adaptive: those of them that know the rule they face.
        backdoors: those of them whose success is measured on stamped test images.
        settings: names of fields that vary and that a clean twin shares with its attacked cell.
        by_row: fields that vary only because each aggregator comes with a value of its own (a rule that its paper uses
            with worker momentum): field -> aggregator -> value. They tell rows apart, not columns.
        levels: names of fields of the attack that vary.
        classes: names of the classes.
        seeds: how many distinct seeds the plan has here.
        cells: one row a cell; ``malicious_fraction`` is filled in.
        headline: which rounds the numbers are of.
        unknown: cells of the plan without any record, hence without fields, on any page.
        chosen: of a page of tuned cells: which settings were chosen for its rules.
        fixed: of a page of a tuned grid's own settings: the fields that the other form tunes.
    """

    about: Mapping[str, Any]
    constant: Mapping[str, Any]
    rows: tuple[str, ...]
    attacks: tuple[str, ...]
    adaptive: frozenset[str]
    backdoors: frozenset[str]
    settings: tuple[str, ...]
    by_row: Mapping[str, Mapping[str, Any]]
    levels: tuple[str, ...]
    classes: tuple[str, ...]
    seeds: int
    cells: pd.DataFrame
    unknown: int
    headline: Headline = LAST_ROUND
    chosen: forms.Chosen | None = None
    fixed: tuple[str, ...] = ()


def pages(frame: pd.DataFrame) -> tuple[Page, ...]:
    """The pages of a grid, in the order of the plan.

    Args:
        frame: of `analysis.frame.load`.
    """
    known = of_tables.with_places(frame[(frame["status"] != "missing") & ~of_honest_noise(frame)])
    apart = [f for f in PAGE_FIELDS if _varies(known[f])]
    unknown = int((frame["status"] == "missing").sum())
    if not len(known):
        return ()
    groups: list[tuple[dict[str, Any], pd.DataFrame]] = [({}, known)]
    if apart:
        found = known.groupby(apart, sort=False, dropna=False)
        groups = [(dict(zip(apart, which, strict=True)), cells) for which, cells in found]
    each = [({**about, **form}, own) for about, cells in groups for form, own in forms.each(cells)]
    made = [_page(about, cells, unknown, headline_of(frame), forms.chosen(frame, about)) for about, cells in each]
    return tuple(replace(page, fixed=forms.fixed(frame, page.about)) for page in made)


def _page(
    about: dict[str, Any], cells: pd.DataFrame, unknown: int, headline: Headline, chosen: forms.Chosen | None = None
) -> Page:
    attacked = cells[cells["attack"] != CLEAN]
    telling = attacked if len(attacked) else cells
    told = cells[(cells["attack"] != CLEAN) | clean_alone(cells)]
    vary = [f for f in FIELDS if f not in _ELSEWHERE and _varies((telling if f in LEVEL_FIELDS else told)[f])]
    implied = {"malicious_count"} | ({"declared_byzantine"} if declared_is_true(telling) else set())
    implied |= set() if chosen is None else set(forms.fields_of(chosen.fields))  # they are no columns: one a rule
    constant = {f: plain(telling[f].iloc[0]) for f in FIELDS if f not in {*vary, *_ELSEWHERE, *implied}}
    vary = [f for f in vary if f not in implied]
    by_row = {f: values for f in vary if f not in LEVEL_FIELDS and (values := value_of_each_rule(told, f))}
    classes = next((tuple(c) for c in cells["classes"] if c is not None), ())
    return Page(
        about=about,
        constant=constant if len(attacked) else {f: v for f, v in constant.items() if f not in LEVEL_FIELDS},
        rows=tuple(sorted(dict.fromkeys(cells["aggregator"]), key=lambda name: name != FIRST)),
        attacks=tuple(dict.fromkeys(attacked["attack"])),
        adaptive=frozenset(attacked.loc[attacked["adaptive"].astype(bool), "attack"]),
        backdoors=frozenset(attacked.loc[attacked["stamped"].notna(), "attack"]),
        settings=tuple(f for f in vary if f not in LEVEL_FIELDS and f not in by_row),
        by_row=by_row,
        levels=tuple(f for f in LEVEL_FIELDS if f in vary),
        classes=classes,
        seeds=int(cells["seed"].nunique()),
        cells=cells,
        unknown=unknown,
        headline=headline,
        chosen=chosen,
    )


def clean_alone(cells: pd.DataFrame) -> pd.Series[bool]:
    """Which cells are clean ones of a rule that no attacked cell of a page has: these stand for themselves."""
    clean = cells["attack"] == CLEAN
    return clean & ~cells["aggregator"].isin(set(cells.loc[~clean, "aggregator"]))


def shared_twins(cells: pd.DataFrame) -> pd.Series[Any]:
    """What a clean cell shares with the attacked cells whose twin it is: its key.

    Of sequential runs whatever their seeds: there a clean cell may have more seeds than each of these.
    """
    if seed_plan() is None:
        return cells["twin"]
    clean = cells[cells["attack"] == CLEAN]
    of_experiment = clean.groupby([f for f in FIELDS if f != "seed"], sort=False, dropna=False).ngroup()
    return cells["twin"].map(dict(zip(clean["key"], of_experiment.tolist(), strict=True)))


def value_of_each_rule(cells: pd.DataFrame, field: str) -> Mapping[str, Any] | None:
    """The field's value for each aggregator; None where one of them has several."""
    pairs = cells[["aggregator", field]].drop_duplicates()
    if pairs["aggregator"].duplicated().any():
        return None
    return {row: plain(value) for row, value in pairs.itertuples(index=False)}


def _varies(column: pd.Series[Any]) -> bool:
    return len({plain(v) for v in pd.unique(column)}) > 1


def declared_is_true(cells: pd.DataFrame) -> bool:
    """Whether every f follows from the number of malicious clients (as by default)."""
    names = ["malicious_count", "clients", "clients_per_round", "malicious_data", "declared_byzantine"]
    alike = cells[names].drop_duplicates()
    return all(int(row["declared_byzantine"]) == expected_malicious(row) for row in alike.to_dict("records"))


def single_pairs(page: Page) -> dict[str, tuple[int, int]]:
    """Attacks that flip one source class to one target class in every cell, with the pair."""
    maps: dict[str, set[Any]] = {}
    for attack, mapping in page.cells[["attack", "mapping"]].drop_duplicates().itertuples(index=False):
        if mapping is not None:
            maps.setdefault(str(attack), set()).add(mapping)
    alone = {attack: next(iter(found)) for attack, found in maps.items() if len(found) == 1}
    return {attack: (int(m[0][0]), int(m[0][1])) for attack, m in alone.items() if len(m) == 1}


def showable(page: Page, shown: MetricColumn) -> list[str]:
    """The attacks that a metric says something of: that of source and target only those on one pair.

    With several sources and targets a mean over them would hide more than it tells. The attack success rate of a
    backdoor has no damage: the clean twin sees no stamped image.
    """
    if not shown.needs_mapping:
        return list(page.attacks)
    known = {*single_pairs(page), EVERY_PAIR}
    if shown.metric == "attack_success_rate" and not shown.damage:
        known |= page.backdoors
    return [a for a in page.attacks if a in known]


def attack_name(page: Page, attack: str) -> str:
    """An attack's label, marked where it knows the rule it faces."""
    return attack_label(attack, page.classes) + (ADAPTIVE if attack in page.adaptive else "")


def stamped_note(page: Page, shown: MetricColumn, attacks: Iterable[str]) -> str:
    """What a caption must say where the attack success rate of a backdoor stands."""
    backdoor = shown.name.startswith("attack_success_rate") and any(a in page.backdoors for a in attacks)
    return "of a backdoor: over stamped test images" if backdoor else ""


def pooled(page: Page) -> Page:
    """The page with its single-pair attacks as one, where they are too many to stand side by side."""
    pairs = single_pairs(page)
    if len(pairs) <= MOST_PAIRS:
        return page
    cells = page.cells.assign(attack=page.cells["attack"].where(~page.cells["attack"].isin(list(pairs)), EVERY_PAIR))
    attacks = dict.fromkeys(EVERY_PAIR if a in pairs else a for a in page.attacks)
    return replace(page, cells=cells, attacks=tuple(attacks))
