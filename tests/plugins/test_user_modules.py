"""Modules that plug-ins import from beside their file or from the working folder, whatever they are called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flipbench.errors import UserError
from flipbench.plugins import loading, registry, user_imports
from tests.helpers.paths import ROOT

RULE = "def rule(updates, cohort, /):\n    return updates.mean(-2)\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that is on no search path; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(user_imports.finder, "folders", [])
    monkeypatch.setattr(user_imports.finder, "_homes", {})
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p and Path(p) != ROOT])
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", ["random", "statistics", "attacks", "types", "json", "torch", "flipbench"])
def test_a_loose_file_may_have_any_name(project: Path, name: str) -> None:
    written(project / f"{name}.py", "import random, statistics, types, json\nrandom.Random(0)\n" + RULE)
    assert callable(registry.resolve("aggregator", f"{name}.py:rule"))


@pytest.mark.parametrize("where", ["mine.py", "rules/mine.py"])
@pytest.mark.parametrize("package", [True, False], ids=["package", "folder"])
def test_a_loose_file_imports_the_projects_own_package(project: Path, where: str, package: bool) -> None:
    if package:
        written(project / "attacks/__init__.py", "")
    written(project / "attacks/near.py", "from aggregators import half\nHALF = half.HALF\n")
    written(project / "aggregators/half.py", "HALF = 0.5\n")
    written(project / where, "from attacks.near import HALF\n" + RULE.replace("mean(-2)", "mean(-2) * HALF"))
    assert loading.from_file(f"{where}:HALF") == 0.5


def test_a_module_of_the_working_folder_can_be_named_and_imports_when_it_runs(project: Path) -> None:
    written(project / "attacks/mine.py", "def lazy():\n    from helper import VALUE\n    return VALUE\n" + RULE)
    written(project / "helper.py", "import json, random\nVALUE = 7\n")
    assert callable(registry.resolve("aggregator", "attacks.mine:rule"))
    assert loading.from_module("attacks.mine:lazy")() == 7


def test_a_file_beside_the_plug_in_comes_before_one_in_the_working_folder(project: Path) -> None:
    for folder, value in ((project / "rules", 1), (project, 2)):
        written(folder / "helper.py", f"VALUE = {value}\n")
    written(project / "rules/mine.py", "import helper\nVALUE = helper.VALUE\n")
    assert loading.from_file("rules/mine.py:VALUE") == 1


def test_a_file_imports_what_lies_beside_it_and_in_the_working_folder(project: Path) -> None:
    written(project / "rules/helper.py", "VALUE = 1\n")
    written(project / "common.py", "VALUE = 10\n")
    written(project / "rules/mine.py", "import helper, common\nVALUE = helper.VALUE + common.VALUE\n")
    assert loading.from_file("rules/mine.py:VALUE") == 11


@pytest.mark.parametrize("how", ["importlib.import_module('helper')", "__import__('hel' + 'per')"])
def test_an_import_that_no_statement_names_is_refused_for_no_key_would_have_it(project: Path, how: str) -> None:
    written(project / "rules/helper.py", "VALUE = 1\n")
    written(project / "rules/mine.py", f"import importlib\nVALUE = {how}.VALUE\n")
    with pytest.raises(UserError, match=r"mine.py:2: .*helper.*write 'import helper'"):
        loading.from_file("rules/mine.py:VALUE")


def test_no_other_code_finds_a_users_module(project: Path) -> None:
    written(project / "mine.py", RULE)
    written(project / "pyarrow_of_mine.py", "")
    loading.from_file("mine.py:rule")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pyarrow_of_mine")
    with user_imports.finder.searched():
        assert importlib.import_module("pyarrow_of_mine")
