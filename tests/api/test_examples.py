"""The examples in docstrings and in docs/python.md do what they show."""

from __future__ import annotations

import doctest
import importlib
import inspect

import matplotlib
import pytest

import flipbench as fb
from tests.helpers.paths import ROOT

FUNCTIONS = ["read_grid", "plan", "run", "load", "summarise", "aggregate", "check_aggregator", "check_attack"]
MODULES = sorted(p.stem for p in (ROOT / "bench/api").glob("*.py") if p.stem != "__init__")


@pytest.fixture
def names(finished, results, tmp_path, monkeypatch):
    """What examples may use; in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    return {"fb": fb, "finished": finished, "results": results, "folder": tmp_path / "out"}


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module, names):
    found = doctest.testmod(importlib.import_module(f"flipbench.api.{module}"), extraglobs=names)
    assert found.failed == 0


def test_the_page(names):
    found = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False, globs=names, encoding="utf-8")
    assert found.failed == 0
    assert found.attempted > 20


@pytest.mark.parametrize("name", fb.__all__)
def test_every_public_name_is_documented(name):
    page = (ROOT / "docs/python.md").read_text("utf-8")
    assert name in page
    value = getattr(fb, name)
    if name != "__version__":
        assert inspect.getdoc(value)


@pytest.mark.parametrize("name", [*FUNCTIONS, "Results.table", "Results.heatmap", "Results.curves"])
def test_every_public_function_has_an_example(name):
    page = (ROOT / "docs/python.md").read_text("utf-8")
    assert f"{name.replace('Results', 'results') if '.' in name else 'fb.' + name}(" in page
