"""The trials of a tuned grid: which settings each aggregator is tried with, and the cells that this takes.

A *choice* is made for each aggregator under each value of the fields that are neither of the attack, nor the seed, nor
tuned: a defender knows the data and the clients, and not the attack. All choices have the same number of *candidates*
(the budget); where the product of the candidates is larger, they are drawn from it, equal products alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flipbench.grid.document import Given, Place, Sheet
from flipbench.grid.fields import FieldError
from flipbench.grid.tune_block import Block, has_option, with_option, without_option
from flipbench.spec.cell import FIELDS, VALIDATION, Cell
from flipbench.spec.field_groups import ATTACK_FIELDS
from flipbench.spec.seeds import named_seed
from flipbench.spec.twins import clean_twin, normal

Candidate = Mapping[str, Any]  # field or field.option -> value
_OF_NO_CHOICE = {"seed", *ATTACK_FIELDS}


@dataclass(frozen=True)
class Choice:
    """What is chosen once.

    Attributes:
        aggregator: as the grid gives it.
        setting: the fields that tell it from the other choices for this aggregator.
        candidates: what it is chosen among, in the order of the file.
        possible: how many combinations of the block there are for it.
    """

    aggregator: str
    setting: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    possible: int


@dataclass(frozen=True)
class Tuning:
    """All trials of a grid.

    Attributes:
        metric, criterion, seeds, budget, draw: of the block (`grid.tune_block.Block`).
        fields: field or ``field.option`` -> its candidates.
        choices: what is chosen.
        trials: the cells of all candidates, in normal form, each once.
        belongs: of each of them the (choice, candidate) that it is a trial of.
        reported: the grid's own cells as the file gives them, each with the number of its choice.
    """

    metric: str
    criterion: str
    seeds: tuple[int, ...]
    budget: int
    draw: int
    fields: Mapping[str, tuple[Any, ...]]
    choices: tuple[Choice, ...]
    trials: tuple[Cell, ...]
    belongs: tuple[tuple[tuple[int, int], ...], ...]
    reported: tuple[tuple[Cell, int], ...] = field(repr=False)

    def tuned(self, chosen: Sequence[int | None]) -> dict[Cell, str]:
        """The reported cells with what was chosen, clean twins before the first cell that needs them.

        Args:
            chosen: of each choice the number of its candidate; None: its cells stay as the grid gives them.

        Returns:
            Cell -> its aggregator as the grid gives it.
        """
        found: dict[Cell, str] = {}
        for cell, number in self.reported:
            at = chosen[number]
            choice = self.choices[number]
            own = cell if at is None else _bare(applied(vars(cell), choice.candidates[at]))
            found.setdefault(clean_twin(own), choice.aggregator)
            found.setdefault(normal(own), choice.aggregator)
        return found


@dataclass
class Trials:
    """Collects the trials of a grid while its product is made."""

    sheet: Sheet
    block: Block
    choices: list[Choice] = field(default_factory=list)
    budget: int = 0
    _products: list[tuple[dict[str, Any], int]] = field(default_factory=list)

    @classmethod
    def of(cls, sheet: Sheet, block: Block, products: Iterable[dict[str, Any]]) -> Trials:
        """The choices of a product of axes; what cannot be tuned in it is noted in the sheet.

        Args:
            sheet: takes the mistakes.
            block: of the sheet.
            products: all values of all fields, one for each cell of the grid.
        """
        made = cls(sheet, block)
        every = list(products)
        if not every or not block.candidates:
            return made
        made._check(every)
        if sheet.mistakes:
            return made
        names = {values["aggregator"]: made._own(values) for values in every}
        shared = [n for n in block.candidates if all(n in own for own in names.values())]
        made.budget = block.budget or max(2, _size(block, shared))
        found: dict[Any, int] = {}
        for values in every:
            key = _choice_of(values, block.candidates)
            if key not in found:
                found[key] = len(made.choices)
                made.choices.append(made._choice(values, names[values["aggregator"]]))
            made._products.append((values, found[key]))
        made._tell_apart(found)
        return made

    def values(self) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
        """The values of each trial with its choice and candidate; seeds run fastest."""
        seen: set[Any] = set()
        for values, number in self._products:
            once = (number, *(values[f] for f in ATTACK_FIELDS))
            if once in seen:
                continue
            seen.add(once)
            for at, candidate in enumerate(self.choices[number].candidates):
                tried = applied(values, candidate) | {"evaluate_on": VALIDATION}
                for seed in self.block.seeds:
                    yield tried | {"seed": seed}, (number, at)

    def count(self) -> int:
        """About how many trials there are, before any is made."""
        own = {(number, *(values[f] for f in ATTACK_FIELDS)) for values, number in self._products}
        return sum(len(self.choices[number].candidates) for number, *_ in own) * len(self.block.seeds)

    def made(self, cells: Mapping[Cell, tuple[tuple[int, int], ...]]) -> Tuning:
        """All of it, with the trials' cells."""
        known = self.block
        fields = {name: tuple(g.value for g in given) for name, given in known.candidates.items()}
        reported = tuple((_bare(values), number) for values, number in self._products)
        facts = known.metric, known.criterion, known.seeds, self.budget, known.draw, fields
        return Tuning(*facts, tuple(self.choices), tuple(cells), tuple(cells.values()), reported)

    def _own(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """What of the block can be tuned for an aggregator: all but options that it does not have."""
        return tuple(n for n in self.block.candidates if "." not in n or _has(values, n))

    def _check(self, every: Sequence[dict[str, Any]]) -> None:
        """Candidates against the product: options that nothing has, values that are refused, no validation examples."""
        sheet, block = self.sheet, self.block
        for name, given in block.candidates.items():
            base, dot, option = name.partition(".")
            if not dot:
                continue
            texts = [t for t in dict.fromkeys(v[base] for v in every) if has_option(base, t, option)]
            if not texts and base not in sheet.broken:
                sheet.wrong(given[0].place, f"tune: {name}", f"no {base} of this grid has an option {option}")
            for text in texts:
                for value in given:
                    try:
                        with_option(base, text, option, value.value)
                    except FieldError as error:
                        sheet.wrong(value.place, f"tune: {name}", str(error))
        if "validation_share" not in sheet.broken and any(not values["validation_share"] for values in every):
            text = "trials are evaluated on examples that clients hold out, and none are: add validation_share: 0.2"
            sheet.wrong(block.place, "tune", f"{text} under base:")
        if any(values["evaluate_on"] == VALIDATION for values in every):
            text = "the reported cells are evaluated on test examples: leave evaluate_on out"
            sheet.wrong(_given(sheet, "evaluate_on"), "evaluate_on", text)

    def _choice(self, values: Mapping[str, Any], names: Sequence[str]) -> Choice:
        given = self.block.candidates
        size = _size(self.block, names)
        numbers: Sequence[int] = range(size)
        if size > self.budget:
            draws = random.Random(named_seed(self.block.draw, "tuning"))
            numbers = sorted(draws.sample(range(size), self.budget))
        candidates = tuple(_combination(n, names, given) for n in numbers)
        return Choice(values["aggregator"], _setting(values, given), candidates, size)

    def _tell_apart(self, found: Mapping[Any, int]) -> None:
        """Two aggregators that differ only in a tuned option would be one and the same once it is chosen."""
        seen: dict[Any, Choice] = {}
        for choice in self.choices:
            alike = [("aggregator", choice.aggregator), *choice.setting.items()]
            key = tuple((f, _untuned(f, v, self.block.candidates)) for f, v in alike)
            if (other := seen.setdefault(key, choice)) is not choice:
                differ = [f for f, v in alike if {"aggregator": other.aggregator, **other.setting}[f] != v]
                text = f"{choice.aggregator} differs from {other.aggregator} only in what is tuned: keep one"
                if differ[0] != "aggregator":
                    mine, theirs = choice.setting[differ[0]], other.setting[differ[0]]
                    text = f"{mine} differs from {theirs} only in what is tuned: keep one"
                self.sheet.wrong(_given(self.sheet, differ[0]), differ[0], text)
                return
        constant = {f for c in self.choices for f in c.setting if len({x.setting[f] for x in self.choices}) == 1}
        told = ({f: v for f, v in c.setting.items() if f not in constant} for c in self.choices)
        self.choices = [
            Choice(c.aggregator, setting, c.candidates, c.possible)
            for c, setting in zip(self.choices, told, strict=True)
        ]


def applied(values: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """The values of all fields with those of a candidate in their place."""
    found = dict(values)
    for name, value in candidate.items():
        base, dot, option = name.partition(".")
        found[base] = with_option(base, found[base], option, value) if dot else value
    return found


def _choice_of(values: Mapping[str, Any], tuned: Mapping[str, Any]) -> tuple[Any, ...]:
    return (values["aggregator"], *_setting(values, tuned).items())


def _setting(values: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """What a defender knows: every field but those of the attack, the seed, and what is tuned."""
    return {f: values[f] for f in FIELDS if f not in _OF_NO_CHOICE and f not in tuned and f != "aggregator"}


def _untuned(name: str, value: Any, tuned: Mapping[str, Any]) -> Any:
    for each in tuned:
        base, dot, option = each.partition(".")
        if dot and base == name:
            value = without_option(base, value, option)
    return value


def _has(values: Mapping[str, Any], name: str) -> bool:
    base, _, option = name.partition(".")
    return has_option(base, values[base], option)


def _size(block: Block, names: Sequence[str]) -> int:
    return math.prod(len(block.candidates[n]) for n in names)


def _combination(number: int, names: Sequence[str], given: Mapping[str, tuple[Given, ...]]) -> Candidate:
    """The combination of this number, the last name running fastest."""
    values: dict[str, Any] = {}
    for name in reversed(names):
        number, at = divmod(number, len(given[name]))
        values[name] = given[name][at].value
    return {name: values[name] for name in names}


def _given(sheet: Sheet, name: str) -> Place:
    """Where the grid gives a field at last; the start of the file where it does not."""
    places = [g.place for g in sheet.axes.get(name, [])]
    places += [values[name].place for values in (sheet.base, *sheet.cases) if name in values]
    return places[-1] if places else Place()


def _bare(values: Mapping[str, Any]) -> Cell:
    """A cell of values that were checked already."""
    cell = object.__new__(Cell)
    cell.__dict__.update(values)
    return cell
