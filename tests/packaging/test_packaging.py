"""Packaging: pyproject.toml names every package and data file; wheel and source distribution work where installed."""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.helpers.imports import PATHS
from tests.helpers.paths import ROOT
from tests.packaging.distributions import checkout_of, ran, sdist_of, wheel_of

pytestmark = pytest.mark.timeout(900)  # a fresh installation compiles its kernels
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def data_files() -> set[Path]:
    """Everything in bench/ that is no Python source."""
    files = {p for p in (ROOT / "bench").rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}}
    return {p for p in files if "__pycache__" not in p.parts}


def test_pyproject_names_every_package() -> None:
    folders = sorted(module for module, path in PATHS.items() if path.name == "__init__.py")
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == folders


def test_every_data_file_is_shipped() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["flipbench"]
    assert data_files() <= {path for pattern in patterns for path in (ROOT / "bench").glob(pattern)}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout_of(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    packed = sdist_of(checkout, folder)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution builds."""
    return wheel_of(sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    ran([sys.executable, "-m", "pip", "install", *options, "--target", folder, wheel], folder)
    return folder


@pytest.mark.process
def test_a_wheel_holds_the_modules_and_the_data_and_nothing_else(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    modules = {str(p.relative_to(ROOT)) for p in [*PATHS.values(), *data_files()]}
    installed = {f"flipbench/{n.removeprefix('bench/')}" for n in modules}
    assert names == installed
    assert "flipbench/py.typed" in names
    with zipfile.ZipFile(wheel_of(checkout, tmp_path)) as archive:  # not by way of the source distribution
        assert {n for n in archive.namelist() if ".dist-info/" not in n} == names


@pytest.mark.process
def test_the_source_distribution_holds_what_explains_it_and_no_results(sdist: Path) -> None:
    for name in ("README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "constraints.txt", "docs/architecture.md"):
        assert (sdist / name).is_file(), name
    assert not (sdist / "results").exists()
    assert not (sdist / "tests").exists()


def metadata(site: Path) -> Message:
    (path,) = site.glob("flipbench-*.dist-info/METADATA")
    return message_from_string(path.read_text("utf-8"))


@pytest.mark.process
def test_the_metadata_are_complete(site: Path) -> None:
    facts = metadata(site)
    assert (facts["Name"], facts["License-Expression"]) == ("flipbench", "MIT")
    for name in ("Version", "Summary", "Author", "Keywords", "Requires-Python"):
        assert facts[name], name
    assert facts["Description-Content-Type"] == "text/markdown"
    assert facts.get_payload() == (ROOT / "README.md").read_text("utf-8")
    assert not [c for c in facts.get_all("Classifier", []) if c.startswith("Private ::")]
    (points,) = site.glob("flipbench-*.dist-info/entry_points.txt")
    assert "flipbench = flipbench.__main__:main" in points.read_text()
    assert list(site.glob("flipbench-*.dist-info/licenses/LICENSE"))


OWN_RULE = """\
def cautious(updates, cohort, /):
    return updates.mean(-2) / 2
"""
GRID = """\
name: own
base: {dataset: digits, model: softmax, clients: 5, rounds: 2, local_steps: 1, malicious_count: 1, attack: mirrored}
axes:
  aggregator: [fedavg, "aggregators/own.py:cautious"]
"""


@pytest.mark.process
def test_an_installed_flipbench_runs_in_a_project_that_has_modules_of_the_same_names(
    site: Path, tmp_path: Path
) -> None:
    for name in ("attacks.py", "bench.py", "aggregators/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('the module of the project was imported')\n")
    (tmp_path / "aggregators/own.py").write_text(OWN_RULE)
    (tmp_path / "own.yaml").write_text(GRID)
    python = [sys.executable, "-B"]
    environment = {"PYTHONPATH": str(site), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    where = ran([*python, "-c", "import flipbench.attacks as a; print(a.__file__)"], tmp_path, **environment)
    assert Path(where.strip()) == site / "flipbench/attacks/__init__.py"
    assert "label_flip" in ran([*python, "-m", "flipbench", "list"], tmp_path, **environment)
    command = [*python, "-m", "flipbench", "run", "own.yaml", "--workers", "1"]
    assert "4 done, 0 infeasible" in ran(command, tmp_path, **environment)
    assert (tmp_path / "results/own/report.html").is_file()
