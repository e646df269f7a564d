"""Metrics as they are shown: of the last round, as damage, as the mean of the last rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flipbench.analysis.metrics import LAST, METRICS, undefined
from flipbench.errors import UserError
from flipbench.spec.labels import printable


@dataclass(frozen=True)
class MetricColumn:
    """A column of the tidy frame as it is shown.

    Attributes:
        name: the tidy column, like ``accuracy`` or ``accuracy_damage``.
        label: for people.
        higher_is_better: of the shown number.
        needs_mapping: only of attacks with a fixed class map; its clean value then depends on the attack.
        clean: the tidy column of the clean value; None where a clean twin has none (damage).
    """

    name: str
    label: str
    higher_is_better: bool
    needs_mapping: bool
    clean: str | None


def metric_column(name: str) -> MetricColumn:
    """The measure of a metric, ``<metric>_damage`` or ``<metric>_last5``.

    Raises:
        UserError: no such metric.
    """
    base = name.removesuffix("_damage").removesuffix(f"_last{LAST}")
    if base not in METRICS or name not in {base, f"{base}_damage", f"{base}_last{LAST}"}:
        raise UserError(f"there is no metric {name!r}; there are {', '.join(METRICS)}, and each with _damage or _last5")
    one = METRICS[base]
    label = one.label[0].upper() + one.label[1:]
    if name.endswith("_damage"):
        return MetricColumn(name, f"{label} damage", False, one.needs_mapping, None)
    if name != base:
        label += f", mean of the last {LAST} evaluated rounds"
    # A clean twin's last rounds are not told apart by attack, so they stand only where no mapping is needed.
    clean = f"{base}_clean" if one.needs_mapping and name == base else None if one.needs_mapping else name
    return MetricColumn(name, label, one.higher_is_better, one.needs_mapping, clean)


def why_undefined(shown: MetricColumn, cell: Mapping[Any, Any], clean: bool) -> str | None:
    """Why a finished cell has no number of a measure; None where that is not known.

    Args:
        shown: the measure.
        cell: ``confusion``, ``mapping``, ``classes`` and ``stamped`` of the cell.
        clean: whether the number is that of its clean twin.
    """
    base = shown.name.removesuffix("_damage").removesuffix(f"_last{LAST}")
    of_twin = clean or shown.name.endswith("_damage")
    if of_twin and cell["stamped"] is not None and base == "attack_success_rate":
        return "the clean twin of a backdoor sees no stamped image"
    why = undefined(base, cell["confusion"][-1], cell["mapping"], cell["classes"])
    return printable(why) if why else "no finished clean twin" if of_twin else None
