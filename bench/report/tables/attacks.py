"""Tables of attacks as text cells: the worst case, every attack side by side, what a static flip understates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from flipbench.analysis import declared_f
from flipbench.analysis.columns import Column, by_place, columns_of
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import Page, attack_name, stamped_note
from flipbench.analysis.pivot import Pivot, several_f
from flipbench.analysis.static_regret import METRIC, regrets, static
from flipbench.analysis.worst_case import Place, has_overview, overview, places, worst
from flipbench.report.tables.model import (
    DASH,
    STANDARD,
    UNKNOWN,
    Block,
    Entry,
    entry_of,
    footnotes,
    header_of,
    letter_of,
    pieces,
    twins_shown,
    with_interval,
)
from flipbench.spec.labels import aggregator_label, field_label, labelled, mapping_label, value_label
from flipbench.spec.metric_names import POINTS

_MAPS, _BEYOND = 2, 12  # class maps named in a row and in a note; the rest are counted


def worst_blocks(pivot: Pivot, most: int, *, named: bool = True) -> Iterator[Block]:
    """Aggregators down, malicious fractions (and what else varies) across: the worst attack's mean and name.

    Args:
        pivot: of the page; a page with one attack has no such table.
        most: columns of a table.
        named: the attack stands beside the number, else in a footnote.
    """
    page = pivot.page
    if len(page.attacks) < 2:
        return
    shown = metric_column("accuracy")
    table = worst(pivot, shown)
    columns = columns_of(table)
    at = by_place(table)
    several = several_f(table)
    for part in pieces(columns, most):
        own = twins_shown(part, columns)
        if several and own:
            at |= _clean_here(pivot, shown, own)
        notes: dict[str, str] = {}
        rows = [
            (aggregator_label(r), tuple(_worst_entry(page, at[(r, c)], notes, named) for c in part)) for r in page.rows
        ]
        levels, header = header_of(page, part, with_attack=False)
        here = pd.DataFrame([at[(r, c)] for r in page.rows for c in part])
        texts = [e.text for _, entries in rows for e in entries] + list(notes)
        yield Block(
            f"{shown.heading}, worst case over the {len(page.attacks)} attacks",
            levels,
            header,
            tuple(rows),
            footnotes(notes, texts, here),
        )


def _clean_here(pivot: Pivot, shown: MetricColumn, own: Sequence[Column]) -> dict[Any, dict[Any, Any]]:
    """The clean squares of a piece of the table: the twins of what the piece shows."""
    attacks = pivot.page.attacks
    table = pivot.squares(shown, attacks, [Column(a, c.setting, c.level) for a in attacks for c in own])
    clean = table[table["column"].map(lambda c: c.clean)]
    return {(s["aggregator"], s["column"]): {**s, "worst": None, "partial": False} for s in clean.to_dict("records")}


def _worst_entry(page: Page, square: Mapping[Any, Any], notes: dict[str, str], named: bool) -> Entry:
    if not square["worst"]:
        return entry_of(square, notes)
    entry = entry_of(square, notes if named else {})
    name = attack_name(page, square["worst"])
    if named:
        return replace(entry, text=f"{entry.text}, {name}")
    if said := "; ".join(filter(None, [square["remark"], square["caveat"]])):
        name += f" ({said})"
    return replace(entry, note=letter_of(notes, name))


def overview_blocks(pivot: Pivot) -> Iterator[Block]:
    """Attacks down, aggregators across, a table a metric and place; the best of each row is marked."""
    page = pivot.page
    for name in STANDARD:
        for place in places(page) if has_overview(page, name) else ():
            shown = metric_column(name)
            table = overview(pivot, shown, place)
            if table["attack"].nunique() > 1:
                yield _overview_block(page, shown, table, place)


def _overview_block(page: Page, shown: MetricColumn, table: pd.DataFrame, place: Place) -> Block:
    notes: dict[str, str] = {}
    lines, names = [], []
    for attack, row in table.groupby("attack", sort=False):
        entries = tuple(entry_of(s, notes) for s in row.to_dict("records"))
        names.append(attack_name(page, str(attack)))
        lines.append(entries)
    where = ", ".join(place_label(page, place))
    heading = f"{shown.heading} under every attack{f', {where}' if where else ''}"
    stamped = stamped_note(page, shown, table["attack"])
    return Block(
        "; ".join(filter(None, [heading, stamped, "bold: best of the row"])),
        ("aggregator",),
        (tuple(aggregator_label(r) for r in page.rows),),
        tuple(zip(names, lines, strict=True)),
        footnotes(notes, names, table),
        corner="attack",
    )


def place_label(page: Page, place: Place) -> list[str]:
    """The fields of a place with their values: "malicious fraction 20 %"."""
    return labelled((*page.settings, *page.levels), (*place[0], *place[1]))


def regret_blocks(pivot: Pivot) -> Iterator[Block]:
    """The regret of assuming a static flip, a row an aggregator and place."""
    page, table = pivot.page, regrets(pivot)
    for attack, part in table.groupby("attack", sort=False):
        notes: dict[str, str] = {}
        rows = [_regret_row(page, line, notes) for line in part.to_dict("records")]
        objectives = [str(o) for o in part["objective"].dropna().unique()]
        searched = f", searching for loss of {' or '.join(objectives)}" if objectives else ""
        name = attack_name(page, str(attack))
        heading = f"Regret of assuming a static flip: {METRIC} damage ({POINTS}), {name}{searched}"
        yield Block(
            f"{heading}; difference paired by seed, bold: its interval is above 0",
            ("",),
            (("best static", name, "difference", "best static flip", "map found"),),
            tuple(rows),
            (*footnotes(notes, [name]), *_static_side(page, part["lacking"])),
            corner=", ".join(["aggregator", *map(field_label, (*page.settings, *page.levels))]),
            text=2,
        )


def _static_side(page: Page, lacking: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """How many static flips the searched one is measured against, and the published ones that it found beyond them."""
    count = len(static(page))
    yield (
        "best static",
        f"the flip with the largest mean damage of the {count} static flip{'s' * (count > 1)} of this grid",
    )
    beyond = sorted({m for maps in lacking if isinstance(maps, Mapping) for m in maps})
    if beyond:
        names = ", ".join(mapping_label(m, page.classes) for m in beyond[:_BEYOND])
        more = f" and {len(beyond) - _BEYOND} more" if len(beyond) > _BEYOND else ""
        yield (
            "map found",
            f"the search found static flips of published kinds that this grid lacks ({names}{more}): a part of the "
            "difference is the choice of classes; put these flips on the axis of attacks to see the rest",
        )


def _regret_row(page: Page, line: Mapping[Any, Any], notes: dict[str, str]) -> tuple[str, tuple[Entry, ...]]:
    fields = zip((*page.settings, *page.levels), (*line["setting"], *line["level"]), strict=True)
    name = ", ".join([aggregator_label(line["aggregator"]), *(value_label(f, v) for f, v in fields)])
    if line["state"] == "infeasible":
        note = letter_of(notes, f"infeasible: {line['reason']}")
        return name, (Entry(DASH, note=note), *[Entry(DASH)] * 2, Entry(""), Entry(""))
    if line["state"] != "done":
        return name, (*[Entry(UNKNOWN)] * 3, Entry(""), Entry(""))
    numbers = []
    for what in ("static", "searched", "regret"):
        mean, n = line[f"{what}_mean"], line[f"{what}_n"]
        half = {"mean": mean, "low": line[f"{what}_low"], "high": line[f"{what}_high"], "n": n}
        text = with_interval(half) if n else UNKNOWN
        note = letter_of(notes, line["caveat"]) if what == "regret" and line["caveat"] else ""
        numbers.append(Entry(text, note=note, best=what == "regret" and n > 1 and half["low"] > 0))
    return name, (*numbers, Entry(attack_name(page, line["static"])), Entry(_maps(page, line["maps"])))


def declared_blocks(pivot: Pivot) -> Iterator[Block]:
    """The regret of a wrong declared f, a table an attack: a row a rule and declared f, a column a true number."""
    page = pivot.page
    for attack in page.attacks if declared_f.applies(page) else ():
        for values in declared_f.variants(page, attack):
            table = declared_f.table(pivot, metric_column(METRIC), attack, values)
            across = sorted(
                {int(t) for t, s in zip(table["true"], table["regret_state"], strict=True) if s != "absent"}
            )
            at = {(s["aggregator"], s["declared"], s["true"]): s for s in table.to_dict("records")}
            notes: dict[str, str] = {}
            rows = [
                (f"{aggregator_label(r)}, {d}", tuple(_declared_entry(at.get((r, d, t)), notes) for t in across))
                for r in page.rows
                for d in sorted({int(d) for rule, d, _ in at if rule == r})
            ]
            if rows and across:
                what = f"Regret of declared f: {METRIC} lost against declaring the true number ({POINTS})"
                yield Block(
                    "; ".join(
                        [
                            ", ".join([what, attack_name(page, attack), *labelled(declared_f.rest(page), values)]),
                            "paired by seed",
                        ]
                    ),
                    ("malicious clients",),
                    (tuple(map(str, across)),),
                    tuple(rows),
                    footnotes(notes, [attack_name(page, attack)]),
                    corner="aggregator, declared f",
                )


def _declared_entry(square: Mapping[Any, Any] | None, notes: dict[str, str]) -> Entry:
    if square is None or square["regret_state"] == "absent":
        return Entry("")
    if square["right"]:
        return Entry("true")
    regret = {name: square[f"regret_{name}"] for name in ("state", "mean", "low", "high", "n", "planned", "caveat")}
    why = "the rule refuses this f or the true one" if regret["state"] == "infeasible" else None
    return entry_of({**regret, "reason": why}, notes)


def _maps(page: Page, maps: Mapping[Any, int]) -> str:
    """The maps found, the commonest first, with how many seeds found them where they differ."""
    texts = [mapping_label(m, page.classes) for m in maps]
    if len(texts) > 1:
        texts = [f"{text} ({n} seed{'s' * (n > 1)})" for text, n in zip(texts, maps.values(), strict=True)]
    more = [f"{len(texts) - _MAPS} more"] if len(texts) > _MAPS else []
    return "; ".join([*texts[:_MAPS], *more])
