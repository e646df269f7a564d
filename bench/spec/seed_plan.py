"""``seeds: {least: 4, most: 20, until: decided}`` of a grid: seeds are added until the comparisons are decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flipbench.errors import UserError
from flipbench.spec.metric_names import SHEET
from flipbench.spec.suggestions import near

UNTIL = ("decided",)
FEWEST, LARGEST = 3, 1000  # seeds before the first look
METRICS = tuple(m.name for m in SHEET if not m.needs_mapping)  # with one table for all attacks


@dataclass(frozen=True)
class SeedPlan:
    """How many seeds a grid may use, and when it is looked at.

    Attributes:
        least: seeds of every cell, 0, 1, ..., before the first look.
        most: seeds of no cell are more; chosen before the run, for the error that each look may use depends on it.
        step: seeds from one look to the next.
        metric: whose comparisons decide.
    """

    least: int
    most: int
    step: int = 1
    metric: str = "accuracy"

    @property
    def seeds(self) -> range:
        """All that may be used."""
        return range(self.most)

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds after which the comparisons are looked at, the last one `most`."""
        return tuple(sorted({*range(self.least, self.most, self.step), self.most}))

    def looks_at(self, seeds: int) -> tuple[int, ...]:
        """The looks of a comparison that has so many seeds; where cells failed, the last is between two looks."""
        return tuple(sorted({*(n for n in self.looks if n < seeds), seeds}))

    def as_json(self) -> dict[str, Any]:
        """As a plan holds it."""
        return asdict(self) | {"until": UNTIL[0]}


def problems(given: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the values of ``seeds:``, by key; the empty key for what is wrong between them.

    Args:
        given: of the file.
    """
    known = ("least", "most", "until", "step", "metric")
    found = {k: f"unknown key{near(k, known)}; seeds has {', '.join(known)}" for k in given if k not in known}
    for name, low in (("least", FEWEST), ("most", FEWEST), ("step", 1)):
        value = given.get(name, 1 if name == "step" else None)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
            found[name] = f"needs a whole number from {low} to {LARGEST}, got {value!r}"
    if given.get("until", UNTIL[0]) not in UNTIL:
        found["until"] = f"needs decided, got {given['until']!r}"
    if (metric := given.get("metric", "accuracy")) not in METRICS:
        found["metric"] = f"needs one of {', '.join(METRICS)}, got {metric!r}"
    if not found and given["least"] >= given["most"]:
        found[""] = f"least is {given['least']} and most {given['most']}: most must be larger; for a fixed number of "
        found[""] += "seeds write an axis like seed: [0, 1, 2, 3, 4, 5]"
    return found


def from_mapping(given: Mapping[str, Any]) -> SeedPlan:
    """The plan of sound values.

    Raises:
        UserError: they are not.
    """
    if wrong := problems(given):
        raise UserError("; ".join(f"seeds: {name + ': ' * bool(name)}{text}" for name, text in wrong.items()))
    return SeedPlan(**{name: value for name, value in given.items() if name != "until"})
