"""YAML with the position of every value, and without YAML 1.1's traps.

Built from PyYAML's parse events, never through a constructor, so a file can make nothing but text, numbers, true,
false, null, lists and mappings. Scalars follow YAML 1.2's core schema: ``1e-3`` is a number; ``no``, ``on`` and
``12:30`` are text; ``010`` and ``1_000``, which are read as 8 and 1000 by some and as text by others, are refused.
Keys given twice are refused with both positions. Size, nodes, nesting and what aliases expand to are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import yaml

MAX_BYTES = 1 << 20
MAX_NODES = 50_000  # aliases counted as what they expand to
MAX_DEPTH = 20

Scalar = str | int | float | bool | None

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_UNCLEAR = re.compile(r"[-+]?(0[0-9]+|0[xX][0-9a-fA-F]+|0o[0-7]+|[0-9]+(_[0-9]+)+)$")
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
        size: nodes in it, aliases counted as what they expand to.
        depth: levels of nesting in it; 0 for a scalar.
    """

    line: int
    column: int
    value: Any
    kind: str = "scalar"
    size: int = 1
    depth: int = 0

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


def node_of(value: Any, line: int = 0, column: int = 0) -> Node:
    """A node for a value that comes from no file."""
    if isinstance(value, list):
        return Node(line, column, [node_of(v, line, column) for v in value], "list")
    if isinstance(value, dict):
        pairs = [(Node(line, column, k), node_of(v, line, column)) for k, v in value.items()]
        return Node(line, column, pairs, "mapping")
    return Node(line, column, value)


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
    builder = _Builder()
    for event in _events(text):
        builder.take(event)
    return builder.document(), tuple(builder.problems)


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line, column = _position(text, error.position)
        raise YamlError(Problem(line, column, f"character U+{int(error.character):04X} is not allowed")) from error
    try:
        while loader.check_event():
            event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
            yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        said = ", ".join(t for t in (error.context, error.problem) if t)
        raise YamlError(Problem(mark.line + 1, mark.column + 1, f"{said}{_hint(said)}")) from error
    except (ValueError, OverflowError) as error:  # "\UFFFFFFFF" and the like reach chr()
        mark = loader.get_mark()
        raise YamlError(Problem(mark.line + 1, mark.column + 1, f"an escape that is no character: {error}")) from error
    finally:
        loader.dispose()


def _hint(said: str) -> str:
    if "\\t" in said:
        return "; indent with spaces, not tabs"
    if "mapping values are not allowed" in said:
        return "; put quotes around text that contains ': '"
    return ""


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    line: int
    column: int
    kind: str
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)
    keys: dict[Any, Node] = field(default_factory=dict)


class _Builder:
    """Nodes from events, without recursion: a thousand opening brackets are an error, not a crash."""

    def __init__(self) -> None:
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.count = 0

    def take(self, event: yaml.Event) -> None:
        mark = cast(yaml.Mark, event.start_mark)
        line, column = mark.line + 1, mark.column + 1
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise YamlError(Problem(line, column, "a second document starts here; a grid is one document"))
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            self._refuse_tag(event, line, column)
        if isinstance(event, yaml.ScalarEvent):
            text_only = not event.implicit[0]
            value = event.value if text_only else self._scalar(event.value, line, column)
            self._add(Node(line, column, value), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise YamlError(
                    Problem(line, column, f"*{event.anchor} has no finished anchor &{event.anchor} before it")
                )
            self._add(replace(self.anchors[event.anchor], line=line, column=column), None)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self.open) >= MAX_DEPTH:
                raise YamlError(Problem(line, column, f"nested deeper than {MAX_DEPTH} levels"))
            kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "mapping"
            self.open.append(_Open(line, column, kind, event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def document(self) -> Node:
        if self.root is None:
            raise YamlError(Problem(1, 1, "the file is empty"))
        return self.root

    def _close(self) -> None:
        done = self.open.pop()
        n = done.nodes
        value: Any = n
        if done.kind == "mapping":  # of a key given twice the first counts
            value = [
                (k, v) for k, v in zip(n[::2], n[1::2], strict=True) if k.kind == "scalar" and done.keys[k.value] is k
            ]
        depth = 1 + max((x.depth for x in n), default=0)
        self._add(Node(done.line, done.column, value, done.kind, 1 + sum(x.size for x in n), depth), done.anchor)

    def _add(self, node: Node, anchor: str | None) -> None:
        self.count += 1
        if max(node.size, self.count) > MAX_NODES:
            raise YamlError(Problem(node.line, node.column, f"more than {MAX_NODES:,} values, aliases written out"))
        if len(self.open) + node.depth > MAX_DEPTH:
            raise YamlError(
                Problem(node.line, node.column, f"nested deeper than {MAX_DEPTH} levels, aliases written out")
            )
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if parent.kind == "mapping" and len(parent.nodes) % 2 == 0:
            self._check_key(parent, node)
        parent.nodes.append(node)

    def _refuse_tag(self, event: Any, line: int, column: int) -> None:
        if event.tag not in (None, "!"):
            raise YamlError(Problem(line, column, f"the tag {event.tag!r} is not allowed; write the plain value"))

    def _check_key(self, parent: _Open, key: Node) -> None:
        if key.kind != "scalar":
            self._problem(key.line, key.column, "a key must be plain text, not a list or mapping")
        elif (first := parent.keys.setdefault(key.value, key)) is not key:
            text = f"the key {key.value!r} is given twice; the first is at {first.line}:{first.column}; keep one"
            self._problem(key.line, key.column, text)

    def _scalar(self, text: str, line: int, column: int) -> Scalar:
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > 300:  # no number is longer
            return text
        if _INT.match(text):
            return int(text)
        if _UNCLEAR.match(text):
            hint = f"write a decimal number without leading zeros or '_', or '{text}' in quotes for text"
            self._problem(line, column, f"{text} is read differently by different YAML readers; {hint}")
        elif _FLOAT.match(text):
            return float(text)
        return text

    def _problem(self, line: int, column: int, text: str) -> None:
        self.problems.append(Problem(line, column, text))
