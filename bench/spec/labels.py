"""Labels of fields and values: ``targeted(source=4, target=6)`` on HAM10000 is "targeted nv→mel", 0.3 is "30 %"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from flipbench.errors import UserError
from flipbench.spec.cell import CLEAN
from flipbench.spec.field_groups import LATER, OPEN_ENDED, PERCENT, TABLE
from flipbench.spec.reference import Reference, parse, parse_chain

ADAPTIVE = "†"  # behind the name of an attack that knows the rule it faces
_OF_CLASSES = ("source", "target", "first", "second")
_LONGEST = 200
_FUNCTION = re.compile(r"\bcode_([0-9a-f]{16}):(\w+)")
_APART: ContextVar[Mapping[str, str]] = ContextVar("_APART", default=MappingProxyType({}))  # reference -> label


def printable(text: str, longest: int = _LONGEST) -> str:
    """Text on one line: what cannot be seen (line ends, control and direction marks) becomes a visible mark."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def field_label(field: str) -> str:
    """The name of a field for axes and headings."""
    return TABLE[field].label if field in TABLE else field.replace("_", " ")


def value_label(field: str, value: Any) -> str:
    """A value of a field; shares in per cent, null as "none" (as "the last" of the last attacked round)."""
    if is_nothing(value):
        return OPEN_ENDED.get(field, "none")
    if field in PERCENT:
        return f"{percent(value)} %"
    if field == "dataset":
        return dataset_label(str(value))
    return printable(f"{value:g}" if isinstance(value, float) else bare(str(value)))


def percent(share: float) -> str:
    """A share in per cent, with one decimal where it needs one: 0.3 is 30, 1/3 is 33.3."""
    return f"{round(100 * float(share), 1):g}"


def is_nothing(value: Any) -> bool:
    """None, or the NaN that pandas makes of it."""
    return value is None or value != value


def dataset_label(text: str) -> str:
    """A data set without the place where its file lies, which changes no number."""
    try:
        return printable(bare(str(parse(text).without("path"))))
    except UserError:
        return printable(text)


def short_name(name: str) -> str:
    """A reference's name without the folder of its file; of a function that was passed in Python the bare name."""
    return bare(name.rpartition("/")[2])


def bare(text: str) -> str:
    """Text without the hashes of functions that were passed in Python, except within `telling_apart`."""
    labels = _APART.get()
    return _FUNCTION.sub(lambda found: labels.get(found[0], found[2]), text)


@contextmanager
def telling_apart(references: Iterable[str]) -> Iterator[None]:
    """Inside, functions of one name are labelled ``same@3f2a`` and ``same@91b0``: the first characters of their hashes.

    Args:
        references: all that are shown together.
    """
    hashes: dict[str, set[str]] = {}
    for found in (found for reference in references for found in _FUNCTION.finditer(reference)):
        hashes.setdefault(found[2], set()).add(found[1])
    labels: dict[str, str] = {}
    for name, several in hashes.items():
        length = next(n for n in range(4, 17) if len({h[:n] for h in several}) == len(several))
        labels |= {f"code_{h}:{name}": f"{name}@{h[:length]}" for h in several if len(several) > 1}
    before = _APART.set(labels)
    try:
        yield
    finally:
        _APART.reset(before)


def aggregator_label(text: str) -> str:
    """A rule or chain; of a rule in a file only the file's name, not its folder."""
    try:
        chain = parse_chain(text)
    except UserError:
        return printable(text)
    return printable(" | ".join(str(Reference(short_name(r.name), r.options)) for r in chain))


def attack_label(text: str, classes: Sequence[str] = ()) -> str:
    """An attack, or a chain of them, with the names of its classes in place of their numbers."""
    if text == CLEAN:
        return "clean"
    try:
        return printable(" | ".join(_attack(link, classes) for link in parse_chain(text)))
    except UserError:
        return printable(text)


def _attack(link: Reference, classes: Sequence[str]) -> str:
    sides = [_classes(link.options[o], classes) for o in _OF_CLASSES if o in link.options]
    if "mapping" in link.options and isinstance(link.options["mapping"], Mapping):
        pairs = link.options["mapping"].items()
        sides = [_classes([s for s, _ in pairs], classes), _classes([t for _, t in pairs], classes)]
    rest = link.without(*_OF_CLASSES, "mapping")
    plugin = ":" in rest.name  # an author's names stay as they are written
    name = str(Reference(short_name(rest.name), rest.options))
    name = name if plugin else name.replace("_", " ", 2)
    arrow = "↔" if "first" in link.options else "→"
    if len(sides) == 1:
        return f"{name} {sides[0][0]}"
    return " ".join([name, ", ".join(f"{s}{arrow}{t}" for s, t in zip(*sides, strict=False))]).strip()


def mapping_label(mapping: Sequence[tuple[int, int]], classes: Sequence[str]) -> str:
    """A class map: "0→9, 1→7"; "all→4" where every other class goes to one."""
    targets = {t for _, t in mapping}
    if len(targets) == 1 and len(mapping) > 2 and {s for s, _ in mapping} >= set(range(len(classes))) - targets:
        return f"all→{class_name(next(iter(targets)), classes)}"
    return printable(", ".join(f"{class_name(s, classes)}→{class_name(t, classes)}" for s, t in mapping))


def class_name(index: Any, classes: Sequence[str]) -> str:
    """The name of a class; its number where there is no such class."""
    known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(classes)
    return printable(classes[index] if known else str(index), 24)


def _classes(value: Any, classes: Sequence[str]) -> list[str]:
    return [class_name(v, classes) for v in (value if isinstance(value, list | tuple) else [value])]


def slug(text: str) -> str:
    """A part of a file name: lower-case letters, digits and hyphens, whatever the text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("→", "-to-")).strip("-")[:60].strip("-") or "x"


def labelled(fields: Iterable[str], values: Iterable[Any]) -> list[str]:
    """Fields with their values, as "malicious fraction 20 %"; of more fields than values the first."""
    return [f"{field_label(f)} {value_label(f, v)}" for f, v in zip(fields, values, strict=False)]


def fields_line(values: Mapping[str, Any]) -> str:
    """Fields that hold for a whole table, on one line; left out are null and later fields at their usual value."""
    shown_values = {f: v for f, v in values.items() if not is_nothing(v) and LATER.get(f) != v}
    return ", ".join(labelled(shown_values, shown_values.values()))
