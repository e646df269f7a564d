"""Reads the tables of a paper file: rows, columns, the cells they are about, printed numbers, tolerances, claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flipbench.grid.document import Given, Sheet, checked_fields, place_of, read_fields
from flipbench.grid.yaml_tree import Node, kind_of
from flipbench.papers import claims, fields
from flipbench.papers.cell_matching import NoSetting, Settings, unfit
from flipbench.papers.model import KINDS, UNITS, Head, Metric, Number, Table, Tolerance, Window
from flipbench.spec.suggestions import near

PART = ("at", "metric", "rounds", "tolerance", "not_run")  # of a table, row, column or number; the inner one counts
HEAD = ("label", *PART)
ENTRY = ("value", "sd", *PART)
TABLE = (
    *("name", "title", "unit", "decimals", "runs", "kind", "about", "after_looking"),
    *("rows", "columns", "values", "claims", *PART),
)


@dataclass(frozen=True)
class _Part:
    """What a table, row, column or number says of its cells; None: nothing.

    Attributes:
        at: field values that choose the cells.
    """

    at: Mapping[str, Given] = field(default_factory=dict)
    metric: Metric | None = None
    window: Window | None = None
    tolerance: Tolerance | None = None
    not_run: str | None = None


@dataclass(frozen=True)
class _Entry:
    """A number as written."""

    node: Node
    value: float | None = None
    sd: float | None = None
    part: _Part = _Part()


def table(sheet: Sheet, node: Node, settings: Settings | None, place: int) -> Table | None:
    """One table; None where too much is wrong to make one.

    Args:
        sheet: takes the mistakes.
        node: of the table.
        settings: the protocol's cells; None: they could not be made, so no cell is looked for.
        place: of the table among the others, for its name where it has none.
    """
    keys = fields.mapping(sheet, node, "table", TABLE, ("rows", "columns"))
    unit = fields.one_of(sheet, keys.get("unit"), "unit", list(UNITS))
    whole = _part(sheet, keys)
    rows, columns = (_heads(sheet, keys.get(k), k) for k in ("rows", "columns"))
    if not rows or not columns:
        return None
    runs = fields.whole(sheet, keys.get("runs"), "runs", 1)
    numbers: list[Number] = []
    decimals = 0
    for row, column, entry in _entries(sheet, keys.get("values"), list(rows), list(columns)):
        decimals = max(decimals, _printed(entry.value))
        parts = (whole, rows[row][1], columns[column][1], entry.part)
        if number := _number(sheet, row, column, entry, parts, settings, runs):
            numbers.append(number)
    given = fields.whole(sheet, keys.get("decimals"), "decimals", 0)
    heads = [tuple(head for head, _ in part.values()) for part in (rows, columns)]
    held = {(n.row, n.column) for n in numbers}
    return Table(
        name=fields.text(sheet, keys.get("name"), "name") or str(place + 1),
        title=fields.text(sheet, keys.get("title"), "title"),
        unit=unit,
        decimals=decimals if given is None else given,
        runs=runs,
        kind=fields.one_of(sheet, keys.get("kind"), "kind", KINDS),
        about=fields.text(sheet, keys.get("about"), "about"),
        after_looking=fields.flag(sheet, keys.get("after_looking"), "after_looking"),
        rows=heads[0],
        columns=heads[1],
        numbers=tuple(numbers),
        claims=tuple(claims.read(sheet, keys.get("claims"), heads[0], heads[1], held)),
    )


def _part(sheet: Sheet, keys: Mapping[str, Node]) -> _Part:
    values = read_fields(sheet, keys["at"], "at") if "at" in keys else {}
    return _Part(
        at=checked_fields(sheet, values),
        metric=fields.metric(sheet, keys.get("metric")),
        window=fields.window(sheet, keys.get("rounds")),
        tolerance=fields.tolerance(sheet, keys.get("tolerance")),
        not_run=fields.text(sheet, keys.get("not_run"), "not_run") or None,
    )


def _heads(sheet: Sheet, node: Node | None, where: str) -> dict[str, tuple[Head, _Part]]:
    heads = {}
    for name, value in fields.named(sheet, node, where):
        keys = fields.mapping(sheet, value, where.removesuffix("s"), HEAD) if value.value is not None else {}
        label = fields.text(sheet, keys.get("label"), "label") or name.replace("_", " ")
        heads[name] = (Head(name, label), _part(sheet, keys))
    return heads


def _entries(
    sheet: Sheet, node: Node | None, rows: Sequence[str], columns: Sequence[str]
) -> list[tuple[str, str, _Entry]]:
    """(row, column, number) of every place that holds one; without ``values`` all do, and nothing was published."""
    if node is None:
        nothing = Node(1, 1, None)
        return [(r, c, _Entry(nothing)) for r in rows for c in columns]
    entries = []
    for row, line in fields.named(sheet, node, "values"):
        if row not in rows:
            text = f"unknown row {row!r}{near(row, rows)}; the table has {', '.join(rows)}"
            sheet.wrong(place_of(line), "values", text)
            continue
        items = fields.listed(sheet, line, "values")
        if len(items) != len(columns):
            text = f"{row} has {len(items)} numbers for {len(columns)} columns ({', '.join(columns)}); null: no number"
            sheet.wrong(place_of(line), "values", text)
            continue
        for column, item in zip(columns, items, strict=True):
            if item.value is not None and (entry := _entry(sheet, item)):
                entries.append((row, column, entry))
    return entries


def _entry(sheet: Sheet, node: Node) -> _Entry | None:
    """A number, ``[number, standard deviation]``, ``ours``, or a mapping with more."""
    if node.value == "ours":
        return _Entry(node)
    if node.kind == "mapping":
        keys = fields.mapping(sheet, node, "number", ENTRY)
        value, sd = (fields.number(sheet, keys.get(k), k) for k in ("value", "sd"))
        return _Entry(node, value, sd, _part(sheet, keys))
    if node.kind == "list":
        if len(node.items) != 2:
            sheet.wrong(place_of(node), "values", "a list needs two numbers: as published, and its standard deviation")
            return None
        value, sd = (fields.number(sheet, n, "values") for n in node.items)
        return _Entry(node, value, sd)
    if isinstance(node.value, str):
        text = f"needs a number, [number, sd], null, ours or a mapping with {', '.join(ENTRY)}; got {kind_of(node)}"
        sheet.wrong(place_of(node), "values", text)
        return None
    return _Entry(node, fields.number(sheet, node, "values"))


def _number(
    sheet: Sheet,
    row: str,
    column: str,
    entry: _Entry,
    parts: Sequence[_Part],
    settings: Settings | None,
    runs: int | None,
) -> Number | None:
    """A number with its cells; None where something is wrong with it."""
    place, where = place_of(entry.node), f"{row}, {column}"
    metric, window, not_run = (_inner(parts, name) for name in ("metric", "window", "not_run"))
    if metric is None:
        if not any(m.field in ("metric", "table", "row", "column", "number") for m in sheet.mistakes):
            sheet.wrong(place, where, "has no metric: give one to the table, its row or its column, like metric: error")
        return None
    made: dict[str, Any] = {"metric": metric, "window": window or Window(), "not_run": not_run}
    made["tolerance"] = _tolerance(sheet, where, entry, parts, runs)
    if not_run is not None:
        return Number(row, column, entry.value, entry.sd, **made, cells=())
    if settings is None:
        return None
    values: dict[str, Given] = {}
    for part in parts:
        values |= part.at
    try:
        cells = settings.find(values)
    except NoSetting as error:
        inner = [g for p in reversed(parts) for g in p.at.values()]
        blamed = values.get(error.field or "") or next(iter(inner), None)
        sheet.wrong(place if blamed is None else blamed.place, where, str(error))
        return None
    if why := unfit(cells, metric, made["window"]):
        sheet.wrong(place, where, why)
        return None
    return Number(row, column, entry.value, entry.sd, **made, cells=cells)


def _inner(parts: Sequence[_Part], name: str) -> Any:
    """What the innermost part says that says anything."""
    return next((v for p in reversed(parts) if (v := getattr(p, name)) is not None), None)


def _tolerance(sheet: Sheet, where: str, entry: _Entry, parts: Sequence[_Part], runs: int | None) -> Tolerance:
    """A published number has one, or says that it has none."""
    place, given = place_of(entry.node), _inner(parts, "tolerance")
    if given is None and entry.value is not None and not any(m.field == "tolerance" for m in sheet.mistakes):
        text = "needs a tolerance, fixed before the run, like tolerance: {within: 0.015}; or tolerance: none"
        sheet.wrong(place, where, text)
    tolerance: Tolerance = given or Tolerance("none")
    if entry.value is None and tolerance.kind == "deviations":
        return Tolerance("none")  # nothing is printed, so there is nothing to judge, whatever its row or column says
    lacking = tolerance.kind == "deviations" and (entry.sd is None or runs is None)
    if lacking and _inner(parts, "not_run") is None:
        text = "a tolerance in deviations needs the published one (like [0.842, 0.007]) and the table's number of runs"
        sheet.wrong(place, where, text)
    return tolerance


def _printed(value: float | None) -> int:
    """Digits behind the point as written; a trailing zero is lost, so a table takes the most of its numbers."""
    text = "" if value is None else f"{value:.10f}".rstrip("0")
    return len(text.partition(".")[2])
