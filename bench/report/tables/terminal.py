"""Tables as aligned lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flipbench.report.tables.model import Block, Entry, header_groups
from flipbench.spec.distinct_texts import fitted, printable

Names = Mapping[str, str]  # text -> the same within its room

_WIDEST = 24  # characters of a column in a terminal; a longer name is cut


def column_width(whole: Sequence[Block]) -> int:
    """Characters that a column of these tables needs, the space between two included."""
    entries = [len(_short(e)) for block in whole for _, line in block.rows for e in line]
    heads = [len(text) for block in whole for text in block.header[-1]]
    return min(_WIDEST, max([*entries, *(h + 1 for h in heads), 8]) + 1)


def lines_of(whole: Sequence[Block], label: int, cell: int) -> list[str]:
    """Tables with aligned columns; a name that is cut differs from all others of its kind in all of them.

    The best of each column has a star, what cannot be told from it a tilde: a terminal may lack bold.
    """
    rows = fitted((name for block in whole for name, _ in block.rows), label)
    rooms: dict[str, dict[str, int]] = {}
    for block in whole:
        for name, texts in zip(block.levels, block.header, strict=True):
            known = rooms.setdefault(name, {})
            for text, room in _spans(block, name, texts, cell):
                known[text] = min(room, known.get(text, room))
    short = {name: fitted(known, known) for name, known in rooms.items()}
    return [_lines(block, rows, short, label, cell) for block in whole]


def _lines(block: Block, rows: Names, short: Mapping[str, Names], label: int, cell: int) -> str:
    lines = [block.heading]
    for name, texts in zip(block.levels, block.header, strict=True):
        spans = _spans(block, name, texts, cell)
        if name == block.levels[-1]:
            # One short of the column's end: there the numbers have their star or footnote.
            named = "".join(f"{short[name][text]:>{room + 1}} " for text, room in spans)
        else:
            named = "".join(f" {short[name][text]:^{room}}" for text, room in spans)
        lines.append(f"{printable(name, label):<{label}}{named}".rstrip())
    for name, entries in block.rows:
        lines.append((rows[name].ljust(label) + "".join(_short(e).rjust(cell) for e in entries)).rstrip())
    return "\n".join([*lines, *(f"  {letter}: {text}" for letter, text in block.notes)])


def _spans(block: Block, name: str, texts: Sequence[str], cell: int) -> list[tuple[str, int]]:
    """The texts of a header row with the characters that there are for each."""
    if name == block.levels[-1]:
        return [(text, cell - 2) for text in texts]
    return [(text, number * cell - 1) for text, number in header_groups(texts)]


def _short(entry: Entry) -> str:
    """One character behind the number, star, tilde or space, so that numbers stand below each other; then the note."""
    mark = "*" if entry.best else "~" if entry.tied else " "
    return entry.text.replace(" ± ", " ±") + mark + entry.note
