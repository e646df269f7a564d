"""Which package may import which: the table below is the architecture, and the folders are its rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.imports import FOLDERS, FRONT, MAY, PATHS, SOURCES, imports, module_of, package
from tests.helpers.paths import ROOT

# Inside a package: its folders in the order in which they may import, each those before it only.
LAYERS: dict[str, tuple[str, ...]] = {
    "report": ("tables", "figures", "html", "write"),
    "aggregators": ("contract", "rng", "validation", "numerics", "rules", "compose"),
    "training": ("layers",),
}
TORCH = {"torch", "torchvision", "numba", "llvmlite"}
DRAWING = {"pandas", "scipy", "seaborn", "matplotlib", "jinja2"}
LEAF_MAY = {"flipbench", "torch", "numpy", "numba", "llvmlite"}  # llvmlite: what numba compiles with
WITHOUT_TORCH = {"errors", "spec", "store", "analysis", "report"}
WITHOUT_DRAWING = {"aggregators", "attacks", "plugins", "data", "grid", "training", "federation", "execution"}


def layer(module: str) -> int | None:
    """Where the module stands among the layers of its package; None: it is in none."""
    parts = module.split(".")
    order = LAYERS.get(package(module), ())
    return order.index(parts[2]) if len(parts) > 2 and parts[2] in order else None


def wrong(module: str, source: str) -> list[str]:
    """What is against the table in one module."""
    here, found = package(module), []
    for line, target, at_load in imports(source):
        if target.startswith("."):
            found.append(f"{module}:{line}: relative import: write the full name")
            continue
        top = target.split(".")[0]
        there = package(module_of(target)) if top == "flipbench" else None
        if top in FOLDERS:
            found.append(f"{module}:{line}: the import package is flipbench, not {top}")
        elif there is not None and there != here and here not in FRONT:
            if there in FRONT or (here != "flipbench" and there not in MAY[here]):
                found.append(f"{module}:{line}: {here} may not import {there}")
        elif there is not None and there == here:
            mine, its = layer(module), layer(module_of(target))
            if mine is not None and its is not None and its > mine:
                order = " -> ".join(LAYERS[here])
                found.append(f"{module}:{line}: inside {here} imports run against {order}")
        if here in WITHOUT_TORCH and top in TORCH:
            found.append(f"{module}:{line}: no {top} from the store up to the report: it must start in about a second")
        reads_files = here == "data" and target.startswith("scipy.io.") and not at_load  # of MATLAB, where one is named
        if here in WITHOUT_DRAWING and top in DRAWING and not reads_files:
            found.append(f"{module}:{line}: no {top} before the store")
        if here == "store" and top in DRAWING and at_load:
            found.append(f"{module}:{line}: the store is read without {top}")
        if here in {"aggregators", "attacks"} and top not in LEAF_MAY | sys.stdlib_module_names:
            found.append(f"{module}:{line}: {here} needs torch, numpy and numba only")
    return found


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_import_runs_against_the_table(module: str) -> None:
    assert not wrong(module, SOURCES[module])


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("flipbench.aggregators.rules.krum", "import flipbench.spec.cell"),
        ("flipbench.aggregators.rules.krum", "from flipbench.attacks.contract import LabelContext"),
        ("flipbench.aggregators.rules.krum", "import scipy"),
        ("flipbench.aggregators.numerics.norms", "from flipbench.aggregators.rules.krum import krum"),
        ("flipbench.attacks.labels.label_flip", "from flipbench.spec import cell"),
        ("flipbench.attacks.labels.label_flip", "from aggregators import krum"),
        ("flipbench.execution.runner", "from flipbench.report import write"),
        ("flipbench.execution.runner", "def f():\n    from flipbench.report.tables import csv_format"),
        ("flipbench.federation.federation", "import pandas as pd"),
        ("flipbench.federation.federation", "from flipbench.execution import runner"),
        ("flipbench.data.idx", "from matplotlib import figure"),
        ("flipbench.store.store", "import torch"),
        ("flipbench.store.store", "from flipbench.execution.runner import run"),
        ("flipbench.store.store", "import pandas"),
        ("flipbench.report.figures.heatmap", "from torch import Tensor"),
        ("flipbench.report.figures.heatmap", "def f():\n    import torch"),
        ("flipbench.report.figures.heatmap", "from flipbench.report.html import page"),
        ("flipbench.analysis.metrics", "from flipbench.report.tables import summary"),
        ("flipbench.report.write", "from flipbench.federation.population import populate"),
        ("flipbench.spec.cell", "from flipbench.store.store import Store"),
        ("flipbench.grid.reader", "from flipbench.cli.app import app"),
        ("flipbench.grid.reader", "from .cell import Cell"),
        ("flipbench", "from flipbench.cli.app import app"),
        ("flipbench.store.store", "import importlib\nimportlib.import_module('flipbench.cli.app')"),
    ],
)
def test_a_planted_wrong_import_is_seen(module: str, line: str) -> None:
    assert wrong(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("flipbench.aggregators.rules.krum", "import torch\nfrom flipbench.aggregators.contract import Cohort"),
        ("flipbench.report.write", "from flipbench.report.tables import summary\nfrom flipbench.spec.cell import Cell"),
        ("flipbench.store.store", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("flipbench.cli.app", "def f():\n    from flipbench.execution import runner"),
        ("flipbench.report.html.page", "from flipbench.report.figures import heatmap"),
    ],
)
def test_an_import_along_the_table_passes(module: str, line: str) -> None:
    assert not wrong(module, line)


def test_the_table_has_no_circle_and_names_every_package() -> None:
    done: set[str] = set()
    while left := [p for p in MAY if p not in done]:
        free = [p for p in left if MAY[p] <= done]
        assert free, left
        done |= set(free)
    assert {package(m) for m in SOURCES} - FRONT - {"flipbench"} == set(MAY)


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """A circle among the modules, as a path that ends where it began; empty: there is none."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(edges.get(module, ())):
            if found := visit(other, (*path, module)):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(edges) if (found := visit(module, ()))), [])


def edges_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Imports at load, inside functions and for type checkers; a package's own list of names is left out."""
    return {
        m: {there for _, t, _ in imports(s, typing=True) if t.startswith("flipbench") and (there := module_of(t)) != m}
        for m, s in sources.items()
        if PATHS.get(m, Path("x.py")).name != "__init__.py"
    }


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    assert not circle(edges_of(SOURCES))


@pytest.mark.parametrize(
    "back",
    [
        "def f():\n    from flipbench.spec.cell import Cell",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from flipbench.spec.cell import Cell",
    ],
)
def test_a_planted_circle_is_seen(back: str) -> None:
    planted = {"flipbench.spec.cell": "from flipbench.spec.reference import parse", "flipbench.spec.reference": back}
    assert circle(edges_of(planted))


MOST_MODULES, MOST_LINES = 20, 400


def test_no_folder_is_a_corridor() -> None:
    rooms: dict[Path, int] = {}
    for path in [*PATHS.values(), *(ROOT / "tests").rglob("*.py")]:
        if path.name != "__init__.py":
            rooms[path.parent] = rooms.get(path.parent, 0) + 1
    crowded = {str(folder.relative_to(ROOT)): n for folder, n in rooms.items() if n > MOST_MODULES}
    assert not crowded


def unexplained(sources: Mapping[str, str]) -> list[str]:
    """The modules that are too long and do not say why in their docstring."""
    long = {name: source for name, source in sources.items() if source.count("\n") > MOST_LINES}
    return [name for name, source in long.items() if "Long because" not in (ast.get_docstring(ast.parse(source)) or "")]


def test_a_long_module_says_why_at_its_head() -> None:
    tests = {str(p.relative_to(ROOT)): p.read_text("utf-8") for p in sorted((ROOT / "tests").rglob("*.py"))}
    assert not unexplained({**SOURCES, **tests})


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        ('"""A table.\n\nLong because it lists every rule.\n"""', False),
        ('"""A table."""', True),
        ("# Long because", True),
    ],
)
def test_a_planted_long_module_is_seen(head: str, seen: bool) -> None:
    assert unexplained({"long": head + "\nx = 1" * (MOST_LINES + 1)}) == ["long"] * seen
    assert not unexplained({"short": head})


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("flipbench", {"torch", "numpy", "pandas", "numba", "dask"}),
        ("flipbench.report.write", {"torch", "numba", "dask"}),
        ("flipbench.store.store", {"torch", "pandas"}),
    ],
)
def test_what_an_import_does_not_load(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({absent!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
