"""All that is known of one name: a shipped rule, attack or model, a grid, a field of a cell."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flipbench.grid import reader as grid
from flipbench.plugins import kinds, registry, signatures
from flipbench.spec.cell import Cell
from flipbench.spec.field_table import descriptions, documented

_WIDTH = 118


def kinds_of(name: str) -> list[str]:
    """The kinds among which a name stands, like ``aggregator``, ``grid`` or ``field``."""
    found = [kind for kind in kinds.KINDS if name in registry.shipped(kind)]
    return found + ["grid"] * (name in grid.shipped()) + ["field"] * (name in documented(Cell))


def names() -> Iterator[str]:
    """All names that can be explained."""
    for kind in kinds.KINDS:
        yield from registry.shipped(kind)
    yield from grid.shipped()
    yield from documented(Cell)


def of_name(kind: str, name: str) -> str:
    """The explanation of one name of a kind."""
    if kind == "grid":
        return _of_grid(name)
    if kind == "field":
        return _of_field(name)
    return _of_entry(kind, name, registry.shipped(kind)[name])


def _of_entry(kind: str, name: str, target: Callable[..., Any]) -> str:
    """Call form, docstring, and for rules and attacks the docstring of their module with formula, cost and source."""
    options = signatures.option_texts(target)
    heading = f"{name}({', '.join(options)})" if options else name
    parts = [f"{heading}  ({kinds.KINDS[kind].noun})", inspect.getdoc(target) or ""]
    module = sys.modules.get(getattr(target, "__module__", ""))
    if kind in ("aggregator", "preaggregation", "attack") and module is not None and module.__doc__:
        parts.append(inspect.cleandoc(module.__doc__))
    return "\n\n".join(_indented(p) if i else p for i, p in enumerate(parts) if p)


def _of_grid(name: str) -> str:
    text = grid.text_of(grid.locate(name))
    read = grid.read_text(text, name, name)
    lines = [f"{name}  (grid of {len(read.cells):,} cells)", *_indented(_comment(text)).splitlines(), ""]
    body = [line for line in text.splitlines() if not line.startswith("#")]
    return "\n".join([*lines, *_indented("\n".join(body)).splitlines()])


def grid_purpose(name: str) -> str:
    """What a shipped grid is for: the first sentence of the comment on top of its file."""
    comment = " ".join(_comment(grid.text_of(grid.locate(name))).split())
    return textwrap.indent(textwrap.fill(re.split(r"(?<=[.?])\s", comment)[0], _WIDTH - 6), " " * 6)


def _comment(text: str) -> str:
    """The comment on top of a grid, without the line for editors."""
    top: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server"):
            top.append(line.lstrip("# "))
    return "\n".join(top)


def _of_field(name: str) -> str:
    about = descriptions(Cell)[name]
    heading = f"{name}  (field of a cell: {about.group}; usual value: {_value(about.usual)})"
    return "\n".join([heading, _indented(textwrap.fill(documented(Cell)[name], _WIDTH - 2))])


def field_lines() -> Sequence[str]:
    """Every field with its usual value and what it means."""
    known, indent, lines = descriptions(Cell), " " * 6, []
    for name, doc in documented(Cell).items():
        lines.append(f"  {name}  [{_value(known[name].usual)}]")
        lines.append(textwrap.fill(doc, _WIDTH, initial_indent=indent, subsequent_indent=indent))
    return lines


def _value(value: Any) -> str:
    """A value as a grid has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")
