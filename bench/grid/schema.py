"""The JSON schema of grid files, so that an editor completes fields and shows what they mean."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from pydantic import TypeAdapter

from flipbench.grid.document import FIGURE_KINDS, NAME
from flipbench.grid.fields import REFERENCES
from flipbench.spec.cell import FIELDS, Cell

_ENTRY = re.compile(r"^    (\w+): (.*)$")


def field_docs() -> dict[str, str]:
    """What the docstring of `Cell` says of each field, in one line each."""
    docs: dict[str, str] = {}
    lines = (inspect.getdoc(Cell) or "").partition("Attributes:\n")[2].splitlines()
    for line in lines:
        if entry := _ENTRY.match(line):
            docs[name := entry[1]] = entry[2]
        elif docs and line.startswith("     "):
            docs[name] += " " + line.strip()
    return docs


def schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, of a grid file."""
    facts = _facts()
    partial = {"type": "object", "properties": facts, "additionalProperties": False}
    axes = {n: {"description": s["description"], "type": "array", "minItems": 1, "items": s} for n, s in facts.items()}
    figure = {
        "type": "object",
        "properties": {"kind": {"enum": list(FIGURE_KINDS)}, "metric": {"type": "string"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flipbench grid",
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "pattern": NAME.pattern,
                "description": "Names the results folder; the file's name without it.",
            },
            "title": {"type": ["string", "null"], "description": "For tables, heatmaps and the report."},
            "base": {"description": "Facts of every cell.", **partial},
            "axes": {
                "description": "Field -> values; the cells are their product.",
                "type": "object",
                "properties": axes,
                "additionalProperties": False,
            },
            "cases": {
                "description": "Partial facts over the base; the product of the axes is made for each.",
                "type": "array",
                "minItems": 1,
                "items": partial,
            },
            "figures": {"description": "What to draw.", "type": "array", "items": figure},
        },
        "additionalProperties": False,
    }


def text() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(schema(), indent=1) + "\n"


def _facts() -> dict[str, dict[str, Any]]:
    docs = field_docs()
    properties: dict[str, dict[str, Any]] = TypeAdapter(Cell).json_schema()["properties"]
    facts = {}
    for name in FIELDS:
        one = {k: v for k, v in properties[name].items() if k != "title"}
        if name in REFERENCES:
            named = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
            one = {"anyOf": [{"type": "string"}, named], "default": one["default"]}
        facts[name] = {"description": docs[name], **one}
    return facts
