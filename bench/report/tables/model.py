"""A table as text cells, before it is Markdown, LaTeX or a terminal's lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import pandas as pd

from flipbench.analysis.columns import Column, by_place, columns_of
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.pages import Page, attack_name, showable, stamped_note
from flipbench.analysis.pivot import Pivot, several_f
from flipbench.analysis.rounds.late_rounds import LAST_ROUNDS, ROUNDS_IN_LAST
from flipbench.analysis.squares import (
    ABSENT,
    BEST,
    DECIMALS,
    DONE,
    FAILED,
    INFEASIBLE,
    MISSING,
    TIED,
    UNDEFINED,
    per_cent,
)
from flipbench.analysis.statistics import seed_plan, uneven
from flipbench.spec.labels import ADAPTIVE, aggregator_label, attack_label, field_label, value_label
from flipbench.spec.metric_names import HEADLINES

DASH, UNKNOWN, NAN = "–", "?", "n/a"
STANDARD = (*HEADLINES, f"accuracy{LAST_ROUNDS}")


@dataclass(frozen=True)
class Entry:
    """One square as text.

    Attributes:
        text: "95.1 ± 0.3" in per cent, or "61.2 [6.2, 97.4]" where the interval is longer on one side; a dash where
            the rule is infeasible, "?" where nothing is known.
        best: whether no other aggregator of the column shows a better number.
        tied: whether it cannot be told from the best (and is not shown as it).
        note: letter of the footnote, or nothing.
    """

    text: str
    best: bool = False
    note: str = ""
    tied: bool = False


@dataclass(frozen=True)
class Block:
    """One table.

    Attributes:
        heading: what the numbers are, with unit and attack.
        levels: names of the header rows.
        header: one row a level, one text a column; equal neighbours are one group.
        rows: (aggregator, entries).
        notes: footnotes, (letter, text).
        corner: what the rows are.
        text: how many of the last columns are text rather than numbers.
    """

    heading: str
    levels: tuple[str, ...]
    header: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    notes: tuple[tuple[str, str], ...]
    corner: str = "aggregator"
    text: int = 0

    @property
    def width(self) -> int:
        """Columns beside the names of the rows."""
        return len(self.header[0])


def sections(pivot: Pivot, names: Sequence[str] = STANDARD) -> Iterator[tuple[MetricColumn, pd.DataFrame]]:
    """The squares of each metric, of all attacks that it can be said of; one after the other where each has its own
    clean value."""
    pivot = pivot.pooled
    for name in names:
        shown = metric_column(name)
        if not has_last_rounds(pivot, shown):
            continue
        known = showable(pivot.page, shown)
        groups = [[a] for a in known] if shown.needs_mapping else [known]
        for attacks in groups:
            if attacks or shown.clean:
                yield shown, pivot.squares(shown, attacks)


def about_attack(shown: MetricColumn, columns: Sequence[Column]) -> str | None:
    """The attack that a whole table is about, its clean columns too: of metrics of source and target classes."""
    return next((c.attack for c in columns if not c.clean), None) if shown.needs_mapping else None


def has_last_rounds(pivot: Pivot, shown: MetricColumn) -> bool:
    """Whether a metric says something of its own: a mean of the last rounds that is the last round alone does not."""
    if not shown.last_rounds:
        return True
    tidy = pivot.tidy
    return bool((tidy.loc[tidy["key"].isin(pivot.page.cells["key"]), ROUNDS_IN_LAST] > 1).any())


def blocks(pivot: Pivot, shown: MetricColumn, table: pd.DataFrame, most: int) -> list[Block]:
    """A section as tables of at most ``most`` columns: whole, else one an attack, else pieces of about equal size.

    Args:
        pivot, shown: what the table is of.
        table: of `analysis.pivot.Pivot.squares`, of all attacks of the section.
        most: columns of a table, at least one.
    """
    page, columns = pivot.page, columns_of(table)
    if len(columns) <= most:
        return [_block(page, shown, table, columns)] if columns else []
    clean = [c for c in columns if c.clean]
    attacks = list(dict.fromkeys(c.attack for c in columns if not c.clean))
    several, found = several_f(table), []
    for attack in attacks:
        for part in pieces(_reading(clean, [c for c in columns if c.attack == attack]), most):
            own = twins_shown(part, columns)
            squares = table
            if several and own:
                squares = pivot.pooled.squares(shown, attacks, own)  # the twins of what the piece shows
            found.append(_block(page, shown, squares, part))
    return found or [_block(page, shown, table, part) for part in pieces(columns, most)]


def twins_shown(part: Sequence[Column], columns: Sequence[Column]) -> list[Column]:
    """The attacked columns whose twins a piece of a table shows: its own; of a clean column that is cut off from them,
    all of its setting; none where the piece has no clean column."""
    own = [c for c in part if not c.clean]
    alone = {c.setting for c in part if c.clean} - {c.setting for c in own}
    more = [c for c in columns if not c.clean and c.setting in alone]
    return [*own, *more] if len(own) < len(part) else []


def pieces(columns: Sequence[Column], most: int) -> list[list[Column]]:
    """Columns in as few pieces as can be, none wider than ``most``, of about equal size: none is left over alone.

    Cut between settings, whose clean columns stay with their attacked ones, where that needs no more pieces.
    """
    most = max(1, most)
    cuts = [i for i in range(1, len(columns)) if columns[i].setting != columns[i - 1].setting]
    bounds = [0]
    for left in range(-(-len(columns) // most) - 1, 0, -1):  # pieces to come after this one
        even = bounds[-1] + -(-(len(columns) - bounds[-1]) // (left + 1))
        fit = [c for c in cuts if bounds[-1] < c <= bounds[-1] + most and len(columns) - c <= left * most]
        end = min(fit, key=lambda c: abs(c - even)) if fit else even
        # A clean column goes with the attacked ones behind it.
        early = columns[end - 1].clean and bounds[-1] < end - 1 and len(columns) - end + 1 <= left * most
        bounds.append(end - early)
    return [list(columns[a:b]) for a, b in pairwise([*bounds, len(columns)]) if a < b]


def _reading(clean: Sequence[Column], attacked: Sequence[Column]) -> list[Column]:
    """Each setting's clean column in front of its attacked ones."""
    settings = dict.fromkeys(c.setting for c in [*clean, *attacked])
    return [c for s in settings for c in [*clean, *attacked] if c.setting == s]


def _block(page: Page, shown: MetricColumn, table: pd.DataFrame, columns: Sequence[Column]) -> Block:
    table = table[table["column"].isin(list(columns))]
    at = by_place(table)
    attacks = [attack_name(page, a) for a in dict.fromkeys(c.attack for c in columns if not c.clean)]
    alone = len(attacks) <= 1
    levels, header = header_of(page, columns, with_attack=not alone)
    notes: dict[str, str] = {}
    rows = []
    for row in page.rows:
        entries = [entry_of(at[(row, c)], notes) for c in columns]
        rows.append((aggregator_label(row), tuple(entries)))
    heading = shown.heading + (f", {attacks[0]}" if attacks and alone else "")
    stamped = stamped_note(page, shown, [c.attack for c in columns])
    return Block(
        f"{heading}; {stamped}" if stamped else heading,
        levels,
        header,
        tuple(rows),
        footnotes(notes, attacks, table),
    )


def footnotes(
    notes: Mapping[str, str], texts: Iterable[str] = (), table: pd.DataFrame | None = None
) -> tuple[tuple[str, str], ...]:
    """All footnotes of a table, (letter, text).

    Args:
        notes: of `letter_of`.
        texts: in which the mark of adaptive attacks may stand.
        table: of `analysis.pivot.Pivot.squares`, whose clean columns may be means over several declared f.
    """
    found = [(letter, text) for text, letter in notes.items()]
    if several := () if table is None else several_f(table):
        found.append(("clean", f"mean over the declared f of the clean twins ({', '.join(map(str, several))})"))
    if any(ADAPTIVE in text for text in texts):
        found.append((ADAPTIVE, "the attack knows the rule it faces"))
    return tuple(found)


def header_of(
    page: Page, columns: Sequence[Column], *, with_attack: bool
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of the header rows, outermost first, and their texts; a clean column says so in the innermost row."""
    named = with_attack or not page.levels  # without levels nothing else tells attacked from clean
    names = [*map(field_label, page.settings), *(["attack"] if named else []), *map(field_label, page.levels)]
    lines = []
    for column in columns:
        setting = [value_label(f, v) for f, v in zip(page.settings, column.setting, strict=True)]
        inner = [attack_name(page, column.attack)] if named else []
        inner += [value_label(f, v) for f, v in zip(page.levels, column.level, strict=False)]
        if column.clean:
            inner = [*[""] * (len(names) - len(setting) - 1), attack_label(column.attack)]
        lines.append([*setting, *inner])
    return tuple(names), tuple(zip(*lines, strict=True))


def header_groups(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Equal neighbours as (text, how many)."""
    return [(text, len(list(same))) for text, same in groupby(texts)]


def by_rule(of_fields: Mapping[str, Mapping[str, Any]]) -> str:
    """What differs between rules besides the rule, as sentences that begin with a space; or ''.

    Args:
        of_fields: field -> aggregator -> value, as `analysis.pages.Page.by_row`.
    """
    said_of = []
    for field, values in of_fields.items():
        usual = max(dict.fromkeys(values.values()), key=list(values.values()).count)
        others = [f"{value_label(field, v)} with {aggregator_label(r)}" for r, v in values.items() if v != usual]
        said_of.append(
            f" By rule: {field_label(field)} {', '.join(others)}, {value_label(field, usual)} with the others."
        )
    return "".join(said_of)


def entry_of(square: Mapping[Any, Any], notes: dict[str, str]) -> Entry:
    """A square as text with its mark; what needs saying becomes a footnote."""
    state = square["state"]
    if state == INFEASIBLE:
        return Entry(DASH, note=letter_of(notes, f"infeasible: {square['reason']}"))
    if state == UNDEFINED:
        return Entry(NAN, note=letter_of(notes, square["reason"] or "not defined on this test set"))
    if state != DONE:
        text = {FAILED: "the cell failed", MISSING: "not run yet", ABSENT: "not in the grid"}[state]
        return Entry(UNKNOWN, note=letter_of(notes, text))
    text = with_interval(square)
    remark = square.get("remark") or ""
    partly = square["n"] < square["planned"] and "seeds" not in remark
    caveat = square.get("caveat") or ""
    seeds = f"{square['n']} of {square['planned']} seeds" if partly else f"{square['n']} seeds"
    said = [seeds] * (partly or seed_plan() is not None) + [remark] * bool(remark) + [caveat] * bool(caveat)
    mark = square.get("mark")
    return Entry(text, mark == BEST, letter_of(notes, ", ".join(said)) if said else "", mark == TIED)


def number(share: float, decimals: int = DECIMALS) -> str:
    """A share in per cent, as shown; fewer decimals where there is no room for more."""
    return f"{per_cent(share, decimals):.{decimals}f}"


def with_interval(square: Mapping[Any, Any]) -> str:
    """A mean with its interval: "95.1 ± 0.3", "61.2 [6.2, 97.4]" where one side is longer; alone with one seed."""
    text = number(square["mean"])
    if square["n"] < 2:
        return text
    if lopsided(square):
        return f"{text} [{number(square['low'])}, {number(square['high'])}]"
    return f"{text} ± {half_width(square)}"


def lopsided(square: Mapping[Any, Any]) -> bool:
    """Whether the interval of a square is written with both its ends, since its sides are not equally long."""
    return uneven(square["mean"], square["low"], square["high"])


def half_width(square: Mapping[Any, Any]) -> str:
    """Half of the 95 % interval, in per cent."""
    return number((square["high"] - square["low"]) / 2)


def letter_of(notes: dict[str, str], text: str) -> str:
    """The footnote's letter: a, b, ... z, then numbers."""
    place = len(notes)
    return notes.setdefault(text, chr(ord("a") + place) if place < 26 else str(place + 1))
