"""What is known of each field of a cell, written on the field itself: group, label, usual value, place in keys.

`flipbench.spec.cell.Cell` declares its fields with `described`; `flipbench.spec.field_groups` derives every list of
fields from it, so that a new field is described in one place.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

Group = Literal[
    "data",
    "federation",
    "model",
    "local training",
    "server",
    "evaluation",
    "malicious clients",  # how many there are and what they hold
    "attack",  # what they do
    "run",
]
GROUPS: tuple[Group, ...] = get_args(Group)
Unit = Literal["percent"]
T = TypeVar("T")
_ENTRY = re.compile(r"^    (\w+): (.*)$")  # of a docstring's attributes
_KEY = "flipbench"  # of a dataclass field's metadata


@dataclass(frozen=True)
class Description:
    """What is known of one field.

    Attributes:
        name: of the field.
        usual: its value where a grid gives none.
        group: what it is about. The fields of ``attack`` and ``malicious clients`` belong to the attack: a clean twin
            is without them.
        since: 1: the key of every cell holds the field. A higher number: the field is newer than stored cells and is
            left out of a key at its usual value, which therefore never changes; a new field has the next number.
        label: how tables, figures and pages call it.
        unit: unit of its value in tables and figures: a share as ``percent``; None: as it is.
        null: text for null.
    """

    name: str
    usual: Any
    group: Group
    since: int
    label: str
    unit: Unit | None
    null: str


def described(
    usual: T,
    group: Group,
    *,
    since: int = 1,
    label: str | None = None,
    unit: Unit | None = None,
    null: str = "none",
) -> T:
    """A dataclass field with its usual value as default and the rest of its `Description` as metadata.

    Args:
        usual, group, since, unit, null: of the `Description`.
        label: None: the field's name with spaces in place of underscores.
    """
    about = {"group": group, "since": since, "label": label, "unit": unit, "null": null}
    made: T = field(default=usual, metadata={_KEY: about})
    return made


def descriptions(cell: type) -> dict[str, Description]:
    """Name -> description of each field of a dataclass, in the order of declaration.

    Raises:
        KeyError: a field is not declared by `described`.
    """
    table = {}
    for declared in fields(cell):
        about = dict(declared.metadata[_KEY])
        about["label"] = about["label"] or declared.name.replace("_", " ")
        table[declared.name] = Description(name=declared.name, usual=declared.default, **about)
    return table


def documented(cell: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each field, in one line each."""
    docs: dict[str, str] = {}
    lines = (inspect.getdoc(cell) or "").partition("Attributes:\n")[2].splitlines()
    for line in lines:
        if entry := _ENTRY.match(line):
            docs[name := entry[1]] = entry[2]
        elif docs and line.startswith("     "):
            docs[name] += " " + line.strip()
    return docs
