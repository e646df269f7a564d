"""The source of a function or class with all that it refers to, as the text of one module.

A notebook's functions cannot be imported by worker processes, and a cell's key must change with a function's body. So
the definition is cut out of its cell or script, and what it refers to follows: imports as import lines, simple
constants as literals, other functions and classes by their own definitions, recursively. The order is fixed, so that
the same code gives the same text in every kernel. What has no such form is refused by name.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import linecache
import math
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

from flipbench.errors import UserError
from flipbench.plugins import source_text

_ANNOTATIONS = 0x1000000  # CO_FUTURE_ANNOTATIONS: annotations are text
_FUTURE = "from __future__ import annotations\n"
_OWN_NAMES = {"__name__", "__doc__", "__builtins__", "__spec__", "__class__"}  # every module and class has its own
_HOLDERS = ("torch", "torch.nn.functional", "numpy", "math")  # of built-in functions that do not say where they are
_MAIN = ("__main__", "__mp_main__")
Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourceError(UserError):
    """A function or class that cannot be sent to worker processes; the message says why and what to do."""


def module_text(value: Any) -> str:
    """The module that defines a function or class, as text.

    Args:
        value: a function or class with a name.

    Raises:
        SourceError: a lambda, a closure, code without source, or something it refers to that has no text.
    """
    collector = _Collector(_name(value))
    collector.define(value)
    return collector.text()


def importable(value: Any) -> str | None:
    """The module that a fresh process can import a function or class from; None for a notebook's or a script's own."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module in _MAIN:
        return None
    return module if _can_import(module) and getattr(sys.modules.get(module), name, None) is value else None


def _can_import(module: str) -> bool:
    if module in _MAIN or module not in sys.modules:
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


class _Collector:
    """What a module's text is made of; filled by `define`."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.meant: dict[str, Any] = {}  # name -> what it stands for in this module
        self.future = False

    def text(self) -> str:
        """The module."""
        first = [f'"""{self.root}, as it was passed to flipbench in Python."""']
        first += [_FUTURE.rstrip()] if self.future else []
        parts = ["\n".join([*first, *sorted(self.imports)]), "\n".join(v for _, v in sorted(self.constants.items()))]
        return "\n\n".join(part for part in [*parts, *self.definitions.values()] if part) + "\n"

    def define(self, value: Any) -> None:
        """Add the definition of a function or class, and before it all that it refers to."""
        name = _name(value)
        if self._known(name, value):
            return
        core = _unwrapped(value)
        _refuse_what_has_no_source(core, name)
        text, node, namespace = _definition(core, name)
        if (wrapped := _wrappers(value)) > len(node.decorator_list):
            raise SourceError(
                f"{name} is a function with {wrapped} wrapper{'s' * (wrapped > 1)} that its definition does not show; "
                "write them as decorators above def"
            )
        parts = [core] if isinstance(core, FunctionType) else _methods(core)
        future = any(part.__code__.co_flags & _ANNOTATIONS for part in parts)
        self.future |= future
        required, welcome = _names(_FUTURE + text if future else text, node)
        for needed in sorted(required | welcome):
            if needed in namespace:
                try:
                    self._add(needed, namespace[needed], node, name)
                except SourceError:
                    if needed in required:
                        raise
            elif not hasattr(builtins, needed) and needed in required and needed not in _OWN_NAMES:
                raise SourceError(f"{name} uses {needed}, which is not defined where {name} is")
        self.definitions[name] = text + "".join(_attributes(value, name))

    def _known(self, name: str, value: Any) -> bool:
        """Whether a name stands for this value already; noted if it is new."""
        if name in self.meant and self.meant[name] is not value and self.meant[name] != value:
            raise SourceError(f"{self.root} uses two different things called {name}: rename one of them")
        known = name in self.meant
        self.meant[name] = value
        return known

    def _add(self, name: str, value: Any, node: ast.AST, user: str) -> None:
        """Make a global name mean in the text what it means in the notebook."""
        if name in _OWN_NAMES:
            return
        if isinstance(value, ModuleType):
            if not self._known(name, value):
                self._import_module(name, value, user)
            self.imports |= set(_submodules(name, value, node))
        elif (line := _import_line(name, value)) is not None:
            if not self._known(name, value):
                self._import(line, importable(value) or str(_holder(value)))
        elif isinstance(value, type) or callable(getattr(value, "__wrapped__", None)) or inspect.isfunction(value):
            self.define(value)
            if _name(value) != name and not self._known(name, value):
                self.definitions[f"{name} ="] = f"{name} = {_name(value)}"
        elif (literal := _literal(value)) is not None:
            if not self._known(name, value):
                self.constants[name] = f"{name} = {literal}"
                self.imports |= {"from pathlib import Path"} if "Path(" in literal else set()
        else:
            raise SourceError(
                f"{user} uses {name}, {_kind_of(value)} that cannot be written as source: make or load it inside the "
                "function, or pass what it holds as a keyword-only option"
            )

    def _import_module(self, name: str, module: ModuleType, user: str) -> None:
        if not _can_import(module.__name__):
            raise SourceError(f"{user} uses the module {name}, which a worker process cannot import")
        line = f"import {module.__name__}" + ("" if module.__name__ == name else f" as {name}")
        self._import(line, module.__name__)

    def _import(self, line: str, module: str) -> None:
        self.imports.add(line)
        if (content := source_text.uses(module)) is not None:
            self.imports.add(content)


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _kind_of(value: Any) -> str:
    kind = type(value)
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"


def _unwrapped(value: Any) -> Any:
    """The function under decorators that say what they wrap, and under numba's."""
    core = inspect.unwrap(value) if callable(value) else value
    return getattr(core, "py_func", core)


def _wrappers(value: Any) -> int:
    """How many wrappers a function is in."""
    count = 0
    while (inner := getattr(value, "__wrapped__", None)) is not None:
        value, count = inner, count + 1
    return count


def _refuse_what_has_no_source(value: Any, name: str) -> None:
    if name == "<lambda>":
        raise SourceError("a lambda has no name for keys and tables: write it with def")
    if not isinstance(value, FunctionType | type):
        raise SourceError(f"{name} is {_kind_of(value)}, not a function or a class that is written in Python")
    code = getattr(value, "__code__", None)
    if code is not None and code.co_freevars:
        listed = ", ".join(code.co_freevars)
        raise SourceError(
            f"{name} is a closure: it uses {listed} of the function that made it, and worker processes cannot; "
            f"pass what it needs as keyword-only options, like def {name}(..., *, {code.co_freevars[0]}=...) and "
            f"functools.partial({name}, {code.co_freevars[0]}=...)"
        )


def _definition(value: Any, name: str) -> tuple[str, Defined, Mapping[str, Any]]:
    """The text of a definition, its syntax tree, and the names that it sees."""
    if isinstance(value, FunctionType):
        code = value.__code__
        found = [n for n in _nodes(code.co_filename, name, value.__globals__) if _first_line(n) == code.co_firstlineno]
        namespace: Mapping[str, Any] = value.__globals__
        file = code.co_filename
    else:
        file, found, namespace = _class_nodes(value, name)
    if len(found) != 1:
        raise SourceError(
            f"the source of {name} cannot be found (it was typed at a plain Python prompt, or made by exec): define it "
            "in a notebook cell or in a file"
        )
    node = found[0]
    lines = linecache.getlines(file, dict(namespace))[_first_line(node) - 1 : node.end_lineno]
    text = _flush_left("".join(lines), node)
    if isinstance(value, FunctionType) and not _same_code(value.__code__, "".join(linecache.getlines(file)), text):
        raise SourceError(f"the source of {name} has changed since it was defined: run its definition again")
    return text, node, namespace


def _nodes(file: str, name: str, namespace: Mapping[str, Any]) -> list[Defined]:
    """The definitions of a name in a file or a notebook cell."""
    linecache.checkcache(file)
    try:
        tree = ast.parse("".join(linecache.getlines(file, dict(namespace))))
    except (SyntaxError, ValueError):
        return []
    return [n for n in ast.walk(tree) if isinstance(n, Defined) and n.name == name]


def _class_nodes(value: type, name: str) -> tuple[str, list[Defined], Mapping[str, Any]]:
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
    found = {file: nodes for file in cells if (nodes := _nodes(file, name, module))}
    if len(found) > 1:
        raise SourceError(f"several cells define {name}, and it has no method that tells which: give it another name")
    return next(((file, nodes, module) for file, nodes in found.items()), ("", [], module))


def _methods(value: type) -> Iterator[FunctionType]:
    """The functions that the body of a class defines; not those that a decorator made."""
    for member in vars(value).values():
        inner = getattr(member, "__func__", getattr(member, "fget", member))
        core = inspect.unwrap(inner) if callable(inner) else inner
        own = isinstance(core, FunctionType) and core.__qualname__.startswith(value.__qualname__ + ".")
        if own and not core.__code__.co_filename.startswith("<string>"):
            yield core


def _first_line(node: Defined) -> int:
    return min(n.lineno for n in (node, *node.decorator_list))


def _flush_left(lines: str, node: Defined) -> str:
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


def _names(text: str, node: Defined) -> tuple[set[str], set[str]]:
    """Global names that a definition needs, and those that only its annotations have."""
    required: set[str] = set()

    def visit(table: symtable.SymbolTable, top: bool) -> None:
        required.update(s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global()))
        for child in table.get_children():
            visit(child, False)

    visit(symtable.symtable(text, "<source>", "exec"), True)
    hints = [a.annotation for a in ast.walk(node) if isinstance(a, ast.arg | ast.AnnAssign) and a.annotation]
    hints += [f.returns for f in ast.walk(node) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) and f.returns]
    welcome = {n.id for hint in hints for n in ast.walk(hint) if isinstance(n, ast.Name)}
    return required, welcome - required


def _submodules(name: str, module: ModuleType, node: ast.AST) -> Iterator[str]:
    """Imports of submodules that a definition reaches through a module's name: ``scipy.stats.norm``."""
    for chain in ast.walk(node):
        parts: list[str] = []
        while isinstance(chain, ast.Attribute):
            parts.insert(0, chain.attr)
            chain = chain.value
        if isinstance(chain, ast.Name) and chain.id == name:
            path = module.__name__
            for part in parts:
                path = f"{path}.{part}"
                if not isinstance(sys.modules.get(path), ModuleType):
                    break
                yield f"import {path}"


def _holder(value: Any) -> str | None:
    """The package or module nearest the top that a fresh process can import a value from by its own name.

    Where inside ``torch`` or ``flipbench.aggregators`` it is defined may change with the version; no key should.
    """
    home, name = importable(value), _own_name(value)
    parts = (home or "").split(".")
    tops = [".".join(parts[: i + 1]) for i in range(len(parts))] if home else []
    for holder in (*tops, getattr(value, "__module__", None), type(value).__module__, *_HOLDERS):
        if not isinstance(holder, str) or holder == "builtins" or not _can_import(holder):
            continue
        if name.isidentifier() and getattr(sys.modules[holder], name, None) is value:
            return holder
    return None


def _own_name(value: Any) -> str:
    """The name under which a module holds a value: of a function, of ``typing.Any``, of ``torch.float32``."""
    return str(getattr(value, "__name__", None) or getattr(value, "_name", None) or str(value).rpartition(".")[2])


def _import_line(name: str, value: Any) -> str | None:
    """``from torch import Tensor as Updates``; None for what a fresh process cannot import."""
    if (holder := _holder(value)) is None:
        return None
    own = _own_name(value)
    return f"from {holder} import {own}" + ("" if own == name else f" as {name}")


def _literal(value: Any) -> str | None:
    """A simple constant as source: numbers, texts, paths, and lists, tuples, sets and mappings of them."""
    if value is None or type(value) in (bool, int, str, bytes, complex):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float('{value}')"
    if isinstance(value, PurePath):
        return f"Path({str(value)!r})"
    if type(value) in (list, tuple, set, frozenset):
        parts = [_literal(v) for v in value]
        if None in parts:
            return None
        inside = ", ".join(sorted(map(str, parts)) if isinstance(value, set | frozenset) else map(str, parts))
        forms: dict[type, str] = {list: f"[{inside}]", tuple: f"({inside}{',' * (len(parts) == 1)})"}
        return forms.get(type(value), f"{type(value).__name__}([{inside}])")
    if type(value) is dict:
        pairs = [(_literal(k), _literal(v)) for k, v in value.items()]
        return None if any(None in pair for pair in pairs) else "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
    return None


def _attributes(value: Any, name: str) -> Iterator[str]:
    """Lines that set what was set on a function after its definition, like ``my_attack.adaptive = True``."""
    if isinstance(value, FunctionType):
        for attribute, held in sorted(vars(value).items()):
            if attribute == "__wrapped__":
                continue
            if (literal := _literal(held)) is None:
                raise SourceError(f"{name}.{attribute} is {_kind_of(held)}, which cannot be written as source")
            yield f"{name}.{attribute} = {literal}\n"
