"""The syntax of a module without what changes no number: comments, layout, docstrings, annotations, error messages.

The text is the same under every version of Python, unlike `ast.dump`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_IGNORED = frozenset({"ctx", "kind", "type_comment", "returns"})


@dataclass(frozen=True)
class Statement:
    """A statement at the top level of a module.

    Attributes:
        names: that it binds.
        text: its syntax, without what changes no number.
        uses: what it refers to, as chains of names: ``numpy.linalg.norm`` is ``("numpy", "linalg", "norm")``.
    """

    names: frozenset[str]
    text: str
    uses: frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Module:
    """What a module's source says.

    Attributes:
        statements: all of them but imports and bare texts.
        imports: name -> module and the name there; None: the name is the module.
    """

    statements: tuple[Statement, ...]
    imports: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)

    def defining(self, name: str) -> tuple[Statement, ...]:
        """The statements that bind a name."""
        return tuple(s for s in self.statements if name in s.names)

    @property
    def loose(self) -> tuple[Statement, ...]:
        """The statements that bind no name, which act when the module is imported."""
        return tuple(s for s in self.statements if not s.names)


@lru_cache(maxsize=512)
def parse(source: bytes, name: str, is_package: bool) -> Module:
    """What a module's source says.

    Args:
        source: of the module.
        name: of the module, for relative imports.
        is_package: whether it is the ``__init__`` of a package.

    Raises:
        SyntaxError: it is no Python.
    """
    package = name if is_package else name.rpartition(".")[0]
    imports: dict[str, tuple[str, str | None]] = {}
    statements = []
    for node in ast.parse(source).body:
        if _for_type_checkers(node):
            continue
        imports |= dict(_imports(node, package))
        if isinstance(node, ast.Import | ast.ImportFrom) or _bare_text(node):
            continue
        statements.append(Statement(frozenset(_bound(node)), text(node), frozenset(_chains(node))))
    return Module(tuple(statements), imports)


@lru_cache(maxsize=512)
def fingerprint(source: bytes) -> str:
    """Hash of a module's syntax, imports included; the text itself where it is no Python."""
    try:
        return short_hash(text(ast.parse(source)))
    except (SyntaxError, ValueError):
        return short_hash(source.hex())


def short_hash(said: str) -> str:
    """16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def text(node: ast.AST) -> str:
    """The syntax of a node, without what changes no number."""
    parts: list[str] = []
    _write(node, parts)
    return "\0".join(parts)


def _write(node: object, parts: list[str]) -> None:
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node = ast.Raise(exc=node.exc.func, cause=None)
        for name in node._fields:
            value = getattr(node, name, None)
            if name in _IGNORED or value is None or value == []:
                continue
            if name == "annotation" and isinstance(node, ast.arg):
                continue
            parts.append(name)
            _write(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        for one in node:
            if not (isinstance(one, ast.stmt) and _bare_text(one)):
                _write(one, parts)
        parts.append("]")
    else:
        parts.append(repr(node))


def _bare_text(node: ast.AST) -> bool:
    """A docstring, or a text that stands as one."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and getattr(node.test, "id", None) == "TYPE_CHECKING"


def _imports(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """What the imports of a statement bind, those inside functions too."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            for alias in inner.names:
                whole = alias.asname is not None
                yield (
                    (alias.asname or alias.name.partition(".")[0]),
                    (
                        (alias.name if whole else alias.name.partition(".")[0]),
                        None,
                    ),
                )
        elif isinstance(inner, ast.ImportFrom):
            home = base(inner, package)
            for alias in inner.names:
                yield (alias.asname or alias.name), (home, alias.name)


def base(node: ast.ImportFrom, package: str) -> str:
    """The module that ``from ... import`` names.

    Args:
        node: the import.
        package: that the importing module lies in.
    """
    if not node.level:
        return node.module or ""
    above = package.split(".")
    above = above[: len(above) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in its module, those within ``if`` and ``try`` too."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Names with the attributes that are taken of them; annotations are not looked at."""
    if isinstance(node, ast.Attribute):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield (inner.id, *parts)
            return
    if isinstance(node, ast.Name):
        yield (node.id,)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _chains(child)
