"""Which modules a source text imports, as its import statements name them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from flipbench.versions.syntax import base


@lru_cache(maxsize=1024)
def imported(source: bytes, package: str) -> tuple[str, ...]:
    """The modules that a text imports anywhere, and the names it imports from them, which may be modules too.

    Args:
        source: of a module; what is no Python imports nothing.
        package: that the module lies in; empty: none.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(name.strip(".") for name in names(tree, package)))


def names(tree: ast.AST, package: str) -> Iterator[str]:
    """As `imported`, of a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = base(node, package)
            yield from (home, *(f"{home}.{alias.name}" for alias in node.names))


def parents(module: str) -> list[str]:
    """The packages around a module, which Python imports before it."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def holds_code(source: bytes) -> bool:
    """Whether a module does anything; an empty ``__init__.py`` does not, nor does a docstring alone."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return True
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
