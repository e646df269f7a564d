"""Tables as aligned lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from flipbench.report.tables.model import Block, Entry, header_groups
from flipbench.spec.labels import printable

_WIDEST = 24  # characters of a column in a terminal; a longer name is cut


def column_width(whole: Sequence[Block]) -> int:
    """Characters that a column of these tables needs, the space between two included."""
    entries = [len(_short(e)) for block in whole for _, line in block.rows for e in line]
    heads = [len(text) for block in whole for text in block.header[-1]]
    return min(_WIDEST, max([*entries, *(h + 1 for h in heads), 8]) + 1)


def lines_of(block: Block, label: int, cell: int) -> str:
    """Aligned columns; the best of each has a star, what cannot be told from it a tilde: a terminal may lack bold."""
    lines = [block.heading]
    for name, texts in zip(block.levels, block.header, strict=True):
        if name == block.levels[-1]:
            # One short of the column's end: there the numbers have their star or footnote.
            named = "".join(f"{_cut(text, cell - 2):>{cell - 1}} " for text in texts)
        else:
            named = "".join(f" {_cut(t, n * cell - 1):^{n * cell - 1}}" for t, n in header_groups(texts))
        lines.append(f"{printable(name, label):<{label}}{named}".rstrip())
    lines += [_row(name, [_short(e) for e in entries], label, cell) for name, entries in block.rows]
    return "\n".join([*lines, *(f"  {letter}: {text}" for letter, text in block.notes)])


def _row(name: str, cells: Sequence[str], label: int, cell: int) -> str:
    return (printable(name, label).ljust(label) + "".join(c.rjust(cell) for c in cells)).rstrip()


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _short(entry: Entry) -> str:
    """One character behind the number, star, tilde or space, so that numbers stand below each other; then the note."""
    mark = "*" if entry.best else "~" if entry.tied else " "
    return entry.text.replace(" ± ", " ±") + mark + entry.note
