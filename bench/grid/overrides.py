"""The command line over a grid file: ``--set field=value``, ``--set field.option=value`` and ``--aggregator REF``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from flipbench.grid import yaml_tree
from flipbench.grid.document import Given, Place, Sheet
from flipbench.grid.fields import REFERENCES, FieldError, typed
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.reference import parse_chain
from flipbench.spec.suggestions import near

_YAML_MARKS = {"&": "an anchor", "*": "an alias", "!": "a tag", "#": "a comment", "|": "a block", ">": "a block"}
_COMMENT = re.compile(r"\s#")


def override(sheet: Sheet, texts: Sequence[str], aggregators: Iterable[str]) -> None:
    """Lay ``--set field=value``, ``--set field.option=value`` and ``--aggregator REF`` over the sheet."""
    for text in texts:
        place = Place(f"--set {text}")
        name, equals, raw = text.partition("=")
        field, dot, option = name.strip().partition(".")
        if not equals:
            sheet.wrong(place, "", "needs the form field=value, like --set rounds=10")
        elif field not in FIELDS:
            sheet.wrong(place, "", f"unknown field {field!r}{near(field, FIELDS)}")
        elif dot and field not in REFERENCES:
            sheet.wrong(place, "", f"{field} has no options; only {', '.join(REFERENCES)} have")
        else:
            if problem := _unclear(raw):
                sheet.wrong(place, "", problem)
                continue
            try:
                node, problems = yaml_tree.compose(raw)
            except yaml_tree.YamlError as error:
                sheet.wrong(place, "", error.problem.text)
                continue
            for p in problems:
                sheet.wrong(place, "", p.text)
            value = yaml_tree.plain(node)
            if dot:
                _set_option(sheet, place, field, option, value)
            else:
                _set_field(sheet, place, field, value)
    for ref in aggregators:
        _add_aggregator(sheet, Given(ref, Place(f"--aggregator {ref}")))


def _unclear(raw: str) -> str | None:
    """Why the value of an override would be read as something else than it looks like; None where it is clear."""
    text = raw.strip()
    if not text:
        return "needs a value behind '='"
    quoted = f"put it between quotes that the shell leaves, like '\"{text}\"'"
    if text[0] in _YAML_MARKS:
        return f"YAML reads a value that starts with {text[0]} as {_YAML_MARKS[text[0]]}: {quoted}"
    if text[0] not in "'\"[{" and _COMMENT.search(text):
        return f"YAML reads what stands behind ' #' as a comment: {quoted}"
    return None


def _set_field(sheet: Sheet, place: Place, name: str, value: Any) -> None:
    if name == "aggregator" and _cases_are_rules(sheet):
        sheet.cases = []
    for case in sheet.cases:
        case.pop(name, None)
    sheet.axes.pop(name, None)
    sheet.base.pop(name, None)
    if not isinstance(value, list):
        sheet.base[name] = Given(value, place)
    elif value:
        sheet.axes[name] = [Given(v, Place(f"--set {name}[{i}]")) for i, v in enumerate(value)]
    else:
        sheet.wrong(place, name, "needs at least one value")


def _set_option(sheet: Sheet, place: Place, name: str, option: str, value: Any) -> None:
    """Set the option in every reference that the field takes anywhere in the grid."""

    def changed(given: Given) -> Given:
        try:
            parts = parse_chain(typed(name, given.value))
        except FieldError:
            return given  # the text itself is no reference, and `check` says so at its own place
        if len(parts) > 1:
            sheet.wrong(place, name, f"{given.value!r} is a chain; set the whole of it with --set {name}='...'")
            return given
        return Given(str(parts[0].with_option(option, value)), place)

    if name in sheet.axes:
        sheet.axes[name] = [changed(g) for g in sheet.axes[name]]
    for values in (sheet.base, *sheet.cases):
        if name in values:
            values[name] = changed(values[name])
    if name not in sheet.axes and name not in sheet.base and not (sheet.cases and all(name in c for c in sheet.cases)):
        sheet.base[name] = changed(Given(getattr(Cell(), name), place))


def _cases_are_rules(sheet: Sheet) -> bool:
    """Whether each case is one rule, some with fields of their own: then another rule is another case."""
    return all("aggregator" in c for c in sheet.cases) and any(len(c) == 1 for c in sheet.cases)


def _add_aggregator(sheet: Sheet, given: Given) -> None:
    if _cases_are_rules(sheet):
        sheet.cases.append({"aggregator": given})
        return
    if any("aggregator" in c for c in sheet.cases):
        sheet.wrong(given.place, "aggregator", "this grid's cases name their aggregators, so none can be added to all")
        return
    if "aggregator" not in sheet.axes:
        sheet.axes["aggregator"] = [sheet.base.pop("aggregator", Given(Cell().aggregator, Place()))]
    sheet.axes["aggregator"].append(given)
