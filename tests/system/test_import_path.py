"""The safe order of the search path: Python's own modules first, the working folder nowhere."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

from flipbench.system import import_path
from flipbench.system.safe_children import safe_children, start

STDLIB, INSTALLED = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")


@pytest.mark.parametrize("spelling", ["", ".", "{}", "{}/", "link", "../{.name}"])
def test_the_working_folder_is_left_out_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    entry = spelling.format(tmp_path)
    assert import_path.ordered([entry, INSTALLED, "lib", STDLIB]) == [STDLIB, INSTALLED, str(tmp_path / "lib")]
    assert import_path.left_out([entry, INSTALLED]) == [os.path.abspath(entry)]


def test_the_folder_of_the_script_is_left_out_and_that_of_a_package_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "mine.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert import_path.ordered([str(tmp_path), STDLIB]) == [STDLIB]
    main.__spec__ = __spec__  # as with python -m
    assert import_path.ordered([str(tmp_path), STDLIB]) == [STDLIB, str(tmp_path)]


def test_a_working_folder_that_flipbench_is_installed_in_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_path, "__file__", str(tmp_path / "flipbench/system/import_path.py"))
    assert import_path.ordered(["", str(tmp_path), STDLIB]) == [STDLIB, str(tmp_path)]


def test_child_processes_find_nothing_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('the file of the user was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "."]))
    monkeypatch.syspath_prepend("")
    child = start("import json, random, sys; assert not '' in sys.path", {})
    assert child.wait() == 0
    before = sys.path[:]
    with safe_children():
        assert sys.path == import_path.ordered(before)
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert sys.path == before
    assert os.environ["PYTHONPATH"] == f"{os.pathsep}."
