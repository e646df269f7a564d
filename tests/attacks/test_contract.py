"""The attacks' contract as plug-in files meet it: where an attack acts, and names that a class had before."""

from __future__ import annotations

import importlib

import pytest

from flipbench import attacks
from flipbench.attacks import contract
from flipbench.plugins import loading


@pytest.mark.parametrize(
    ("old", "new"), [("Scene", "LabelContext"), ("Studio", "ExampleContext"), ("Wire", "UpdateContext")]
)
@pytest.mark.parametrize("module", ["flipbench.attacks", "flipbench.attacks.contract"])
def test_a_file_that_imports_a_former_name_is_told_the_new_one(tmp_path, module, old, new):
    path = tmp_path / "mine.py"
    path.write_text(f"from {module} import Proposal, {old}\n\ndef flip(labels, scene, /): ...\n")
    with pytest.raises(loading.PluginFileError) as error:
        loading.from_file(f"{path}:flip")
    assert str(error.value) == f"{path}:1: ImportError: {old} of {module} is called {new}: import that name instead"
    assert hasattr(importlib.import_module(module), new)


@pytest.mark.parametrize("module", [attacks, contract])
def test_any_other_name_is_missing_as_usual(module):
    assert not hasattr(module, "Stage")
    with pytest.raises(AttributeError, match="has no attribute 'Stage'"):
        _ = module.Stage
