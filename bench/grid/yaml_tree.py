"""YAML with the position of every value, and without YAML 1.1's traps.

Composed by PyYAML without its constructors, so a file can make nothing but text, numbers, true, false, null, lists and
mappings. Scalars follow YAML 1.2's core schema: ``1e-3`` is a number; ``no``, ``on`` and ``12:30`` are text; ``010``
and ``1_000``, which are read as 8 and 1000 by some and as text by others, are refused.
Keys given twice are refused with both positions. Size, nodes, nesting and what aliases expand to are bounded.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_NODES = 50_000  # aliases counted as what they expand to
MAX_DEPTH = 20
_TOO_MANY = f"more than {MAX_NODES:,} values, aliases written out"

Scalar = str | int | float | bool | None

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNCLEAR = re.compile(r"[-+]?(0[0-9]+|0[xX][0-9a-fA-F]+|0o[0-7]+|[0-9]+(_[0-9]+)+)")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {w: b for b, ws in {True: ("true", "True", "TRUE"), False: ("false", "False", "FALSE")}.items() for w in ws}
_WORDS |= {s + w: float(s + "inf") for s in ("", "+", "-") for w in (".inf", ".Inf", ".INF")}


@dataclass(frozen=True)
class Problem:
    """A mistake and where it is; line and column count from 1."""

    line: int
    column: int
    text: str


class YamlError(ValueError):
    """The text is no YAML that this reader takes."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.line}:{problem.column}: {problem.text}")
        self.problem = problem


@dataclass(frozen=True)
class Node:
    """A value with its position; line and column count from 1.

    Attributes:
        line: of its first character.
        column: of its first character.
        value: a scalar, a list of nodes, or a list of (key node, value node).
        kind: ``scalar``, ``list`` or ``mapping``.
    """

    line: int
    column: int
    value: Any
    kind: str = "scalar"

    @property
    def items(self) -> list[Node]:
        """The nodes of a list."""
        return self.value if self.kind == "list" else []

    @property
    def pairs(self) -> list[tuple[Node, Node]]:
        """The (key, value) nodes of a mapping."""
        return self.value if self.kind == "mapping" else []


def plain(node: Node) -> Any:
    """The node as Python's scalars, lists and dicts."""
    if node.kind == "list":
        return [plain(n) for n in node.items]
    if node.kind == "mapping":
        return {k.value: plain(v) for k, v in node.pairs}
    return node.value


def decode(data: bytes) -> str:
    """UTF-8 (a byte-order mark is dropped).

    Raises:
        YamlError: too long, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise YamlError(Problem(1, 1, f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are read"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = _position(before, len(before))
        raise YamlError(
            Problem(line, column, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
        ) from error


def compose(text: str) -> tuple[Node, tuple[Problem, ...]]:
    """The tree of the one document in a text, and the mistakes that do not keep it from being read on.

    Raises:
        YamlError: a mistake that does; with the position and what to do.
    """
    loader = _loader(text)
    try:
        root = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            event = loader.peek_event()  # type: ignore[no-untyped-call]
            raise _refused(event, "a second document starts here; a grid is one document")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        reason = ", ".join(t for t in (error.context, error.problem) if t)
        raise YamlError(Problem(mark.line + 1, mark.column + 1, f"{reason}{_hint(reason)}")) from error
    except YamlError:
        raise
    except (ValueError, OverflowError) as error:  # "\UFFFFFFFF" and the like reach chr()
        mark = loader.get_mark()
        raise YamlError(Problem(mark.line + 1, mark.column + 1, f"an escape that is no character: {error}")) from error
    finally:
        loader.dispose()
    if root is None:
        raise YamlError(Problem(1, 1, "the file is empty"))
    converter = _Converter()
    return converter.node(root), tuple(converter.problems)


def _loader(text: str) -> _Loader:
    try:
        return _Loader(text)
    except yaml.reader.ReaderError as error:
        line, column = _position(text, error.position)
        raise YamlError(Problem(line, column, f"character U+{int(error.character):04X} is not allowed")) from error


def _hint(reason: str) -> str:
    if "\\t" in reason:
        return "; indent with spaces, not tabs"
    if "mapping values are not allowed" in reason:
        return "; put quotes around text that contains ': '"
    return ""


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


class _Loader(yaml.BaseLoader):
    """PyYAML's composer; an alias keeps its own position, tags are refused, nodes and nesting are bounded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0
        self.finished: set[str] = set()  # anchors whose node has ended

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node of the text; not deeper than `MAX_DEPTH`, so that many brackets are an error, not a crash."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.finished:
                raise _refused(event, f"*{event.anchor} has no finished anchor &{event.anchor} before it")
            node: yaml.Node = copy(self.anchors[event.anchor])
            node.start_mark, node.alias = event.start_mark, True  # type: ignore[attr-defined]
            self.get_event()  # type: ignore[no-untyped-call]
            return node
        if event.tag not in (None, "!"):
            raise _refused(event, f"the tag {event.tag!r} is not allowed; write the plain value")
        nested = isinstance(event, yaml.CollectionStartEvent)
        if nested and self.depth >= MAX_DEPTH:
            raise _refused(event, f"nested deeper than {MAX_DEPTH} levels")
        self.count += 1
        if self.count > MAX_NODES:
            raise _refused(event, _TOO_MANY)
        self.anchors.pop(event.anchor, None)  # YAML lets an anchor be given again
        self.finished.discard(event.anchor)
        self.depth += nested
        composed = super().compose_node(parent, index)
        self.depth -= nested
        self.finished.add(event.anchor)
        return composed


def _refused(at: Any, text: str) -> YamlError:
    """A mistake at the start of an event or node."""
    return YamlError(Problem(at.start_mark.line + 1, at.start_mark.column + 1, text))


class _Converter:
    """Nodes with values from PyYAML's nodes, aliases written out; mistakes that can be read over are collected."""

    def __init__(self) -> None:
        self.problems: dict[Problem, None] = {}  # what aliases repeat is said once
        self.count = 0

    def node(self, node: Any, depth: int = 0, alias: Any = None) -> Node:
        """Convert a node with all that is in it.

        Args:
            node: of PyYAML.
            depth: lists and mappings around it.
            alias: the outermost alias that it is written out for, if any.

        Raises:
            YamlError: too many nodes, or nested too deep.
        """
        alias = alias or (node if hasattr(node, "alias") else None)
        self.count += 1
        if self.count > MAX_NODES:
            raise _refused(alias or node, _TOO_MANY)
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if isinstance(node, yaml.ScalarNode):
            return Node(line, column, node.value if node.style else self._scalar(node.value, line, column))
        if depth >= MAX_DEPTH:
            raise _refused(alias or node, f"nested deeper than {MAX_DEPTH} levels, aliases written out")
        if isinstance(node, yaml.SequenceNode):
            return Node(line, column, [self.node(item, depth + 1, alias) for item in node.value], "list")
        pairs: dict[Any, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            key = self.node(key_node, depth + 1, alias)
            if key.kind != "scalar":
                self._wrong(key.line, key.column, "a key must be plain text, not a list or mapping")
            elif key.value in pairs:
                first, _ = pairs[key.value]
                text = f"the key {key.value!r} is given twice; the first is at {first.line}:{first.column}; keep one"
                self._wrong(key.line, key.column, text)
            value = self.node(value_node, depth + 1, alias)
            if key.kind == "scalar":
                pairs.setdefault(key.value, (key, value))  # of a key given twice the first counts
        return Node(line, column, list(pairs.values()), "mapping")

    def _scalar(self, text: str, line: int, column: int) -> Scalar:
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > 300:  # no number is longer
            return text
        if _INT.fullmatch(text):
            return int(text)
        if _UNCLEAR.fullmatch(text):
            hint = f"write a decimal number without leading zeros or '_', or '{text}' in quotes for text"
            self._wrong(line, column, f"{text} is read differently by different YAML readers; {hint}")
        elif _FLOAT.fullmatch(text):
            return float(text)
        return text

    def _wrong(self, line: int, column: int, text: str) -> None:
        self.problems[Problem(line, column, text)] = None


def kind_of(node: Node) -> str:
    """What a node is, for a message about it."""
    if node.kind != "scalar":
        return f"a {node.kind}"
    return "nothing" if node.value is None else f"{node.value!r}"
