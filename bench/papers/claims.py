"""The claims of a paper as text: ``multi_krum > median ~ trimmed_mean > fedavg``, ``krum@flip - krum@none <= 0.01``.

A claim is a chain of terms and signs. A term is a place of the table (``row@column``; the row alone where the claim is
made for several columns), a number, or one less another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from flipbench.grid.document import Sheet, place_of
from flipbench.grid.yaml_tree import Node
from flipbench.papers import fields
from flipbench.papers.model import Claim, Head, Step, Term
from flipbench.spec.suggestions import near

CLAIM = ("says", "holds", "for", "margin")

_SPLIT = re.compile(r"\s+(<=|>=|<|>|~)\s+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class ClaimError(ValueError):
    """The text is no claim about this table; the message says what was needed."""


def read(
    sheet: Sheet, node: Node | None, rows: Sequence[Head], columns: Sequence[Head], held: Collection[tuple[str, str]]
) -> Iterator[Claim]:
    """The claims of a table, one for each column that they are made for.

    Args:
        sheet: takes the mistakes.
        node: the list of claims.
        rows: of the table.
        columns: of the table.
        held: places that hold a number.
    """
    for claim in fields.listed(sheet, node, "claims"):
        keys = fields.mapping(sheet, claim, "claim", CLAIM, ("says", "holds"))
        says, holds = (fields.text(sheet, keys.get(k), k) for k in ("says", "holds"))
        margin = fields.number(sheet, keys.get("margin"), "margin")
        for column in _made_for(sheet, keys.get("for"), [c.name for c in columns]) if holds else []:
            try:
                comparisons = steps(holds, [r.name for r in rows], [c.name for c in columns], column)
                _check(comparisons, margin, held if not sheet.mistakes else None)
            except ClaimError as error:
                sheet.wrong(place_of(keys["holds"]), "holds", str(error))
                break
            label = next((f": {c.label}" for c in columns if c.name == column), "")
            yield Claim(f"{says}{label}", margin or 0.0, comparisons)


def _check(comparisons: Sequence[Step], margin: float | None, held: Collection[tuple[str, str]] | None) -> None:
    if margin is None and any(s.sign == "~" for s in comparisons):
        raise ClaimError("'~' needs a margin: how far apart is still about the same")
    places = [{p for t in (s.left, s.right) for p in (t.plus, t.minus) if isinstance(p, tuple)} for s in comparisons]
    if not all(places):
        raise ClaimError("compares two numbers: name a row on at least one side")
    if held is not None and (lacking := sorted(set().union(*places) - set(held))):
        raise ClaimError(f"the table holds no number at {', '.join('@'.join(p) for p in lacking)}")


def _made_for(sheet: Sheet, node: Node | None, columns: Sequence[str]) -> list[str | None]:
    """The columns that a claim is made for one by one; [None] where its terms name theirs."""
    if node is None:
        return [None]
    if node.value == "all":
        return list(columns)
    names: list[str | None] = []
    for item in fields.listed(sheet, node, "for"):
        if item.value in columns:
            names.append(str(item.value))
        else:
            text = f"unknown column {item.value!r}{near(str(item.value), columns)}; there are {', '.join(columns)}"
            sheet.wrong(place_of(item), "for", text)
    return names


def steps(text: str, rows: Sequence[str], columns: Sequence[str], column: str | None) -> tuple[Step, ...]:
    """The comparisons that a claim is made of.

    Args:
        text: of the claim.
        rows: names in the table.
        columns: names in the table.
        column: the one that the claim is made for; None: every term names its own.

    Raises:
        ClaimError: no sign, an unknown name, or a column that is missing or given twice.
    """
    parts = _SPLIT.split(text.strip())
    if len(parts) < 3:
        raise ClaimError(f"needs terms with <, <=, >, >= or ~ between, blanks around them; got {text!r}")
    terms = [_term(part.strip(), rows, columns, column) for part in parts[::2]]
    return tuple(written_out(terms, parts[1::2]))


def written_out(terms: Sequence[Term], signs: Sequence[str]) -> list[Step]:
    """A chain as single comparisons: all members of a group joined by ``~`` against all of the next group."""
    groups: list[list[Term]] = [[terms[0]]]
    between: list[str] = []
    for sign, term in zip(signs, terms[1:], strict=True):
        if sign == "~":
            groups[-1].append(term)
        else:
            between.append(sign)
            groups.append([term])
    written = [Step(a, "~", b) for group in groups for i, a in enumerate(group) for b in group[i + 1 :]]
    for sign, left, right in zip(between, groups[:-1], groups[1:], strict=True):
        written += [Step(a, sign, b) for a in left for b in right]
    return written


def _term(text: str, rows: Sequence[str], columns: Sequence[str], column: str | None) -> Term:
    parts = text.split(" - ")
    if len(parts) > 2:
        raise ClaimError(f"a term is a place or a number, or one less another; got {text!r}")
    places = [_place(p.strip(), rows, columns, column) for p in parts]
    return Term(places[0], places[1] if len(places) == 2 else None)


def _place(text: str, rows: Sequence[str], columns: Sequence[str], column: str | None) -> tuple[str, str] | float:
    if _NUMBER.fullmatch(text):
        return float(text)
    row, at, own = text.partition("@")
    if row not in rows:
        raise ClaimError(f"unknown row {row!r}{near(row, rows)}; the table has {', '.join(rows)}")
    if at and column is not None:
        raise ClaimError(f"{text!r} names a column, but the claim is made for several; leave out '@{own}' or 'for'")
    if not at and column is None:
        raise ClaimError(f"{text!r} names no column: write {row}@{columns[0]}, or say 'for: [{columns[0]}]'")
    if (own := own or column or "") not in columns:
        raise ClaimError(f"unknown column {own!r}{near(own, columns)}; the table has {', '.join(columns)}")
    return row, own
