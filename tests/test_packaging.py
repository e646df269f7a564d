"""What is shipped: every package of the three folders is named in pyproject.toml, and the data files with them."""

from __future__ import annotations

import tomllib

from tests.helpers.paths import ROOT
from tests.test_import_direction import PATHS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_pyproject_names_every_package() -> None:
    folders = sorted(module for module, path in PATHS.items() if path.name == "__init__.py")
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == folders


def test_every_data_file_is_shipped() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["flipbench"]
    shipped = {path for pattern in patterns for path in (ROOT / "bench").glob(pattern)}
    files = {p for p in (ROOT / "bench").rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}}
    assert {p for p in files if "__pycache__" not in p.parts} <= shipped
