"""A paper as one YAML file: a grid with the published numbers beside it, read into a `papers.model.Paper`.

The protocol (name, base, axes, cases) is read as every grid is; then each published number is led to its cells. All
mistakes are reported at once, each with its position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flipbench.errors import UserError
from flipbench.grid import document, expansion, reader
from flipbench.grid import overrides as overriding
from flipbench.grid.document import Sheet, place_of
from flipbench.papers import fields, table_reader
from flipbench.papers.cell_matching import Settings, unfit
from flipbench.papers.model import Choice, Number, Paper, Table
from flipbench.spec.cell import Cell
from flipbench.spec.twins import normal

SHIPPED = Path(__file__).parent
KEYS = ("paper", "source", "minutes", "choices", "caveat", "quick", "tables")
CHOICE = ("open", "taken", "why")
_SAME_PROTOCOL = ("dataset.path", "dataset.metadata", "device", "seed")  # overrides that leave the protocol as it is
_SHORTER = 10  # so much shorter is a quick run where the file does not say


def shipped() -> list[str]:
    """Names of the papers that come with flipbench."""
    return reader.shipped(SHIPPED)


def read(which: str | Path, overrides: Sequence[str] = (), seeds: int | None = None, quick: bool = False) -> Paper:
    """The reproduction of a file or of a shipped name.

    Args:
        which: a path, or the name of a shipped paper.
        overrides: ``field=value`` as of a grid; most change the protocol, and then nothing is judged.
        seeds: number of seeds, from 0, in place of the file's.
        quick: the file's short version: no protocol of the paper, and not judged either.

    Raises:
        GridError: with all mistakes of file and overrides.
        UserError: no such paper.
    """
    path = reader.locate(which, SHIPPED, "paper")
    reader.forget()
    text = reader.text_of(path)
    sheet = document.read(text, path.stem, also=KEYS)
    if sheet.labels is not None:
        sheet.wrong(document.place_of(sheet.labels), "labels", "belongs into a grid, not into a paper")
    if sheet.headline_place is not None:
        text_of_it = (
            "belongs into a grid; the rounds of a paper's numbers stand in its tables, like rounds: mean_last(5)"
        )
        sheet.wrong(sheet.headline_place, "headline", text_of_it)
    if sheet.tune is not None:
        text = "belongs into a grid: a paper's protocol has the settings that it was published with"
        sheet.wrong(document.place_of(sheet.tune), "tune", text)
    count = 1 if seeds is None and quick else seeds
    sets = [*([] if count is None else [f"seed={list(range(count))}"]), *overrides]
    overriding.override(sheet, sets, ())
    document.check(sheet)
    if sheet.name in shipped() and text != (SHIPPED / f"{sheet.name}.yaml").read_text(encoding="utf-8"):
        taken = f"{sheet.name!r} comes with flipbench, and its tables would be overwritten: give yours another name"
        sheet.wrong(sheet.name_place, "name", taken)
    cells = expansion.expand(sheet, with_twins=False)
    settings = None if sheet.mistakes or sheet.broken else Settings.of(cells)
    tables = _tables(sheet, settings)
    shorter = document.checked_fields(sheet, _quick(sheet))
    made = Paper(
        name=sheet.name,
        title=sheet.title or sheet.name,
        paper=_needed(sheet, "paper"),
        source=_needed(sheet, "source"),
        minutes=fields.number(sheet, sheet.others.get("minutes"), "minutes"),
        choices=_choices(sheet),
        caveat=fields.text(sheet, sheet.others.get("caveat"), "caveat"),
        tables=tables,
        seeds=tuple(sorted({c.seed for t in tables for n in t.numbers for c in n.cells})),
        cells=_cells(tables),
        text=text,
        file=str(path),
        changed=_changed(overrides),
    )
    reader.refuse(sheet, path)
    return _shortened(made, {k: g.value for k, g in shorter.items()}) if quick else made


def _needed(sheet: Sheet, key: str) -> str:
    if key not in sheet.others and not sheet.mistakes:
        wanted = {"paper": "the citation", "source": "where protocol and numbers were read"}[key]
        sheet.wrong(document.Place(), key, f"is missing: {wanted}")
    return fields.text(sheet, sheet.others.get(key), key)


def _choices(sheet: Sheet) -> tuple[Choice, ...]:
    choices = []
    for node in fields.listed(sheet, sheet.others.get("choices"), "choices"):
        keys = fields.mapping(sheet, node, "choice", CHOICE, CHOICE[:2])
        choices.append(Choice(*(fields.text(sheet, keys.get(k), k) for k in CHOICE)))
    return tuple(choices)


def _quick(sheet: Sheet) -> dict[str, document.Given]:
    node = sheet.others.get("quick")
    return {} if node is None else document.read_fields(sheet, node, "quick")


def _tables(sheet: Sheet, settings: Settings | None) -> tuple[Table, ...]:
    node = sheet.others.get("tables")
    if node is None or not node.items:
        if not sheet.mistakes:
            place = document.Place() if node is None else place_of(node)
            sheet.wrong(place, "tables", "needs a list of tables with the published numbers")
        return ()
    made = [table_reader.table(sheet, table_node, settings, i) for i, table_node in enumerate(node.items)]
    tables = tuple(t for t in made if t is not None)
    names = [t.name for t in tables]
    for table_node, name in zip(node.items, names, strict=False):
        if names.count(name) > 1:
            sheet.wrong(place_of(table_node), "tables", f"two tables are named {name!r}: give each a name of its own")
    if not sheet.mistakes and not _cells(tables):
        sheet.wrong(place_of(node), "tables", "no number of them is to be run")
    return tables


def _cells(tables: Sequence[Table]) -> tuple[Cell, ...]:
    return tuple(dict.fromkeys(c for t in tables for n in t.numbers for c in n.cells))


def _changed(overrides: Sequence[str]) -> str | None:
    other = [o for o in overrides if o.partition("=")[0].strip() not in _SAME_PROTOCOL]
    return f"run with {', '.join(f'--set {o}' for o in other)}" if other else None


def _number_of(number: Number, short: Mapping[Cell, Cell]) -> Number:
    """A number from shorter cells; one of a round that they do not have is not run."""
    cells = tuple(short[c] for c in number.cells)
    if number.window.take == "at" and (why := unfit(cells, number.metric, number.window)):
        return replace(number, cells=(), not_run=f"in a quick run {why}")
    return replace(number, cells=cells)


def _shortened(paper: Paper, values: dict[str, Any]) -> Paper:
    """The same tables over a shorter version of every cell."""
    short: dict[Cell, Cell] = {}
    for cell in paper.cells:
        own = values or {"rounds": max(1, cell.rounds // _SHORTER)}
        stop = None if cell.attack_stop is None else max(cell.attack_stop, cell.attack_start)
        short[cell] = normal(replace(cell, **{"attack_stop": stop, **own}))
    tables = tuple(replace(t, numbers=tuple(_number_of(n, short) for n in t.numbers)) for t in paper.tables)
    if not _cells(tables):
        wanted = "no number of it is of a round that a quick run reaches: say under quick: how many rounds it has"
        raise UserError(f"{paper.file}: {wanted}, like quick: {{rounds: 100}}")
    how = ", ".join(f"{k} {v}" for k, v in values.items()) or f"a {_SHORTER}th of the rounds"
    seeds = f"{len(paper.seeds)} seed{'s' * (len(paper.seeds) > 1)}"
    return replace(
        paper, tables=tables, cells=_cells(tables), changed=f"a quick run ({how}; {seeds}), not the paper's protocol"
    )
