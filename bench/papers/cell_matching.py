"""Finds the cells of a published number: those of the one setting, seeds aside, that has the given field values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flipbench import data
from flipbench.grid.document import Given
from flipbench.papers.model import METRICS, Metric, Window
from flipbench.spec.cell import CLEAN, FIELDS, Cell
from flipbench.spec.field_groups import ATTACK_FIELDS

_LISTED = 6  # of values that an error shows


class NoSetting(ValueError):
    """No setting, or more than one, has the values; the message lists what there is.

    Attributes:
        field: the field whose value no setting has; None: more than one setting has all values.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Settings:
    """The protocol's cells by everything but the seed.

    Attributes:
        groups: values of all fields but the seed -> its cells in order of the seeds.
    """

    groups: Mapping[tuple[Any, ...], tuple[Cell, ...]]

    @staticmethod
    def of(cells: Sequence[Cell]) -> Settings:
        """Group the cells of a grid."""
        groups: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in cells:
            groups.setdefault(_setting(cell), []).append(cell)
        return Settings({k: tuple(sorted(v, key=lambda c: c.seed)) for k, v in groups.items()})

    def find(self, given: Mapping[str, Given]) -> tuple[Cell, ...]:
        """The cells, one a seed, of the one setting with these field values.

        Raises:
            NoSetting: there is none, or more than one.
        """
        left = list(self.groups.values())
        for name, value in _normal(given).items():
            some = [g for g in left if _has(g[0], name, value)]
            if not some:
                there = list(dict.fromkeys(str(getattr(g[0], name)) for g in left))
                listed = ", ".join(there[:_LISTED]) + (", ..." if len(there) > _LISTED else "")
                raise NoSetting(f"the protocol has no cell with {name} {value}; there is {listed}", name)
            left = some
        if len(left) > 1:
            differ = [f for f in FIELDS if f != "seed" and len({getattr(g[0], f) for g in left}) > 1]
            listed = "; ".join(
                f"{f}: {', '.join(sorted({str(getattr(g[0], f)) for g in left})[:_LISTED])}" for f in differ
            )
            raise NoSetting(
                f"{len(left)} settings of the protocol have these field values; they differ in {listed}: say which"
            )
        return left[0]


def unfit(cells: Sequence[Cell], metric: Metric, window: Window) -> str | None:
    """Why a metric or its rounds cannot be had from these cells; None where they can."""
    for cell in cells[:1]:  # seeds differ in nothing that matters here
        names = data.class_names(cell.dataset)
        beyond = [c for c in metric.options.values() if names is not None and c >= len(names)]
        if beyond and names is not None:
            return f"{metric}: {cell.dataset} has the classes 0 to {len(names) - 1}"
        needed = window.needed(cell.rounds)
        if needed[-1] > cell.rounds:
            return f"{window} is beyond the last round, {cell.rounds}"
        if window.take != "at" and window.rounds > cell.rounds:
            return f"{window} needs as many, and there are {cell.rounds}"
        missing = [] if window.of_all else [r for r in needed if not _evaluated(cell, r)]
        if missing:
            hint = "set evaluate_every or evaluate_last so that they are"
            return f"{window} is not evaluated in every round that it needs (round {missing[0]} is not): {hint}"
        if metric.name in METRICS and not cell.attacked and metric.name in _OF_THE_ATTACK:
            return f"{metric} says nothing of a cell without attack; name the class, like recall(of=1)"
    return None


_OF_THE_ATTACK = {"source_recall", "attack_success_rate", "target_precision", "collateral"}


def _evaluated(cell: Cell, r: int) -> bool:
    return r == 1 or r % cell.evaluate_every == 0 or r > cell.rounds - cell.evaluate_last


def _setting(cell: Cell) -> tuple[Any, ...]:
    return tuple(v for k, v in vars(cell).items() if k != "seed" and k in _KNOWN)


_KNOWN = frozenset(FIELDS)


def _normal(given: Mapping[str, Given]) -> dict[str, Any]:
    """The given values in normal form: without an attack its fields are left out, as in the cells."""
    plain = {name: g.value for name, g in given.items()}
    if plain.get("malicious_count") == 0 or plain.get("malicious_fraction") == 0 or plain.get("attack") == CLEAN:
        return {"attack": CLEAN} | {name: v for name, v in plain.items() if name not in ATTACK_FIELDS}
    return plain


def _has(cell: Cell, name: str, value: Any) -> bool:
    if name == "malicious_fraction":  # cells know their number
        wanted = replace(cell, malicious_fraction=value, malicious_count=None).malicious
        return cell.malicious == wanted
    return bool(getattr(cell, name) == value)
