"""Labels of fields and values: ``targeted(source=4, target=6)`` on HAM10000 is "targeted nv→mel", 0.3 is "30 %".

A label leaves out what nothing needs: the folder of a plug-in's file, the place of a data file, digits, the hash of a
function that was passed in Python. Within `telling_apart` it has as much of that as tells it from the labels of all
that is shown together, and the labels that the grid gives (`labels:`) stand in place of what they name.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from typing import Any

from flipbench.errors import UserError
from flipbench.spec.cell import CLEAN
from flipbench.spec.distinct_texts import LONGEST, Way, distinct, ending, escaped, fitted, printable
from flipbench.spec.field_groups import LATER, OPEN_ENDED, PERCENT, TABLE
from flipbench.spec.reference import Reference, parse_chain

ADAPTIVE = "†"  # behind the name of an attack that knows the rule it faces
ANYWHERE = ""  # in place of a field: a label of a reference in whatever field it stands
PLACES = ("path", "metadata")  # options of a data set that say where its files lie
_OF_CLASSES = ("source", "target", "first", "second")
_LONGEST_CLASS = 24
_FUNCTION = re.compile(r"\bcode_([0-9a-f]{16}):(\w+)")
_DEPTHS = range(1, 10)
_WHOLE = 2000  # characters of a text that is told apart before it is cut

Given = Sequence[tuple[str, Any, str]]  # field or `ANYWHERE`, value, label


@dataclass(frozen=True)
class _Shown:
    """All that is shown together, and how it is labelled.

    Attributes:
        values: field -> the values that are shown.
        given: (field or `ANYWHERE`, value) -> the label that the grid gives.
    """

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    given: Mapping[tuple[str, Any], str] = field(default_factory=dict)
    of_attacks: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    of_fields: dict[str, dict[Any, str]] = field(default_factory=dict)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Name of a reference -> its label, of all in every field: one file name in two folders is told apart."""
        texts = [v for values in self.values.values() for v in values if isinstance(v, str)]
        links = [link for text in dict.fromkeys(texts) for link in _links(text)]
        options = (v for link in links for v in link.options.values() if isinstance(v, str))
        found = [f"code_{m[1]}:{m[2]}" for text in options for m in _FUNCTION.finditer(text)]
        return distinct([*(link.name for link in links), *found], *_WAYS)

    @cached_property
    def places(self) -> Mapping[str, Mapping[str, str]]:
        """Name of a data set -> place of its files -> label, where there are several places."""
        known: dict[str, dict[str, None]] = {}
        for text in self.values.get("dataset", ()):
            for link in _links(str(text)):
                known.setdefault(link.name, {}).setdefault(_place(link))
        ways: list[Way[str]] = [*map(_ends, _DEPTHS), str, escaped]
        return {name: distinct(there, *ways) for name, there in known.items() if len(there) > 1}

    def labels(self, name: str) -> Mapping[Any, str]:
        """Value -> label, of one field."""
        if name not in self.of_fields:
            ways: list[Any] = [lambda v: _value(name, v)]
            if name in PERCENT:
                ways += [lambda v, more=more: f"{percent(v, more)} %" for more in range(2, 20)]
            ways += [repr, lambda v: escaped(str(v))]
            values = (v for v in self.values.get(name, ()) if isinstance(v, Hashable) and not is_nothing(v))
            self.of_fields[name] = _cut(distinct(values, *ways))
        return self.of_fields[name]

    def attacks(self, classes: tuple[str, ...]) -> Mapping[str, str]:
        """Attack -> label, with the names of the classes of one data set."""
        if classes not in self.of_attacks:
            ways = (lambda v: _attacks(v, classes), lambda v: _attacks(v, ()), bare, str, escaped)
            self.of_attacks[classes] = _cut(distinct(map(str, self.values.get("attack", ())), *ways))
        return self.of_attacks[classes]


def _cut(texts: Mapping[Any, str]) -> dict[Any, str]:
    """Labels of at most `LONGEST` characters."""
    short = fitted(texts.values(), LONGEST)
    return {value: short[text] for value, text in texts.items()}


_ALONE = _Shown()  # nothing is told apart
_SHOWN: ContextVar[_Shown] = ContextVar("_SHOWN", default=_ALONE)


@contextmanager
def telling_apart(values: Mapping[str, Iterable[Any]], given: Given = ()) -> Iterator[None]:
    """Inside, different values of a field have different labels, the shortest that tell them apart.

    Args:
        values: field -> all its values that are shown together.
        given: labels of the grid.
    """
    known = {(name, value): printable(label) for name, value, label in given}
    before = _SHOWN.set(_Shown({name: list(dict.fromkeys(several)) for name, several in values.items()}, known))
    try:
        yield
    finally:
        _SHOWN.reset(before)


def field_label(field: str) -> str:
    """The name of a field for axes and headings."""
    return TABLE[field].label if field in TABLE else field.replace("_", " ")


def value_label(field: str, value: Any) -> str:
    """A value of a field; shares in per cent, null as "none" (as "the last" of the last attacked round)."""
    if field == "attack":
        return attack_label(str(value))
    known = _SHOWN.get().labels(field) if isinstance(value, Hashable) and not is_nothing(value) else {}
    return known[value] if value in known else printable(_value(field, value))


def _value(field: str, value: Any) -> str:
    """The label of a value by itself."""
    if is_nothing(value):
        return OPEN_ENDED.get(field, "none")
    if (own := _given(value, field)) is not None:
        return own
    if field in PERCENT:
        return f"{percent(value)} %"
    if isinstance(value, float):
        return f"{value:g}"
    return _chain(str(value), field)


def percent(share: float, decimals: int = 1) -> str:
    """A share in per cent: 0.3 is 30, 1/3 is 33.3; 0 and 100 stand for themselves alone, 0.0004 is 0.04."""
    exact = 100 * Decimal(repr(float(share)))
    if not exact.is_finite():
        return str(share)
    for digits in range(decimals, 400):
        text = f"{exact:.{digits}f}"
        if (Decimal(text) in (0, 100)) == (exact in (0, 100)):
            break
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_nothing(value: Any) -> bool:
    """None, or the NaN that pandas makes of it."""
    return value is None or value != value


def dataset_label(text: str) -> str:
    """A data set without the place where its file lies, unless several places are shown."""
    return value_label("dataset", text)


def dataset_text(text: str) -> str:
    """A data set for files of numbers: as `dataset_label`, but as a grid names it, whatever label a grid gives it."""
    links = _links(text)
    return printable(str(_placed(links[0])) if len(links) == 1 else text, _WHOLE)


def placeless(text: str, field: str) -> str:
    """A value without the folders and hashes that `telling_apart` would show: equal for one name in two places."""
    token = _SHOWN.set(_ALONE)
    try:
        return _chain(text, field)
    finally:
        _SHOWN.reset(token)


def short_name(name: str) -> str:
    """A reference's name without the folder of its file; of a function that was passed in Python the bare name."""
    shown = _SHOWN.get()
    return shown.names[name] if name in shown.names else _WAYS[0](name)


def bare(text: str) -> str:
    """Text without the hashes of functions that were passed in Python, except where `telling_apart` needs them."""
    return _FUNCTION.sub(lambda found: short_name(found[0]), text)


def aggregator_label(text: str) -> str:
    """A rule or chain; of a rule in a file only the file's name, not its folder."""
    return value_label("aggregator", text)


def attack_label(text: str, classes: Sequence[str] = ()) -> str:
    """An attack, or a chain of them, with the names of its classes in place of their numbers."""
    known = _SHOWN.get().attacks(tuple(classes))
    return known[text] if text in known else printable(_attacks(text, tuple(classes)))


def mapping_label(mapping: Sequence[tuple[int, int]], classes: Sequence[str]) -> str:
    """A class map: "0→9, 1→7"; "all→4" where every other class goes to one."""
    targets = {t for _, t in mapping}
    if len(targets) == 1 and len(mapping) > 2 and {s for s, _ in mapping} >= set(range(len(classes))) - targets:
        return f"all→{class_name(next(iter(targets)), classes)}"
    return printable(", ".join(f"{class_name(s, classes)}→{class_name(t, classes)}" for s, t in mapping), _WHOLE)


def class_name(index: Any, classes: Sequence[str]) -> str:
    """The name of a class; its number where there is no such class."""
    known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(classes)
    return class_names(tuple(classes))[index] if known else printable(str(index), _LONGEST_CLASS)


@lru_cache(maxsize=1024)
def class_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes, short and each different; with their numbers where names are the same."""
    short = fitted(map(printable, classes), _LONGEST_CLASS)
    ways = (lambda i: short[printable(classes[i])], lambda i: f"{i} {short[printable(classes[i])]}")
    return tuple(distinct(range(len(classes)), *ways).values())


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


def _links(text: str) -> tuple[Reference, ...]:
    """The references of a chain; none where the text is no reference."""
    try:
        return parse_chain(text)
    except UserError:
        return ()


def _near(name: str, detail: int) -> str:
    """A name with so many folders of its file, or so many digits of its function's hash."""
    name = _FUNCTION.sub(lambda m: f"{m[2]}@{m[1][: 3 + detail]}" if detail else m[2], name)
    return ending(detail + 1)(name)


_WAYS: tuple[Way[str], ...] = (*(partial(_near, detail=detail) for detail in range(13)), str, escaped)


def _chain(text: str, field: str) -> str:
    """A value that may be a reference or a chain of them, by itself."""
    links = _links(text)
    if field == "dataset" and len(links) == 1:
        links = (_placed(links[0]),)
    return printable(" | ".join(_link(link, field) for link in links) if links else bare(text), _WHOLE)


def _link(link: Reference, field: str) -> str:
    """One reference; with the grid's label of all of it, or of its name."""
    if (own := _given(str(link), field)) is not None:
        return own
    name = _given(link.name, field) or short_name(link.name)
    return bare(link.under(name))


def _given(value: Any, field: str) -> str | None:
    """The grid's own label of a value."""
    known = _SHOWN.get().given
    if not known or not isinstance(value, Hashable):
        return None
    return known.get((field, value), known.get((ANYWHERE, value)))


def _place(link: Reference) -> str:
    return "\n".join(str(link.options[name]) for name in PLACES if name in link.options)


def _ends(parts: int) -> Way[str]:
    """The last parts of each path of a place."""
    way = ending(parts)
    return lambda place: " ".join(map(way, place.split("\n")))


def _placed(link: Reference) -> Reference:
    """A data set with as much of its files' place as tells it apart."""
    plain = link.without(*PLACES)
    place = _SHOWN.get().places.get(link.name, {}).get(_place(link), "")
    return plain.with_option("path", place) if place else plain


def _attacks(text: str, classes: tuple[str, ...]) -> str:
    """An attack by itself."""
    if (own := _given(text, "attack")) is not None:
        return own
    if text == CLEAN:
        return "clean"
    links = _links(text)
    return printable(" | ".join(_attack(link, classes) for link in links) if links else bare(text), _WHOLE)


def _attack(link: Reference, classes: Sequence[str]) -> str:
    if (own := _given(str(link), "attack")) is not None:
        return own
    sides = [_classes(link.options[o], classes) for o in _OF_CLASSES if o in link.options]
    if "mapping" in link.options and isinstance(link.options["mapping"], Mapping):
        pairs = link.options["mapping"].items()
        sides = [_classes([s for s, _ in pairs], classes), _classes([t for _, t in pairs], classes)]
    rest = link.without(*_OF_CLASSES, "mapping")
    given = _given(rest.name, "attack")
    plugin = ":" in rest.name  # an author's names stay as they are written
    name = bare(str(Reference(given or short_name(rest.name), rest.options)))
    name = name if plugin or given else name.replace("_", " ", 2)
    arrow = "↔" if "first" in link.options else "→"
    if len(sides) == 1:
        return f"{name} {sides[0][0]}"
    return " ".join([name, ", ".join(f"{s}{arrow}{t}" for s, t in zip(*sides, strict=False))]).strip()


def _classes(value: Any, classes: Sequence[str]) -> list[str]:
    return [class_name(v, classes) for v in (value if isinstance(value, list | tuple) else [value])]
