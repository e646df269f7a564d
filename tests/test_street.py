"""The one-way street: every import is read, and one that runs against the traffic fails.

Leaves (aggregators, attacks) -> left of the store (torch, no pandas) -> store -> right of it (pandas, no torch).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("aggregators", "attacks", "bench")

RIGHT = (
    "rows",
    "parts",
    "frame",
    "metrics",
    "statistics",
    "rank_tests",
    "bootstrap",
    "labels",
    "summary",
    "comparisons",
    "spreadsheet",
    "remembered",
    "arrangement",
    "page_attacks",
    "worst",
    "static_regret",
    "misdeclared",
    "ranking",
    "requests",
    "blocks",
    "attack_blocks",
    "standing",
    "tables",
    "chosen",
    "compare_folders",
    "web",
    "attack_csv",
    "comparison_csv",
    "decomposition",
    "canvas",
    "heatmaps",
    "overviews",
    "damage_bars",
    "declared_heatmaps",
    "pairs",
    "curves",
    "influence_curves",
    "rank_diagram",
    "crossover",
    "pictures",
    "packing",
    "rerun",
    "explorer",
    "leaderboard",
    "drilldown",
    "choices",
    "results_page",
    "report",
    "paper_values",
    "paper_verdicts",
    "paper_results",
    "paper_tables",
    "paper_figure",
)  # in the order of the street
SHARED = ("__init__", "errors", "reference", "cell", "paper")  # what an experiment is: for both sides
STORE = ("disk", "envelope", "store", "helper", "survey")
FRONT = ("__main__", "cli_")  # parse, call, print: may call everybody, and nobody calls it
TORCH = {"torch", "torchvision", "numba", "llvmlite"}
DRAWING = {"pandas", "scipy", "seaborn", "matplotlib", "jinja2"}
LEAF_MAY = {"torch", "numpy", "numba", "llvmlite"}  # llvmlite: what numba compiles with


@dataclass(frozen=True)
class Import:
    """One import statement: who, what (dotted), where, and whether it runs when the module is loaded."""

    module: str
    target: str
    line: int
    at_load: bool

    @property
    def top(self) -> str:
        return self.target.split(".")[0]


def imports_of(source: str, module: str) -> Iterator[Import]:
    """Every import of a module, those inside functions too; those for type checkers only are left out."""

    def walk(node: ast.AST, at_load: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(module, a.name, child.lineno, at_load) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                yield from (Import(module, f"{base}.{a.name}", child.lineno, at_load) for a in child.names)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            else:
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_load and not inner)

    return walk(ast.parse(source), True)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {name_of(p): p.read_text("utf-8") for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))}
IMPORTS = {name: tuple(imports_of(source, name)) for name, source in SOURCES.items()}


def zone(module: str) -> str:
    """leaf, shared, left, store, right or front; a new module of bench is left until it is listed above."""
    package, _, rest = module.partition(".")
    if package != "bench":
        return "leaf"
    first = rest.split(".")[0]
    if first in SHARED or not first:
        return "shared"
    if first in RIGHT:
        return "right"
    if first in STORE:
        return "store"
    return "front" if first.startswith(FRONT) else "left"


def module_of(target: str) -> str:
    """The module that ``from package import name`` reaches: the longest known beginning of the dotted name."""
    while target not in SOURCES and "." in target:
        target = target.rpartition(".")[0]
    return target


MAY_CALL = {
    "leaf": {"leaf"},
    "shared": {"shared"},
    "left": {"leaf", "shared", "left", "store"},
    "store": {"shared", "store"},
    "right": {"shared", "store", "right"},
    "front": {"leaf", "shared", "left", "store", "right", "front"},
}


def wrong(one: Import) -> str | None:
    """Why this import is against the street; None where it is not."""
    here = zone(one.module)
    if one.target.startswith("."):
        return "relative import: write the full name"
    if one.top in PACKAGES:
        there = module_of(one.target)
        if zone(there) not in MAY_CALL[here]:
            return f"{here} may not import {zone(there)}"
        if here == "leaf" and one.module.startswith("aggregators") and there.startswith("attacks"):
            return "an aggregator does not know the attacks"
        if here == zone(there) == "right" and order(there) > order(one.module):
            return "right of the store the street runs " + " -> ".join(RIGHT)
        return None
    if one.top in sys.stdlib_module_names:
        return None
    if here == "leaf":
        return None if one.top in LEAF_MAY else f"a leaf may import {', '.join(sorted(LEAF_MAY))}"
    if here == "right" or here in {"store", "shared"}:
        if one.top in TORCH:
            return "no torch from the store on: redrawing a report must start in about a second"
        if here != "right" and one.top in DRAWING and one.at_load:
            return "the store is read without pandas"
    if here == "left" and one.top in DRAWING:
        return "no pandas or drawing left of the store (a new module right of it is listed in RIGHT)"
    return None


def order(module: str) -> int:
    return RIGHT.index(module.split(".")[1])


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_import_runs_against_the_street(module: str) -> None:
    found = [f"{module}:{i.line}: imports {i.target}: {why}" for i in IMPORTS[module] if (why := wrong(i))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("aggregators.krum", "import bench.cell"),
        ("aggregators.krum", "from attacks.contract import Scene"),
        ("aggregators.krum", "import scipy"),
        ("attacks.label_flip", "from bench import cell"),
        ("bench.runner", "from bench import report"),
        ("bench.runner", "def f():\n    from bench.tables import cells"),
        ("bench.federation", "import pandas as pd"),
        ("bench.data.mnist", "from matplotlib import figure"),
        ("bench.store", "import torch"),
        ("bench.store", "from bench.runner import run"),
        ("bench.store", "import pandas"),
        ("bench.heatmaps", "from torch import Tensor"),
        ("bench.heatmaps", "def f():\n    import torch"),
        ("bench.metrics", "from bench.tables import write"),
        ("bench.report", "from bench.population import populate"),
        ("bench.cell", "from bench.store import Store"),
        ("bench.grid", "from bench.__main__ import app"),
        ("bench.grid", "from .cell import Cell"),
    ],
)
def test_the_reader_sees_a_planted_wrong_import(module: str, line: str) -> None:
    assert any(wrong(i) for i in imports_of(line, module))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("aggregators.krum", "import torch\nfrom aggregators.contract import Cohort"),
        ("bench.report", "from bench import tables\nfrom bench.cell import FACTS"),
        ("bench.store", "def export():\n    import pandas"),
        ("bench.store", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("bench.__main__", "def f():\n    from bench import report, runner"),
    ],
)
def test_the_reader_lets_the_traffic_through(module: str, line: str) -> None:
    assert not [why for i in imports_of(line, module) if (why := wrong(i))]


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """What runs at load: a circle there works or breaks by who comes first."""
    edges = {m: {module_of(i.target) for i in IMPORTS[m] if i.at_load and i.top in PACKAGES} - {m} for m in SOURCES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_redrawing_loads_neither_torch_nor_a_compiler() -> None:
    """Seen from outside, third parties included; a fresh process knows nothing of this one's imports."""
    code = "import sys, bench.report; print(*sorted({'torch', 'numba', 'dask'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_the_store_is_read_without_torch_and_pandas() -> None:
    code = "import sys, bench.store; print(*sorted({'torch', 'pandas'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
