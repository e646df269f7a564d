"""The key ``tune:`` of a grid: which fields and options are chosen, among which candidates, on which seeds.

What the block says is checked here, against the other parts of the grid too; `grid.trials` makes the cells of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flipbench.errors import UserError
from flipbench.grid import yaml_tree
from flipbench.grid.document import Given, Place, Sheet, place_of
from flipbench.grid.fields import REFERENCES, FieldError, checked, typed
from flipbench.grid.yaml_tree import Node, kind_of
from flipbench.plugins import registry, signatures
from flipbench.spec.cell import FIELDS
from flipbench.spec.field_groups import of_groups
from flipbench.spec.metric_names import SHEET
from flipbench.spec.reference import Reference, parse_chain
from flipbench.spec.suggestions import near

KEYS = ("fields", "seeds", "metric", "criterion", "budget", "draw")
CRITERIA = ("maximin", "mean")
METRICS = tuple(m.name for m in SHEET)
_FIXED = {"aggregator", "declared_byzantine", "root_examples"}  # of the server, and not a way to train
_TRAINING = tuple(f for f in of_groups("model", "local training", "server") if f not in _FIXED)
TUNABLE = (*_TRAINING, "rounds", "clients_per_round")
WITH_OPTIONS = tuple(f for f in (*TUNABLE, "aggregator") if f in REFERENCES)
LEAST, MOST = 2, 10_000  # of a budget


@dataclass(frozen=True)
class Block:
    """What stands under ``tune:``.

    Attributes:
        candidates: field or ``field.option`` -> values with their places.
        seeds: of the trials.
        metric: on validation examples.
        criterion: ``maximin``, the least over the attacks, or ``mean``, their mean.
        budget: settings that are tried for each aggregator; None: as many as the shared fields have combinations.
        draw: seed of the draw, where there are more combinations than the budget.
        place: of the block.
    """

    candidates: Mapping[str, tuple[Given, ...]]
    seeds: tuple[int, ...]
    metric: str = "accuracy"
    criterion: str = "maximin"
    budget: int | None = None
    draw: int = 0
    place: Place = field(default_factory=Place)


def read(sheet: Sheet) -> Block | None:
    """The block of a sheet whose other parts are checked; None where there is none. Mistakes are noted in the sheet."""
    node = sheet.tune
    if node is None:
        return None
    if node.kind != "mapping":
        example = "tune: {fields: {learning_rate: [0.01, 0.1]}, seeds: [100, 101]}"
        sheet.wrong(place_of(node), "tune", f"needs a mapping, like {example}; got {kind_of(node)}")
        return None
    given: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.value in KEYS:
            given[key.value] = value
        else:
            hint = near(str(key.value), KEYS) or (" - put it under fields:" if _is_name(key.value) else "")
            sheet.wrong(place_of(key), f"tune: {key.value}", f"unknown key{hint}; tune has {', '.join(KEYS)}")
    candidates = _fields(sheet, node, given.get("fields"))
    sheet.candidates.update(candidates)
    seeds = _seeds(sheet, node, given.get("seeds"))
    more = {
        "metric": _word(sheet, given.get("metric"), "metric", METRICS),
        "criterion": _word(sheet, given.get("criterion"), "criterion", CRITERIA),
        "budget": _number(sheet, given.get("budget"), "budget", LEAST, MOST),
        "draw": _number(sheet, given.get("draw"), "draw", 0, 2**31 - 1),
    }
    known: dict[str, Any] = {k: v for k, v in more.items() if v is not None}
    return Block(candidates, seeds, **known, place=place_of(node))


def _fields(sheet: Sheet, block: Node, node: Node | None) -> dict[str, tuple[Given, ...]]:
    if node is None or node.kind != "mapping" or not node.pairs:
        got = "" if node is None else f", got {kind_of(node)}" if node.kind != "mapping" else ", got none"
        sheet.wrong(place_of(node or block), "tune: fields", f"needs fields with candidates{got}; {_EXAMPLE}")
        return {}
    found = {}
    for key, value in node.pairs:
        name = str(key.value)
        if (problem := _not_tunable(sheet, name)) is not None:
            sheet.wrong(place_of(key), f"tune: {name}", problem)
        elif value.kind != "list" or len(value.items) < 2:
            text = f"needs a list of at least two candidates, like {name}: [..., ...]; got {kind_of(value)}"
            text = text if value.kind != "list" else f"needs at least two candidates, got {len(value.items)}"
            sheet.wrong(place_of(value), f"tune: {name}", text)
        else:
            found[name] = tuple(_candidates(sheet, name, value))
    for name in found:
        base, dot, _ = name.partition(".")
        if dot and base in found:
            place = found[name][0].place if found[name] else place_of(node)
            sheet.wrong(place, f"tune: {name}", f"{base} is tuned too: give its candidates with their options in full")
    return {name: values for name, values in found.items() if values}


_EXAMPLE = "write it like fields: {learning_rate: [0.01, 0.1, 1]}"


def _candidates(sheet: Sheet, name: str, node: Node) -> Iterator[Given]:
    """The values that a cell takes; of an option those that the notation can say, once each."""
    seen: list[Any] = []
    for item in node.items:
        place, value = place_of(item), yaml_tree.plain(item)
        try:
            value = checked(name, value) if "." not in name else value
        except FieldError as error:
            sheet.wrong(place, f"tune: {name}", str(error))
            continue
        if any(value == other and type(value) is type(other) for other in seen):
            sheet.wrong(place, f"tune: {name}", f"{value!r} is given twice; keep one")
            continue
        seen.append(value)
        yield Given(value, place)


def _not_tunable(sheet: Sheet, name: str) -> str | None:
    """Why a field or an option of one cannot be tuned; None where it can."""
    base, dot, option = name.partition(".")
    if base not in FIELDS:
        return f"unknown field{near(base, FIELDS)}"
    if dot and base not in WITH_OPTIONS:
        return f"no option of {base} can be tuned; those of {', '.join(WITH_OPTIONS)} can"
    if dot:
        return None if option else f"needs an option behind the dot, like {base}.radius"
    if base == "aggregator":
        return "the aggregators are compared, so they are no candidates; tune an option, like aggregator.radius"
    if base not in TUNABLE:
        return f"is part of the experiment and cannot be tuned; there are {', '.join(TUNABLE)}"
    if base in sheet.axes:
        there = sheet.axes[base][0].place
        where = there.override or f"{there.line}:{there.column}"
        return f"is an axis too, at {where}: a field is either compared or chosen; keep one"
    return None


def _seeds(sheet: Sheet, block: Node, node: Node | None) -> tuple[int, ...]:
    """The seeds of the trials, none of which is reported."""
    wanted = "needs a list of seeds that are not reported, like seeds: [100, 101, 102]"
    if node is None or node.kind != "list" or not node.items:
        got = "" if node is None else f", got {kind_of(node)}" if node.kind != "list" else ", got an empty list"
        sheet.wrong(place_of(node or block), "tune: seeds", f"{wanted}{got}")
        return ()
    reported = {g.value for g in sheet.axes.get("seed", [])}
    reported |= {values["seed"].value for values in (sheet.base, *sheet.cases) if "seed" in values}
    reported |= {0} if not reported else set()
    found: list[int] = []
    for item in node.items:
        try:
            seed = checked("seed", yaml_tree.plain(item))
        except FieldError as error:
            sheet.wrong(place_of(item), "tune: seeds", str(error))
            continue
        if seed in reported:
            text = f"{seed} is a seed of the reported cells: what is chosen on a seed and reported on it looks too good"
            sheet.wrong(place_of(item), "tune: seeds", f"{text}; take another one, like {max(reported) + 100}")
        elif seed in found:
            sheet.wrong(place_of(item), "tune: seeds", f"{seed} is given twice; keep one")
        else:
            found.append(seed)
    return tuple(found)


def _word(sheet: Sheet, node: Node | None, key: str, known: Sequence[str]) -> str | None:
    if node is None:
        return None
    if node.value in known and node.kind == "scalar":
        return str(node.value)
    hint = near(str(node.value), known) if node.kind == "scalar" else ""
    got = repr(node.value) if node.kind == "scalar" else kind_of(node)
    sheet.wrong(place_of(node), f"tune: {key}", f"is one of {', '.join(known)}, got {got}{hint}")
    return None


def _number(sheet: Sheet, node: Node | None, key: str, least: int, most: int) -> int | None:
    if node is None:
        return None
    if isinstance(node.value, int) and not isinstance(node.value, bool) and least <= node.value <= most:
        return node.value
    got = node.value if node.kind == "scalar" else kind_of(node)
    sheet.wrong(place_of(node), f"tune: {key}", f"needs a whole number from {least} to {most:,}, got {got}")
    return None


def _is_name(name: Any) -> bool:
    return str(name).partition(".")[0] in FIELDS


def has_option(field: str, text: str, option: str) -> bool:
    """Whether some part of a reference or chain takes an option."""
    return any(_takes(kind, link, option) for kind, link in _links(field, text))


def with_option(field: str, text: str, option: str, value: Any) -> str:
    """The reference with the option set where it has it, as a cell holds it.

    Raises:
        FieldError: the value does not fit, or several parts of a chain have such an option.
    """
    links = _links(field, text)
    places = [i for i, (kind, link) in enumerate(links) if _takes(kind, link, option)]
    if len(places) > 1:
        raise FieldError(f"{text} has an option {option} in {len(places)} of its parts: make each chain an aggregator")
    parts = [link.with_option(option, value) if i in places else link for i, (_, link) in enumerate(links)]
    return str(checked(field, " | ".join(map(str, parts))))


def without_option(field: str, text: str, option: str) -> str:
    """The reference as it is whatever the option: what tells one from another apart from it."""
    try:
        return " | ".join(str(link.without(option)) for link in parse_chain(typed(field, text)))
    except UserError:
        return text


def _links(field: str, text: str) -> list[tuple[str, Reference]]:
    try:
        return registry.links(REFERENCES[field], text)
    except UserError:
        return []


def _takes(kind: str, link: Reference, option: str) -> bool:
    try:
        return option in link.options or option in signatures.options(registry.find(kind, link.name))
    except UserError:  # of another suite, or refused elsewhere
        return False
