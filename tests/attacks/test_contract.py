"""Registry and contract of attacks: each stands in every place that it needs; names that plug-ins may import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flipbench import attacks
from flipbench.attacks import contract
from flipbench.plugins import loading, registry
from tests.helpers.paths import ROOT

TABLES = (ROOT / "docs/attacks.md").read_text("utf-8").splitlines()


def missing(name: str, attack: Callable[..., Any]) -> Iterator[str]:
    """The places that do not know a registered attack; its tests beside an oracle are its author's."""
    if getattr(attacks, name, None) is not attack or name not in attacks.__all__:
        yield "attacks.__all__"
    if name not in {entry.name for entry in registry.catalogue("attack")}:
        yield "names of a grid"
    if not any(line.startswith((f"| `{name}`", f"| `{name}(")) for line in TABLES):
        yield "docs/attacks.md"


def test_every_registered_attack_stands_everywhere() -> None:
    assert {name: list(missing(name, attack)) for name, attack in attacks.ATTACKS.items()} == {
        name: [] for name in attacks.ATTACKS
    }
    named = {line.split("`")[1].partition("(")[0] for line in TABLES if line.startswith("| `")}
    assert named - {"labels", "examples", "updates"} == set(attacks.ATTACKS)


def test_a_new_attack_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(labels: Any, context: Any, /) -> Any:
        return contract.Proposal(labels.clone(), labels < 0)

    monkeypatch.setattr(attacks, "ATTACKS", {**attacks.ATTACKS, "nothing": nothing})
    assert list(missing("nothing", nothing)) == ["attacks.__all__", "docs/attacks.md"]


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
