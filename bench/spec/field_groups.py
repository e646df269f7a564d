"""Lists of a cell's fields by what they are about; all are derived from the descriptions on the fields of `Cell`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flipbench.spec.cell import Cell
from flipbench.spec.field_table import Group, descriptions

TABLE = MappingProxyType(descriptions(Cell))
USUAL: Mapping[str, Any] = MappingProxyType({name: about.usual for name, about in TABLE.items()})


def of_groups(*groups: Group) -> tuple[str, ...]:
    """The fields of some groups, in the order of tables."""
    return tuple(name for name, about in TABLE.items() if about.group in groups)


ATTACK_OPTIONS = of_groups("attack")  # what malicious clients do: equal cells but for these share their clean twin
ATTACK_FIELDS = of_groups("malicious clients", "attack")  # what a clean twin is without
# Fields whose values share one clean column in tables and figures, in the order of its header. Attacked cells that
# differ in the number of malicious clients, their data or the declared f have several twins there, of which it is the
# mean; those that differ in another of these have one.
LEVEL_FIELDS = (
    "malicious_fraction",
    *(f for f in ATTACK_FIELDS if f not in ("attack", "malicious_fraction", "malicious_count")),
    "declared_byzantine",
)
PERCENT = frozenset(name for name, about in TABLE.items() if about.unit == "percent")
OPEN_ENDED: Mapping[str, str] = {n: about.null for n, about in TABLE.items() if about.null != "none"}  # null is an end
LATER: Mapping[str, Any] = MappingProxyType({n: about.usual for n, about in TABLE.items() if about.since > 1})
