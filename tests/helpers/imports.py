"""Reader of the imports of every module, and the table of the packages: which package may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.helpers.paths import ROOT

FOLDERS = {"bench": "flipbench", "aggregators": "flipbench.aggregators", "attacks": "flipbench.attacks"}

MAY: dict[str, set[str]] = {
    "errors": set(),
    "aggregators": set(),
    "attacks": {"aggregators"},
    "spec": {"errors"},
    "system": {"errors"},
    "versions": {"errors", "system"},
    "plugins": {"aggregators", "attacks", "errors", "spec", "system", "versions"},
    "data": {"attacks", "errors", "plugins", "spec", "system"},
    "grid": {"aggregators", "attacks", "data", "errors", "plugins", "spec", "system", "versions"},
    "training": {"aggregators", "data", "errors", "spec"},
    "federation": {"aggregators", "attacks", "data", "errors", "plugins", "spec", "system", "training"},
    "store": {"errors", "spec", "system"},
    "execution": {
        "aggregators",
        "attacks",
        "data",
        "errors",
        "federation",
        "grid",
        "plugins",
        "spec",
        "store",
        "system",
    },
    "privacy": {"errors", "spec"},
    "analysis": {"errors", "privacy", "spec", "store", "system"},
    "report": {"analysis", "errors", "privacy", "spec", "store", "system"},
    "papers": {"analysis", "data", "errors", "grid", "report", "spec"},
    "conformance": {"aggregators", "attacks", "data", "errors", "federation", "plugins", "spec", "system", "training"},
    "integrations": {"aggregators", "errors", "plugins", "spec"},
    "api": {
        "aggregators",
        "analysis",
        "attacks",
        "conformance",
        "data",
        "errors",
        "execution",
        "grid",
        "plugins",
        "privacy",
        "report",
        "spec",
        "store",
        "system",
    },
}
FRONT = {"cli", "__main__"}  # parse, call, print: they may call every package, and none calls them


def dotted(path: Path) -> str:
    """``bench/report/html/page.py`` -> ``flipbench.report.html.page``."""
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[first], *rest]).removesuffix(".__init__")


def package(module: str) -> str:
    """``flipbench.report.html.page`` -> ``report``; the public API, ``flipbench`` itself, is ``flipbench``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports(source: str, typing: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Line, dotted target (with the imported name) and whether it runs at load.

    Args:
        source: of a module.
        typing: with what stands under ``if TYPE_CHECKING``, which only type checkers read.
    """

    def walk(node: ast.AST, at_load: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child.lineno, a.name, at_load) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                yield from ((child.lineno, f"{base}.{a.name}", at_load) for a in child.names)
            elif (target := _import_module_of(child)) is not None:
                yield child.lineno, target, at_load
            elif typing or not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield from walk(child, at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    return walk(ast.parse(source), True)


def _import_module_of(node: ast.AST) -> str | None:
    """``importlib.import_module("flipbench.x")`` imports as a statement does; None for any other node."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args):
        return None
    name = node.args[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


PATHS = {dotted(p): p for top in FOLDERS for p in sorted((ROOT / top).rglob("*.py"))}
SOURCES = {module: path.read_text("utf-8") for module, path in PATHS.items()}


def module_of(target: str) -> str:
    """The module that ``from package import name`` reaches: the longest known beginning of the dotted name."""
    while target not in SOURCES and "." in target:
        target = target.rpartition(".")[0]
    return target


def package_edges() -> dict[str, set[str]]:
    """Of each package (and ``flipbench``, the public API, and ``cli``) the packages that its modules really import."""
    return {name: set(into) for name, into in _edges().items()}


@cache  # the sources do not change while tests run
def _edges() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for module, source in SOURCES.items():
        here = edges.setdefault(package(module), set())
        targets = {package(module_of(t)) for _, t, _ in imports(source) if t.split(".")[0] == "flipbench"}
        here |= targets - {package(module)}
    return edges
