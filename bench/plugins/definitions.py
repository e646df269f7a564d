"""Finds the text of a function's or class's definition in its file or notebook cell, and the names that it uses."""

from __future__ import annotations

import ast
import inspect
import linecache
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from flipbench.errors import UserError

_ANNOTATIONS = 0x1000000  # CO_FUTURE_ANNOTATIONS: annotations are text
_COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")  # run where they stand, unlike functions
FUTURE = "from __future__ import annotations\n"
_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourceError(UserError):
    """A function or class that cannot be sent to worker processes; the message says why and what to do."""


@dataclass(frozen=True)
class Definition:
    """Where a function or class is defined.

    Attributes:
        text: of the definition, with its decorators, flush left.
        node: its syntax tree.
        namespace: the global names that it sees.
        future: whether its annotations are never evaluated (``from __future__ import annotations``).
        at_once: global names that the definition itself needs: decorators, defaults, base classes, bodies of classes.
        later: global names that only the bodies of functions need.
        optional: names that it may do without: of annotations, and class attributes with the name of a global one.
    """

    text: str
    node: _Node
    namespace: Mapping[str, Any]
    future: bool
    at_once: frozenset[str]
    later: frozenset[str]
    optional: frozenset[str]


def find(value: Any, name: str) -> Definition:
    """The definition of a function or class, without the wrappers that its decorators made.

    Raises:
        SourceError: it is a lambda or closure, or its source is not there or not what it was compiled from.
    """
    if name == "<lambda>":
        raise SourceError("a lambda has no name for keys and tables: write it with def")
    if not isinstance(value, FunctionType | type):
        raise SourceError(f"{name} is {kind_of(value)}, not a function or a class that is written in Python")
    functions = [value] if isinstance(value, FunctionType) else list(_methods(value))
    for function in functions:
        _refuse_closure(name, [n for n in function.__code__.co_freevars if n != "__class__"])
    file, nodes, namespace = _places(value, name)
    if len(nodes) != 1:
        raise SourceError(
            f"the source of {name} cannot be found (it was typed at a plain Python prompt, in a cell that "
            "begins with %%, or made by exec): define it in a plain notebook cell or in a file"
        )
    node = nodes[0]
    lines = linecache.getlines(file, dict(namespace))
    text = _flush_left("".join(lines[_first_line(node) - 1 : node.end_lineno]), node)
    for function in functions:
        if function.__code__.co_filename == file and not _same_code(function.__code__, "".join(lines), text):
            raise SourceError(f"the source of {name} has changed since it was defined: run its definition again")
    future = any(f.__code__.co_flags & _ANNOTATIONS for f in functions)
    at_once, later, optional = _names(FUTURE + text if future else text, node)
    if "<locals>" in value.__qualname__:
        _refuse_closure(name, sorted(at_once & _locals_around(node, "".join(lines))))
    return Definition(text, node, namespace, future, at_once, later - at_once, optional - at_once - later)


def kind_of(value: Any) -> str:
    """``a Tensor``, ``an object``: the type of a value with its article."""
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def unwrapped(value: Any) -> Any:
    """The function under decorators that say what they wrap, and under numba's."""
    core = inspect.unwrap(value) if callable(value) else value
    return getattr(core, "py_func", core)


def wrappers(value: Any) -> int:
    """How many wrappers a function is in."""
    count = 0
    while (inner := getattr(value, "__wrapped__", None)) is not None:
        value, count = inner, count + 1
    return count


def _refuse_closure(name: str, used: list[str]) -> None:
    if used:
        raise SourceError(
            f"{name} is a closure: it uses {', '.join(used)} of the function that made it, and worker processes "
            f"cannot; pass what it needs as keyword-only options, like def {name}(..., *, {used[0]}=...) and "
            f"functools.partial({name}, {used[0]}=...)"
        )


def _places(value: Any, name: str) -> tuple[str, list[_Node], Mapping[str, Any]]:
    """File, definitions in it that can be meant, and global names."""
    if isinstance(value, type):
        return _places_of_class(value, name)
    code, namespace = value.__code__, value.__globals__
    nodes = [n for n in _nodes(code.co_filename, name, namespace) if _first_line(n) == code.co_firstlineno]
    return code.co_filename, nodes, namespace


def _places_of_class(value: type, name: str) -> tuple[str, list[_Node], Mapping[str, Any]]:
    """Where a class is defined: around its own methods, else in its module's file, else in a cell of the notebook."""
    module: Mapping[str, Any] = vars(sys.modules[value.__module__]) if value.__module__ in sys.modules else {}
    for method in _methods(value):
        file, line = method.__code__.co_filename, method.__code__.co_firstlineno
        around = [n for n in _nodes(file, name, method.__globals__) if _first_line(n) <= line <= (n.end_lineno or 0)]
        if around:
            return file, around[-1:], method.__globals__
    if "__file__" in module:
        return module["__file__"], _nodes(module["__file__"], name, module), module
    cells = [f for f in linecache.cache if f.startswith("<ipython-input-") or "ipykernel_" in f]
    nodes_of = {file: nodes for file in cells if (nodes := _nodes(file, name, module))}
    if len({ast.dump(node) for nodes in nodes_of.values() for node in nodes}) > 1:
        raise SourceError(f"several cells define {name}, and it has no method that tells which: give it another name")
    return next(((file, nodes[:1], module) for file, nodes in nodes_of.items()), ("", [], module))


def _nodes(file: str, name: str, namespace: Mapping[str, Any]) -> list[_Node]:
    """The definitions of a name in a file or a notebook cell."""
    linecache.checkcache(file)
    try:
        tree = ast.parse("".join(linecache.getlines(file, dict(namespace))))
    except (SyntaxError, ValueError):
        return []
    return [n for n in ast.walk(tree) if isinstance(n, _Node) and n.name == name]


def _methods(value: type) -> Iterator[FunctionType]:
    """The functions that the body of a class defines; not those that a decorator made."""
    for member in vars(value).values():
        inner = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
        core = inspect.unwrap(inner) if callable(inner) else inner
        own = isinstance(core, FunctionType) and core.__qualname__.startswith(value.__qualname__ + ".")
        if own and core.__module__ == value.__module__ and not core.__code__.co_filename.startswith("<string>"):
            yield core


def _first_line(node: _Node) -> int:
    return min(n.lineno for n in (node, *node.decorator_list))


def _flush_left(lines: str, node: _Node) -> str:
    """A definition that stands indented, without its indentation; texts of several lines in it stay as they are."""
    moved = textwrap.dedent(lines).rstrip() + "\n"
    try:
        alike = ast.dump(ast.parse(moved).body[0]) == ast.dump(node)
    except SyntaxError:  # a text of several lines stands further left
        alike = False
    return moved if alike else "if True:  # it stood indented\n" + lines.rstrip() + "\n"


def _same_code(code: CodeType, *texts: str) -> bool:
    """Whether one of some texts is what the function was compiled from.

    A script is compiled whole and a notebook cell statement by statement; what is imported above changes the code.
    """

    def within(outer: CodeType) -> Iterator[CodeType]:
        for inner in outer.co_consts:
            if isinstance(inner, CodeType):
                yield inner
                yield from within(inner)

    flags = code.co_flags & _ANNOTATIONS | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    wholes = (compile(text, "<source>", "exec", flags=flags, dont_inherit=True) for text in texts)
    same_name = (c for whole in wholes for c in within(whole) if c.co_name == code.co_name)
    return any(_shape(c) == _shape(code) for c in same_name)


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What a function does, apart from where it stands."""
    constants = tuple(_shape(c) if isinstance(c, CodeType) else (type(c), _plain(c)) for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants


def _plain(constant: Any) -> str:
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


def _names(text: str, node: _Node) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Global names of a definition: `Definition.at_once`, `later` and `optional`."""
    at_once, later, optional = set[str](), set[str](), set[str]()

    def visit(table: symtable.SymbolTable, deferred: bool) -> None:
        deferred |= table.get_type() == "function" and table.get_name() not in _COMPREHENSIONS
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
                (later if deferred else at_once).add(symbol.get_name())
            elif symbol.is_referenced() and table.get_type() == "class":
                optional.add(symbol.get_name())  # ``scale = scale * 2`` reads a global name
        for child in table.get_children():
            visit(child, deferred)

    visit(symtable.symtable(text, "<source>", "exec"), False)
    hints = [a.annotation for a in ast.walk(node) if isinstance(a, ast.arg | ast.AnnAssign) and a.annotation]
    hints += [f.returns for f in ast.walk(node) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) and f.returns]
    optional |= {n.id for hint in hints for n in ast.walk(hint) if isinstance(n, ast.Name)}
    return frozenset(at_once), frozenset(later), frozenset(optional)


def _locals_around(node: _Node, source: str) -> set[str]:
    """Names that the functions around a definition bind, itself apart."""
    bound: set[str] = set()
    for outer in ast.walk(ast.parse(source)):
        if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not outer.lineno < node.lineno <= (outer.end_lineno or 0):
            continue
        for inner in ast.walk(outer):
            if isinstance(inner, ast.arg):
                bound.add(inner.arg)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                bound.add(inner.id)
            elif isinstance(inner, _Node):
                bound.add(inner.name)
            elif isinstance(inner, ast.alias):
                bound.add((inner.asname or inner.name).partition(".")[0])
    return bound - {node.name}
