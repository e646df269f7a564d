"""The labels that a grid gives to references and values: ``labels:`` of its file.

    labels:
      rules/mine.py:my_rule: Ours         # wherever it stands, in chains too, with its options behind it
      krum(multi=3): Multi-Krum           # with these options alone
      attack: {mirrored: Label flip}      # of one field: its values
      learning_rate: {0.1: large}

Labels change no key: they are what tables, figures and the page call things.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flipbench.errors import UserError
from flipbench.grid import yaml_tree
from flipbench.grid.document import Place, Sheet, place_of
from flipbench.grid.fields import REFERENCES, FieldError, typed
from flipbench.grid.yaml_tree import Node, kind_of
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.distinct_texts import look
from flipbench.spec.labels import ANYWHERE, telling_apart, value_label
from flipbench.spec.reference import canonical, parse_chain
from flipbench.spec.suggestions import near

LONGEST = 60  # characters of a label
_FRACTION = "malicious_fraction"
_MOST_LISTED = 8
Entry = tuple[str, Any, str]  # field or `ANYWHERE`, value, label


def read(sheet: Sheet, cells: Sequence[Cell]) -> tuple[Entry, ...]:
    """The labels of a sheet; what names nothing in the grid, and two values with one label, are noted as mistakes.

    Args:
        sheet: takes the mistakes.
        cells: of the grid.
    """
    node = sheet.labels
    if node is None or (node.value is None and node.kind != "mapping"):
        return ()
    if node.kind != "mapping":
        text = f"needs a mapping, like {{krum: Krum (2017), attack: {{mirrored: Label flip}}}}; got {kind_of(node)}"
        sheet.wrong(place_of(node), "labels", text)
        return ()
    known = {name: _values(name, cells) for name in FIELDS}
    found: dict[Entry, Place] = {}
    for key, value in node.pairs:
        if key.value in FIELDS:
            found |= dict(_of_field(sheet, str(key.value), value, known[str(key.value)], cells))
        elif (given := _text(sheet, value)) and (ref := _reference(sheet, key, known)) is not None:
            found[ANYWHERE, ref, given] = place_of(value)
    _check_apart(sheet, found, known)
    return tuple(found)


def _values(name: str, cells: Sequence[Cell]) -> dict[Any, None]:
    """The values of a field in the order of the grid, as tables show them."""
    if name == _FRACTION:
        return dict.fromkeys(cell.malicious / cell.members for cell in cells)
    return dict.fromkeys(getattr(cell, name) for cell in cells)


def _named(values: dict[Any, None]) -> dict[str, None]:
    """What a label of references can name: a whole value, one of its parts, or the name of a part."""
    parts = [link for text in values for link in parse_chain(str(text))]
    return dict.fromkeys([*map(str, values), *map(str, parts), *(link.name for link in parts)])


def _of_field(
    sheet: Sheet, name: str, node: Node, known: dict[Any, None], cells: Sequence[Cell]
) -> Iterator[tuple[Entry, Place]]:
    if node.kind != "mapping":
        text = f"needs a mapping of values of {name} to labels, like {{{next(iter(known), 'value')}: My label}}"
        sheet.wrong(place_of(node), f"labels: {name}", f"{text}; got {kind_of(node)}")
        return
    there = _named(known) if name in REFERENCES else known
    for key, label in node.pairs:
        given = _text(sheet, label)
        try:
            value = typed(name, yaml_tree.plain(key))
        except FieldError as error:
            sheet.wrong(place_of(key), f"labels: {name}", str(error))
            continue
        values = [value]
        if name == _FRACTION:  # as the whole number of clients that it comes to
            bare = {c.clients for c in cells}
            values = [
                share for n in bare if (share := Cell(clients=n, malicious_fraction=value).malicious / n) in there
            ]
        if not values or values[0] not in there:
            sheet.wrong(
                place_of(key), f"labels: {name}", f"the grid has no {name} {key.value!r}{_listed(value, there)}"
            )
        elif given:
            yield from (((name, v, given), place_of(label)) for v in values)


def _reference(sheet: Sheet, key: Node, known: dict[str, dict[Any, None]]) -> str | None:
    """The reference that a key names; None where the grid has none such."""
    there = dict.fromkeys(text for name in REFERENCES for text in _named(known[name]))
    try:
        name = canonical(str(key.value))
    except UserError as error:
        sheet.wrong(place_of(key), "labels", str(error))
        return None
    if name in there:
        return name
    hint = near(name, [*there, *FIELDS])
    text = f"{key.value!r} is neither a reference that the grid uses nor a field{hint}"
    sheet.wrong(place_of(key), "labels", text)
    return None


def _text(sheet: Sheet, node: Node) -> str | None:
    value = node.value
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= LONGEST:
        return value.strip()
    sheet.wrong(
        place_of(node), "labels", f"a label is a text of 1 to {LONGEST} characters on one line; got {kind_of(node)}"
    )
    return None


def _listed(value: Any, there: dict[Any, None]) -> str:
    texts = list(map(str, there))
    more = ", ..." if len(texts) > _MOST_LISTED else ""
    return f"{near(str(value), texts)}; there are {', '.join(texts[:_MOST_LISTED])}{more}"


def _check_apart(sheet: Sheet, found: dict[Entry, Place], known: dict[str, dict[Any, None]]) -> None:
    """Two values of a field may not have one label, nor one the label that another has by itself."""
    blamed: set[Place] = set()
    fields = [f for f in FIELDS if any(e[0] == f or (e[0] == ANYWHERE and f in REFERENCES) for e in found)]
    for name in fields:
        with telling_apart({}):
            plain = {v: value_label(name, v) for v in known[name]}
        with telling_apart({}, list(found)):
            groups: dict[str, list[Any]] = {}
            for v in known[name]:
                groups.setdefault(look(value_label(name, v)), []).append(v)
            for same in groups.values():
                given = [v for v in same if value_label(name, v) != plain[v]]
                if len(same) < 2 or not given:
                    continue
                label = value_label(name, given[-1])
                places = [place for entry, place in found.items() if entry[2] in label]
                if places and places[-1] not in blamed:
                    blamed.add(places[-1])
                    both = " and ".join(str(v) for v in same[:2])
                    sheet.wrong(places[-1], "labels", f"{label!r} would stand for {both} ({name}): give each its own")
