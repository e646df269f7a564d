"""The JSON schema of grid files, so that an editor completes fields and shows what they mean."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from flipbench.grid import labels, tune_block
from flipbench.grid.document import NAME
from flipbench.grid.fields import REFERENCES
from flipbench.grid.figures import DRAW, KINDS
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.field_table import documented
from flipbench.spec.figure_options import FORMATS, LEAST, MOST
from flipbench.spec.seed_plan import FEWEST, LARGEST, METRICS, UNTIL

FIELDS_REF = {"$ref": "#/$defs/fields"}
_WIDTH = 160  # of a line, where what is nested allows it


def schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, of a grid file; each field of a cell is described once, under ``$defs``."""
    figure = {
        "type": "object",
        "properties": {"kind": {"enum": list(KINDS)}, "metric": {"type": "string"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    label = {"type": "string", "minLength": 1, "maxLength": labels.LONGEST}
    figures = {"type": "array", "items": figure}
    name = "Names the results folder; the file's name without it."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flipbench grid",
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": f"^{NAME.pattern}$", "description": name},
            "title": {"type": ["string", "null"], "description": "For tables, heatmaps and the report."},
            "base": {"description": "Fields of every cell.", **FIELDS_REF},
            "axes": {"description": "Field -> values; the cells are their product.", "$ref": "#/$defs/axes"},
            "cases": {
                "description": "Some fields over the base; the product of the axes is made for each.",
                "type": "array",
                "minItems": 1,
                "items": FIELDS_REF,
            },
            "headline": {
                "type": "string",
                "pattern": r"^(last|(mean|min)_last\((k=)?[1-9][0-9]*\))$",
                "description": "Which evaluated rounds numbers are of: last, mean_last(k) or min_last(k).",
            },
            "seeds": _seeds(),
            "tune": _tune(),
            "honest_noise": {
                "description": "Adds a twin of each attacked cell without an attack: as many honest clients have this "
                "share of wrong labels.",
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
            },
            "figures": {"description": "What to draw, and how.", **_figures(figures)},
            "labels": {
                "description": "Reference -> label, or field -> value -> label, for tables, figures and the page.",
                "type": ["object", "null"],
                "additionalProperties": {"anyOf": [label, {"type": "object", "additionalProperties": label}]},
            },
        },
        "additionalProperties": False,
        "$defs": _definitions(),
    }


def _seeds() -> dict[str, Any]:
    """A sequential run in place of an axis of seeds."""
    number = {"type": "integer", "minimum": FEWEST, "maximum": LARGEST}
    keys = {"least": number, "most": number, "until": {"enum": list(UNTIL)}}
    more = {"step": number | {"minimum": 1, "default": 1}, "metric": {"enum": list(METRICS), "default": "accuracy"}}
    return {
        "description": "Seeds 0, 1, ... are added until every comparison is decided or futile, in place of an axis.",
        "type": "object",
        "properties": keys | more,
        "required": ["least", "most"],
        "additionalProperties": False,
    }


def _figures(figures: dict[str, Any]) -> dict[str, Any]:
    """The list of what to draw; or a mapping with options of all figures and that list."""
    inches = {"type": ["number", "null"], "minimum": LEAST, "maximum": MOST}
    properties = {"width": inches, "height": inches, "title": {"type": "boolean"}, "caption": {"type": "boolean"}}
    formats = {"type": "array", "minItems": 1, "items": {"enum": list(FORMATS)}}
    properties |= {"font": {"type": ["string", "null"]}, "formats": formats, DRAW: figures}
    mapping = {"properties": properties, "additionalProperties": False}
    return figures | {"type": ["array", "object"]} | mapping


def _tune() -> dict[str, Any]:
    """Which settings are chosen for each aggregator, among which candidates."""
    fields = {name: {"$ref": f"#/$defs/axes/properties/{name}"} for name in tune_block.TUNABLE}
    options = f"^({'|'.join(tune_block.WITH_OPTIONS)})\\.[A-Za-z_]\\w*$"
    said = "Settings to choose for each aggregator on validation examples: field or field.option -> candidates."
    return {
        "description": said,
        "type": "object",
        "properties": {
            "fields": {
                "type": "object",
                "properties": fields,
                "patternProperties": {options: {"type": "array", "minItems": 2}},
                "additionalProperties": False,
                "minProperties": 1,
            },
            "seeds": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/fields/properties/seed"}},
            "metric": {"enum": list(tune_block.METRICS)},
            "criterion": {"enum": list(tune_block.CRITERIA)},
            "budget": {"type": "integer", "minimum": tune_block.LEAST, "maximum": tune_block.MOST},
            "draw": {"type": "integer", "minimum": 0},
        },
        "required": ["fields", "seeds"],
        "additionalProperties": False,
    }


def text_of(schema: dict[str, Any]) -> str:
    """A schema as its committed file holds it: on one line what fits or has nothing nested in it."""
    return _lines(schema, "") + "\n"


def text() -> str:
    """The schema of grids as the committed file holds it."""
    return text_of(schema())


def _definitions() -> dict[str, Any]:
    """``fields``: fields with a value each; ``axes``: with a list of values; ``named``: a reference as a mapping."""
    docs = documented(Cell)
    properties: dict[str, dict[str, Any]] = TypeAdapter(Cell).json_schema()["properties"]
    about, values, axes = {}, {}, {}
    for name in FIELDS:
        known = {k: v for k, v in properties[name].items() if k != "title"}
        if name in REFERENCES:
            known = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/named"}], "default": known["default"]}
        described = {"$ref": f"#/$defs/about/{name}"}
        about[name] = {"description": docs[name]}
        values[name] = described | known
        items = {"$ref": f"#/$defs/fields/properties/{name}"}
        axes[name] = described | {"type": "array", "minItems": 1, "items": items}
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return {
        "fields": {"type": "object", "properties": values, "additionalProperties": False},
        "axes": {"type": "object", "properties": axes, "additionalProperties": False},
        "named": named,
        "about": about,
    }


def _lines(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if len(indent) + len(line) <= _WIDTH or not any(isinstance(part, dict | list) for part in parts):
        return line
    deeper = indent + " "
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    names = [f"{json.dumps(name)}: " for name in value] if isinstance(value, dict) else [""] * len(parts)
    inner = ",\n".join(deeper + name + _lines(part, deeper) for name, part in zip(names, parts, strict=True))
    return f"{opened}\n{inner}\n{indent}{closed}"
