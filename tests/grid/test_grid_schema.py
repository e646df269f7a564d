"""The JSON schema of grids: the committed one is the generated one, and an editor finds mistakes with it."""

import json
from dataclasses import fields

import pytest
import yaml
from jsonschema import Draft202012Validator

from flipbench.grid import reader
from flipbench.grid import schema as grid_schema
from flipbench.spec.cell import FIELDS, Cell


def test_the_committed_schema_is_the_generated_one():
    """Regenerate with: flipbench schema > bench/grids/grid.schema.json."""
    committed = (reader.SHIPPED / "grid.schema.json").read_text(encoding="utf-8")
    assert committed == grid_schema.text()
    known = json.loads(committed)["$defs"]
    for part in ("fields", "axes"):
        assert list(known[part]["properties"]) == list(FIELDS)
        assert all(p["$ref"] == f"#/$defs/about/{n}" for n, p in known[part]["properties"].items())
    assert all(known["about"][name]["description"] for name in FIELDS)
    assert committed.count("\n") < 300  # each field is described once


EDITOR = Draft202012Validator(grid_schema.schema())


def test_an_editor_takes_every_shipped_grid_and_every_default():
    for path in reader.SHIPPED.glob("*.yaml"):
        assert list(EDITOR.iter_errors(yaml.safe_load(path.read_text("utf-8")))) == []
    usual = {f.name: f.default for f in fields(Cell)}
    assert EDITOR.is_valid({"base": usual})
    assert EDITOR.is_valid({"axes": {name: [value] for name, value in usual.items()}})
    assert EDITOR.is_valid({"base": {"dataset": {"name": "ham10000", "path": "x.csv"}}})


@pytest.mark.parametrize(
    ("grid", "where"),
    [
        ({"bases": {}}, ()),
        ({"name": "No Name"}, ("name",)),
        ({"base": {"clients": 0}}, ("base", "clients")),
        ({"base": {"clients": [1, 2]}}, ("base", "clients")),
        ({"base": {"client": 3}}, ("base",)),
        ({"base": {"sampling": "passed"}}, ("base", "sampling")),
        ({"base": {"dataset": {"path": "x.csv"}}}, ("base", "dataset")),
        ({"axes": {"seed": 3}}, ("axes", "seed")),
        ({"axes": {"seed": []}}, ("axes", "seed")),
        ({"axes": {"seed": [0, "one"]}}, ("axes", "seed", 1)),
        ({"axes": {"flip_rate": [0.5, 1.5]}}, ("axes", "flip_rate", 1)),
        ({"axes": {"seeds": [0]}}, ("axes",)),
        ({"cases": []}, ("cases",)),
        ({"cases": [{"rounds": 0}]}, ("cases", 0, "rounds")),
        ({"figures": [{"kind": "pie"}]}, ("figures", 0, "kind")),
        ({"figures": [{"metric": "accuracy"}]}, ("figures", 0)),
    ],
)
def test_an_editor_underlines_typical_mistakes(grid, where):
    assert [tuple(error.absolute_path) for error in EDITOR.iter_errors(grid)] == [where]
