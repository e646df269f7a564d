"""Naming things in a grid: ``krum``, ``trimmed_mean(trim=3)``, ``path/rule.py:my_rule(k=2)``, ``nnm | median``.

A reference is a name with literal options. It is parsed without evaluating anything (Python's literal grammar), has
one canonical spelling (options sorted by name), and says nothing about what it names: `plugins.registry` resolves it.
A file whose path has brackets, a colon or ``|`` stands between quotes where its path could be read in two ways.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from flipbench.errors import UserError

_SHIPPED = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")  # the only names that may ever reach a path
_MODULE = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_FILE = re.compile(r"^(?:[A-Za-z]:[\\/])?[^\x00-\x1f:<>|()]+\.py:[A-Za-z_]\w*$")  # needs no quotes
_ANY_FILE = re.compile(r"[^\x00-\x1f\x7f]+\.py:[A-Za-z_]\w*")
_FILE_FIRST = re.compile(r"([^\x00-\x1f\x7f]+?\.py:[A-Za-z_]\w*)\s*((?:\(.*)?)", re.DOTALL)
_QUOTED = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*((?:\(.*)?)""", re.DOTALL)
CODE = re.compile(r"\bcode_[0-9a-f]{16}:")  # in front of a function that was passed in Python (`plugins.source_text`)
_LONGEST = 1000


class BadReference(UserError):
    """The text is not a reference; the message says what was needed."""


@dataclass(frozen=True)
class Reference:
    """A name with options.

    Attributes:
        name: a shipped name, ``pkg.mod:attribute`` or ``path/file.py:attribute``.
        options: literal keyword options, sorted by name.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.under(self.name if _plain(self.name) else repr(self.name))

    def under(self, name: str) -> str:
        """The text of the reference under another name, such as a label, which stands in it as it is."""
        if not self.options:
            return name
        return f"{name}({', '.join(f'{k}={_literal(v)}' for k, v in sorted(self.options.items()))})"

    def without(self, *names: str) -> Reference:
        """The same reference less some options."""
        return Reference(self.name, {k: v for k, v in self.options.items() if k not in names})

    def with_option(self, name: str, value: Any) -> Reference:
        """The same reference with one option set."""
        return Reference(self.name, {**self.options, name: value})


def parse(text: str) -> Reference:
    """Read one reference (no ``|``).

    Raises:
        BadReference: with what was needed, what came, and an example.
    """
    text = text.strip()
    if len(text) > _LONGEST:
        raise BadReference(f"a reference of {len(text)} characters is longer than {_LONGEST}")
    name, options = _named(text)
    if not options:
        return Reference(name)
    if not options.endswith(")"):
        raise BadReference(
            f"{_show(text)} lacks its closing bracket; write it like trimmed_mean(trim=3), and in a YAML list between "
            "quotes, or it is split at its commas"
        )
    return Reference(name, _options(text, options[1:-1]))


def parse_chain(text: str) -> tuple[Reference, ...]:
    """Read ``a | b(c=1)``: one or more references, applied from left to right."""
    parts = _split_top(text)
    if any(not p.strip() for p in parts):
        raise BadReference(f"{_show(text)} has an empty part between '|'; write it like 'nnm | trimmed_mean'")
    return tuple(parse(p) for p in parts)


@lru_cache(maxsize=65536)  # a grid of 100,000 cells has few distinct texts
def canonical(text: str) -> str:
    """The one spelling of a reference or a chain of them, for keys and tables."""
    return " | ".join(str(r) for r in parse_chain(text))


def from_mapping(value: Mapping[str, Any]) -> str:
    """``{name: ham10000, path: x.csv}`` in a grid is ``ham10000(path='x.csv')``."""
    if not isinstance(value.get("name"), str):
        raise BadReference("a reference written as a mapping needs a 'name', like {name: dirichlet, alpha: 0.5}")
    named = parse(value["name"])
    options = {k: v for k, v in value.items() if k != "name"}
    if twice := sorted(map(str, named.options.keys() & options.keys())):
        raise BadReference(f"the mapping gives {' and '.join(twice)} twice, once within its name; keep one")
    return str(Reference(named.name, {**named.options, **options}))


def _named(text: str) -> tuple[str, str]:
    """The name that a reference begins with, and its options with their brackets."""
    if text[:1] in ("'", '"'):
        return _between_quotes(text)
    name, bracket, rest = text.partition("(")
    file = _FILE_FIRST.fullmatch(text)
    if _plain(name.strip()) and not (file and bracket and _call(rest[:-1]) is None):
        return name.strip(), bracket + rest
    if file:
        return file[1], file[2]
    raise BadReference(
        f"{_show(name.strip())} is not a name: use a shipped one (lower case letters, digits, '_', '.', '-'), "
        "'pkg.mod:name' or 'path/file.py:name'"
    )


def _between_quotes(text: str) -> tuple[str, str]:
    if (quoted := _QUOTED.fullmatch(text)) is None:
        raise BadReference(f"{_show(text)} opens a quote: close it behind the name, like 'my (old)/rule.py:mine'(k=2)")
    try:
        name = str(ast.literal_eval(quoted[1]))
    except (SyntaxError, ValueError) as error:
        raise BadReference(f"{_show(quoted[1])} cannot be read as text between quotes; write \\ as \\\\") from error
    if not (_plain(name) or _ANY_FILE.fullmatch(name)):
        raise BadReference(f"{_show(name)} between quotes is not a name; quote a file like 'my (old)/rule.py:mine'")
    return name, quoted[2]


def _plain(name: str) -> bool:
    """Whether a name is one without quotes."""
    bare = name == name.strip() and name[:1] not in ("'", '"')
    return bare and any(form.match(name) for form in (_SHIPPED, _MODULE, _FILE))


def _options(text: str, inside: str) -> dict[str, Any]:
    if not inside.strip():
        return {}
    if (call := _call(inside)) is None:
        raise BadReference(
            f"the options of {_show(text)} cannot be read; write them like name(a=1, b=[2, 3]), and text in quotes, "
            "like name(path='/some/file')"
        )
    if call.args or any(k.arg is None for k in call.keywords):
        raise BadReference(f"the options of {_show(text)} need names; write them like name(a=1, b=[2, 3])")
    names = [str(k.arg) for k in call.keywords]
    if len(set(names)) < len(names):
        raise BadReference(f"{_show(text)} gives an option twice")
    return {str(k.arg): _value(text, k.value) for k in sorted(call.keywords, key=lambda k: str(k.arg))}


def _call(inside: str) -> ast.Call | None:
    """What stands between the brackets, as the arguments of a call; None where it is none."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    whole = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "f"
    return call if whole and isinstance(call, ast.Call) else None


def _value(text: str, node: ast.expr) -> Any:
    """A literal; a bare word is a string, and true, false, null read as in YAML."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None, "inf": float("inf")}.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(text, e) for e in node.elts]
    if isinstance(node, ast.Dict) and all(k is not None for k in node.keys):
        return {_value(text, k): _value(text, v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise BadReference(f"an option of {_show(text)} is not a plain number, text, list or mapping") from error
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise BadReference(f"an option of {_show(text)} is not a plain number, text, list or mapping")


def _split_top(text: str) -> list[str]:
    """Split at the '|' that stand outside brackets and quotes; an apostrophe within a name opens no quote."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote and not escaped else quote
            escaped = c == "\\" and not escaped
        elif c in "'\"" and (depth > 0 or not text[start:i].strip()):
            quote = c
        elif c == "(" or (c in "[{" and depth > 0):  # in the name of a file, [ and { mean nothing
            depth += 1
        elif c in ")]}" and depth > 0:
            depth -= 1
        elif c == "|" and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _show(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
