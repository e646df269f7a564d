"""The JSON schema of paper files: a grid's, and what stands beside it."""

from __future__ import annotations

from typing import Any

from flipbench.grid import schema as grid_schema
from flipbench.grid.schema import FIELDS_REF, text_of
from flipbench.papers.model import KINDS, METRICS, UNITS
from flipbench.papers.table_reader import ENTRY, PART

_METRIC = "Of the stored confusion counts: " + ", ".join(
    f"{name}({', '.join(f'{o}=CLASS' for o in options)})" if options else name for name, options in METRICS.items()
)
_ROUNDS = (
    "Of the evaluated rounds: last, mean(rounds=10), median(rounds=10), median(share=0.1), at(round=100), max or min."
)
_TOLERANCE = {
    "within": "Our mean is at most so far from the published number, or from ``of``.",
    "of": "A centre for ``within`` other than the published number.",
    "deviations": "Within so many published standard deviations of a difference of two means.",
    "at_least": "Our mean is at least this.",
    "at_most": "Our mean is at most this.",
}


def schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, of a paper file."""
    grid = grid_schema.schema()
    properties: dict[str, Any] = grid["properties"]
    definitions = _part()
    assert set(definitions) == set(PART)
    part = {name: {"$ref": f"#/$defs/{name}"} for name in definitions}
    definitions["heads"] = _heads(part)
    properties |= {
        "paper": _text("Citation."),
        "source": _text("Where protocol and numbers were read."),
        "minutes": {"type": ["number", "null"], "description": "Of all seeds on one core, as measured."},
        "caveat": _text("What the verdict must not be taken for."),
        "choices": {"description": "What the paper leaves open.", "type": "array", "items": _choice()},
        "quick": {"description": "Fields of a short run that shows how it works.", **FIELDS_REF},
        "tables": {"description": "Published ones and ours.", "type": "array", "minItems": 1, "items": _table(part)},
    }
    del properties["figures"], properties["labels"], properties["headline"], properties["tune"]
    definitions |= grid["$defs"]
    return grid | {"title": "flipbench paper", "required": ["paper", "source", "tables"], "$defs": definitions}


def text() -> str:
    """The schema as the committed file holds it."""
    return text_of(schema())


def _part() -> dict[str, Any]:
    numbers = {k: {"type": "number", "description": v} for k, v in _TOLERANCE.items()}
    fixed = {"type": "object", "properties": numbers, "minProperties": 1, "additionalProperties": False}
    return {
        "at": {"description": "Fields that choose the one setting, seeds aside, that a number is of.", **FIELDS_REF},
        "metric": _text(_METRIC),
        "rounds": _text(_ROUNDS),
        "tolerance": {"description": "Fixed before the run.", "anyOf": [{"const": "none"}, fixed]},
        "not_run": _text("Why it cannot be run here."),
    }


def _heads(part: dict[str, Any]) -> dict[str, Any]:
    head = _mapping({"label": _text("As people read it."), **part}) | {"type": ["object", "null"]}
    return {"type": "object", "minProperties": 1, "additionalProperties": head}


def _table(part: dict[str, Any]) -> dict[str, Any]:
    number = {"type": "number"}
    entry = _mapping({"value": number | {"description": "As published."}, "sd": number, **part})
    assert set(entry["properties"]) == set(ENTRY)
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    value = {"anyOf": [number, {"type": "null"}, {"const": "ours"}, pair, entry]}
    heads = {"$ref": "#/$defs/heads"}
    return _mapping(
        {
            "name": {"type": ["string", "number"], "description": "Within the file; its number without it."},
            "title": _text("Heading."),
            "kind": {"enum": list(KINDS), "description": "Only published tables count for the verdict."},
            "about": _text("What an experiment asks, what an extension adds."),
            "after_looking": {"type": "boolean", "description": "Thought of after the published numbers were seen."},
            "unit": {"enum": list(UNITS)},
            "decimals": {"type": "integer", "minimum": 0, "description": "Printed digits behind the point."},
            "runs": {"type": "integer", "minimum": 1, "description": "Over which published numbers are means."},
            "rows": heads,
            "columns": heads,
            "values": {"type": "object", "additionalProperties": {"type": "array", "items": value}},
            "claims": {"type": "array", "items": _claim()},
            **part,
        },
        ["rows", "columns"],
    )


def _claim() -> dict[str, Any]:
    columns = {"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string"}}]}
    return _mapping(
        {
            "says": _text("In words."),
            "holds": _text("Like multi_krum > median ~ trimmed_mean, or a@x - b@x >= 5."),
            "for": columns | {"description": "Columns that it is made for one by one."},
            "margin": {"type": "number", "description": "Of ~, <= and >=, in the table's unit."},
        },
        ["says", "holds"],
    )


def _choice() -> dict[str, Any]:
    text = {"type": ["string", "number"]}
    return _mapping({"open": text, "taken": text, "why": text}, ["open", "taken"])


def _mapping(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": required} if required else {})


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}
