"""A grid file as given: every value with its place, before any cell is made.

Structure is checked here (known keys, lists where lists are needed, nothing given twice), values in
`grid.fields`, what only makes sense together in `grid.expansion`. Mistakes are collected, so that one pass reports all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flipbench.errors import UserError
from flipbench.grid import figures, yaml_tree
from flipbench.grid.fields import FieldError, checked
from flipbench.grid.yaml_tree import Node, kind_of
from flipbench.spec.cell import FIELDS
from flipbench.spec.distinct_texts import printable
from flipbench.spec.headline import LAST_ROUND, Headline
from flipbench.spec.headline import parse as parse_headline
from flipbench.spec.suggestions import near

KEYS = ("name", "title", "base", "axes", "cases", "tune", "honest_noise", "headline", "figures", "labels")
MAX_MISTAKES = 200  # then reading stops: so many have one cause
_LONGEST = 1000  # characters of a text that a message repeats
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, order=True)
class Place:
    """Where a value was given: a line and column of the file, or an override of the command line."""

    override: str = ""
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Mistake:
    """One mistake, as the user reads it."""

    place: Place
    field: str
    message: str

    def text(self, file: str) -> str:
        """``file:line:column: field: message``, or the override and the message."""
        if self.place.override:
            return f"{self.place.override}: {self.message}"
        where = f"{file}:{self.place.line}:{self.place.column}: "
        return where + (f"{self.field}: {self.message}" if self.field else self.message)


@dataclass(frozen=True)
class Given:
    """A value and the place that gave it."""

    value: Any
    place: Place


@dataclass
class Sheet:
    """What a grid file and the overrides say; `mistakes` is empty for a sound one.

    Attributes:
        base: field -> value, of every cell.
        axes: field -> values.
        cases: some fields each; the product of the axes is made for each.
        labels: as they stand there; `grid.labels` reads them once the cells are known.
        tune: as it stands there; `grid.tune_block` reads it once the other values are checked.
        candidates: field -> what it is tuned among.
        warnings: what is sound and hardly meant.
        broken: fields of which a value was refused, so that nothing is concluded from what is left.
        headline: which rounds the numbers of a cell are of.
        honest_noise: of the labels of honest clients that are wrong in noise twins; 0: there are no such twins.
        others: what stands under keys that are not a grid's.
    """

    name: str = ""
    title: str | None = None
    base: dict[str, Given] = field(default_factory=dict)
    axes: dict[str, list[Given]] = field(default_factory=dict)
    cases: list[dict[str, Given]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    labels: Node | None = None
    tune: Node | None = None
    candidates: dict[str, Sequence[Given]] = field(default_factory=dict)
    warnings: list[Mistake] = field(default_factory=list)
    figure_options: dict[str, Any] = field(default_factory=dict)
    headline: Headline = LAST_ROUND
    honest_noise: float = 0.0
    headline_place: Place | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    axes_place: Place = Place()
    name_place: Place = Place()
    others: dict[str, Node] = field(default_factory=dict)
    _blamed: set[Place] = field(default_factory=set)

    def wrong(self, place: Place, field: str, message: str) -> None:
        """Note a mistake; one place is blamed once."""
        mistake = Mistake(place, field, message)
        if place.override:
            self.mistakes += [] if mistake in self.mistakes else [mistake]
        elif place not in self._blamed:
            self._blamed.add(place)
            self.mistakes.append(mistake)


def read(text: str, default_name: str, also: Sequence[str] = ()) -> Sheet:
    """The sheet of a file's text; values are checked after the overrides, by `check`.

    Args:
        text: of the file.
        default_name: where the file gives no name.
        also: keys that may stand beside a grid's and are left to the caller (`Sheet.others`).
    """
    sheet = Sheet(name=default_name)
    try:
        root, problems = yaml_tree.compose(text)
    except yaml_tree.YamlError as error:
        sheet.wrong(Place("", error.problem.line, error.problem.column), "", error.problem.text)
        return sheet
    for p in problems:
        sheet.wrong(Place("", p.line, p.column), "", p.text)
    keys = [*KEYS, *also]
    if root.kind != "mapping":
        sheet.wrong(place_of(root), "", f"a grid is a mapping with the keys {', '.join(keys)}, got {kind_of(root)}")
        return sheet
    for key, node in root.pairs:
        reader = _READERS.get(key.value) if isinstance(key.value, str) else None
        if key.value in also:
            sheet.others[str(key.value)] = node
        elif reader is None:
            hint = near(str(key.value), keys) or _hint_for_field(key.value)
            sheet.wrong(place_of(key), str(key.value), f"unknown key{hint}; a grid has {', '.join(keys)}")
        else:
            reader(sheet, node)
    _check_twice(sheet, root)
    if not NAME.fullmatch(sheet.name):
        sheet.wrong(
            Place(), "name", f"{sheet.name!r}, made from the file's name, is no name: add a line like name: my_grid"
        )
    return sheet


def check(sheet: Sheet) -> None:
    """Replace every value by what a cell holds; refused ones are noted and left out."""
    sheet.base = checked_fields(sheet, sheet.base)
    sheet.cases = [checked_fields(sheet, c) for c in sheet.cases]
    for name, values in list(sheet.axes.items()):
        sheet.axes[name] = [g for v in values for g in _checked(sheet, name, v)]
        if not sheet.axes[name]:
            del sheet.axes[name]


def checked_fields(sheet: Sheet, values: dict[str, Given]) -> dict[str, Given]:
    """The values as a cell holds them; refused ones are noted and left out."""
    return {name: g for name, given in values.items() for g in _checked(sheet, name, given)}


def _checked(sheet: Sheet, name: str, given: Given) -> list[Given]:
    if len(sheet.mistakes) >= MAX_MISTAKES:
        sheet.broken.add(name)
        return []
    try:
        return [Given(checked(name, given.value), given.place)]
    except FieldError as error:
        sheet.wrong(given.place, name, str(error))
        sheet.broken.add(name)
        return []


def _read_name(sheet: Sheet, node: Node) -> None:
    if isinstance(node.value, str) and NAME.fullmatch(node.value):
        sheet.name, sheet.name_place = node.value, place_of(node)
        return
    sheet.name = "refused"
    rule = "lower-case letters, digits, '.', '_', '-', at most 64, the first a letter or digit"
    sheet.wrong(place_of(node), "name", f"names the results folder and needs {rule}; got {_text(node)}")


def _read_title(sheet: Sheet, node: Node) -> None:
    if isinstance(node.value, str):
        sheet.title = node.value
    elif node.value is not None:
        sheet.wrong(place_of(node), "title", f"needs text, got {kind_of(node)}; put it in quotes")


def _read_base(sheet: Sheet, node: Node) -> None:
    sheet.base = read_fields(sheet, node, "base")


def _read_axes(sheet: Sheet, node: Node) -> None:
    sheet.axes_place = place_of(node)
    for key, value in _fields(sheet, node, "axes"):
        if value.value is None or value.value == []:
            text = "the axis is empty; give at least one value in brackets, or leave it out"
            sheet.wrong(place_of(value), key.value, text)
            sheet.broken.add(key.value)
        elif value.kind != "list":
            fix = f"{key.value}: [{_text(value)}]"
            sheet.wrong(place_of(value), key.value, f"an axis needs a list; write {fix}, or move it under base:")
            sheet.broken.add(key.value)
        else:
            sheet.axes[key.value] = [Given(yaml_tree.plain(v), place_of(v)) for v in value.items]


def _read_cases(sheet: Sheet, node: Node) -> None:
    if node.kind != "list" or not node.items:
        sheet.wrong(place_of(node), "cases", f"needs a list of mappings, like - {{dataset: digits}}; got {_text(node)}")
        return
    sheet.cases = [read_fields(sheet, case, "cases") for case in node.items]


def _read_labels(sheet: Sheet, node: Node) -> None:
    sheet.labels = node


def _read_headline(sheet: Sheet, node: Node) -> None:
    given = node.value if isinstance(node.value, str) else kind_of(node)  # "a list" is no headline either
    set_headline(sheet, place_of(node), given)


def set_headline(sheet: Sheet, place: Place, given: str) -> None:
    """Take a headline of the file or the command line."""
    sheet.headline_place = place
    try:
        sheet.headline = parse_headline(given)
    except UserError as error:
        sheet.wrong(place, "headline", str(error))


def _read_honest_noise(sheet: Sheet, node: Node) -> None:
    share = node.value
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        text = f"needs the share of wrong labels of noisy honest clients, above 0 and at most 1; got {_text(node)}"
        sheet.wrong(place_of(node), "honest_noise", text)
        return
    sheet.honest_noise = float(share)


def _read_tune(sheet: Sheet, node: Node) -> None:
    sheet.tune = node


def _read_figures(sheet: Sheet, node: Node) -> None:
    wrong = lambda where, name, message: sheet.wrong(place_of(where), name, message)  # noqa: E731
    sheet.figures, sheet.figure_options = figures.read(node, wrong)


_READERS = {
    "name": _read_name,
    "title": _read_title,
    "base": _read_base,
    "axes": _read_axes,
    "cases": _read_cases,
    "headline": _read_headline,
    "tune": _read_tune,
    "honest_noise": _read_honest_noise,
    "figures": _read_figures,
    "labels": _read_labels,
}


def read_fields(sheet: Sheet, node: Node, key: str) -> dict[str, Given]:
    """A mapping whose keys are fields of a cell, each value with its place."""
    return {k.value: Given(yaml_tree.plain(v), place_of(v)) for k, v in _fields(sheet, node, key)}


def _fields(sheet: Sheet, node: Node, key: str) -> list[tuple[Node, Node]]:
    """The pairs of a mapping whose keys are fields of a cell."""
    if node.kind != "mapping":
        if not (node.value is None and key != "cases"):
            sheet.wrong(place_of(node), key, f"needs a mapping of fields to values, got {kind_of(node)}")
        return []
    known = []
    for name, value in node.pairs:
        if name.value in FIELDS:
            known.append((name, value))
        else:
            sheet.wrong(place_of(name), str(name.value), f"unknown field{near(str(name.value), FIELDS)}")
    return known


def _check_twice(sheet: Sheet, root: Node) -> None:
    """A field under axes may stand nowhere else."""
    parts = {k.value: v for k, v in root.pairs if isinstance(k.value, str)}
    axes = {k.value: k for k, _ in parts["axes"].pairs} if "axes" in parts else {}
    mappings = [("base", parts["base"])] if "base" in parts else []
    mappings += [("cases", n) for n in parts["cases"].items] if "cases" in parts else []
    for where, mapping in mappings:
        for key, _ in mapping.pairs:
            if key.value in axes and key.value in FIELDS:
                there = axes[key.value]
                text = f"given under {where} and as an axis at {there.line}:{there.column}; keep one"
                sheet.wrong(place_of(key), str(key.value), text)


def _hint_for_field(name: Any) -> str:
    return f" - {name} is a field: put it under base: or axes:" if name in FIELDS else ""


def place_of(node: Node) -> Place:
    """Where a node stands."""
    return Place("", node.line, node.column)


def _text(node: Node) -> str:
    if node.kind != "scalar":
        return f"a {node.kind}"
    text = printable(node.value, len(node.value)) if isinstance(node.value, str) else json.dumps(node.value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
