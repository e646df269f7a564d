"""Attacks that cannot act, whatever the data: what follows from the fields of a grid alone.

A value is named where every attacked cell that has it is without effect, so that an axis may begin at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flipbench.plugins import registry
from flipbench.spec.cell import CLEAN, Cell
from flipbench.spec.reference import parse_chain

Reason = tuple[str, str]  # the field to name, and why nothing is attacked


@dataclass
class IdleAttacks:
    """What the cells of a grid have in common that are to be attacked and cannot be."""

    totals: dict[tuple[str, Any], int] = field(default_factory=dict)
    idle: dict[tuple[str, Any, str], int] = field(default_factory=dict)

    def see(self, cell: Cell) -> None:
        """Count a cell as the grid's file asks for it, before it is brought to its normal form."""
        if cell.attack == CLEAN:
            return
        for name in _NAMED:
            place = name, getattr(cell, name)
            self.totals[place] = self.totals.get(place, 0) + 1
        if (reason := _reason(cell)) is not None:
            name, text = reason
            known = name, getattr(cell, name), text
            self.idle[known] = self.idle.get(known, 0) + 1

    def found(self) -> Iterator[tuple[str, Any, str]]:
        """Field, value and reason, of values all of whose attacked cells are without effect for that reason."""
        yield from (known for known, number in self.idle.items() if number == self.totals[known[:2]])


_NAMED = ("attack", "flip_rate", "malicious_fraction", "attack_start", "attack_availability")


def _reason(cell: Cell) -> Reason | None:
    if not cell.malicious:
        return _without_malicious(cell.malicious_fraction, cell.clients)
    if cell.attack_start > cell.rounds:
        return "attack_start", f"the attack begins in round {cell.attack_start}, after the last of {cell.rounds} rounds"
    last = min(cell.attack_stop or cell.rounds, cell.rounds)
    window = last - cell.attack_start + 1
    if cell.attack_availability < 1 and round(Fraction(repr(cell.attack_availability)) * window) == 0:
        text = f"a share of {cell.attack_availability:g} of the {window} rounds of the attack is no round"
        return "attack_availability", text
    if cell.flip_rate == 0 and not _sends(cell.attack):
        return "flip_rate", "a rate of 0 selects no label and no image"
    return None


def _without_malicious(fraction: float | None, clients: int) -> Reason:
    if fraction:
        return "malicious_fraction", f"a share of {fraction:g} of {clients} clients is no malicious client"
    return "attack", "no client is malicious: give malicious_fraction or malicious_count"


@lru_cache(maxsize=4096)
def _sends(attack: str) -> bool:
    """Whether an attack changes updates, which takes no labels; a plug-in counts as such."""
    from flipbench.attacks.contract import place

    if not registry.all_shipped("attack", attack):
        return True
    return any(place(registry.resolve("attack", link)) == "updates" for link in parse_chain(attack))
