"""Metrics as they are shown: of the last round, as damage, as the mean of the last rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flipbench.analysis.metrics import METRICS, SUFFIXES, undefined
from flipbench.analysis.rounds.late_rounds import CLEAN_VALUE, LAST, LAST_ROUNDS
from flipbench.analysis.statistics import DIFFERENCE, SHARE, UNBOUNDED, Bounds
from flipbench.errors import UserError
from flipbench.spec.distinct_texts import printable
from flipbench.spec.metric_names import CELL_SHEET, DAMAGE, PERCENT, POINTS, of_settings

OF_CELLS = {m.name: m for m in CELL_SHEET}


@dataclass(frozen=True)
class MetricColumn:
    """A column of the tidy frame as it is shown.

    Attributes:
        name: the tidy column, like ``accuracy`` or ``accuracy_damage``.
        label: for people.
        higher_is_better: of the shown number.
        needs_mapping: only of attacks with a fixed class map; its clean value then depends on the attack.
        clean: the tidy column of the clean value; None where a clean twin has none (damage).
        metric: the name of the metric itself.
    """

    name: str
    label: str
    higher_is_better: bool
    needs_mapping: bool
    clean: str | None
    metric: str

    @property
    def damage(self) -> bool:
        """Whether it is the damage of a metric."""
        return self.name == self.metric + DAMAGE

    @property
    def unit(self) -> str:
        """Of the shown number: per cent, and percentage points for damage, a difference of two shares."""
        return POINTS if self.damage else PERCENT

    @property
    def bounds(self) -> Bounds:
        """Between which any value lies."""
        return DIFFERENCE if self.damage else SHARE

    @property
    def heading(self) -> str:
        """Label and unit, for headings, axes and colour bars."""
        return f"{self.label} ({self.unit})"

    @property
    def when(self) -> str:
        """Which rounds the number is of; empty: those of the grid's headline."""
        return OF_CELLS[self.metric].when if self.metric in OF_CELLS else ""

    @property
    def last_rounds(self) -> bool:
        """Whether it is the mean of the last rounds."""
        return self.name == self.metric + LAST_ROUNDS


def metric_column(name: str) -> MetricColumn:
    """The column of a metric, ``<metric>_damage`` or ``<metric>_last5``.

    Raises:
        UserError: no such metric.
    """
    if (own := OF_CELLS.get(name)) is not None:
        label = own.label[0].upper() + own.label[1:]
        return MetricColumn(name, label, own.higher_is_better, False, name if own.clean else None, name)
    base = name.removesuffix(DAMAGE).removesuffix(LAST_ROUNDS)
    if base not in METRICS or name not in {base, base + DAMAGE, base + LAST_ROUNDS}:
        known = f"there are {', '.join(METRICS)}, each with _damage or _last5 too, and {', '.join(OF_CELLS)}"
        raise UserError(f"there is no metric {name!r}; {known}{of_settings(name)}")
    metric = METRICS[base]
    label = metric.label[0].upper() + metric.label[1:]
    if name == base + DAMAGE:
        return MetricColumn(name, f"{label} damage", False, metric.needs_mapping, None, base)
    if name == base:
        clean = base + CLEAN_VALUE if metric.needs_mapping else base
        return MetricColumn(name, label, metric.higher_is_better, metric.needs_mapping, clean, base)
    label += f", mean of the last {LAST} evaluated rounds"
    # A clean twin's last rounds are not told apart by attack, so they stand only where no mapping is needed.
    clean_rounds = None if metric.needs_mapping else name
    return MetricColumn(name, label, metric.higher_is_better, metric.needs_mapping, clean_rounds, base)


def bounds_of(name: str) -> Bounds:
    """Between which the values of a tidy column lie: of metrics and what stands with a suffix beside them."""
    if name in OF_CELLS:
        return SHARE
    base = next((m for m in sorted(METRICS, key=len, reverse=True) if name.startswith(m)), None)
    suffix = "" if base is None else name.removeprefix(base)
    if base is None or suffix not in SUFFIXES:
        return UNBOUNDED
    return DIFFERENCE if suffix == DAMAGE else SHARE


def why_undefined(shown: MetricColumn, cell: Mapping[Any, Any], clean: bool) -> str | None:
    """Why a finished cell has no number of a metric; None where that is not known.

    Args:
        shown: the metric.
        cell: ``confusion``, ``mapping``, ``classes`` and ``stamped`` of the cell.
        clean: whether the number is that of its clean twin.
    """
    if shown.metric in OF_CELLS:
        return OF_CELLS[shown.metric].why
    of_twin = clean or shown.damage
    if of_twin and cell["stamped"] is not None and shown.metric == "attack_success_rate":
        return "the clean twin of a backdoor sees no stamped image"
    counts, about = cell["confusion"], (cell["mapping"], cell["classes"])
    if why := undefined(shown.metric, counts[-1], *about):
        return printable(why)
    if of_twin:
        return "no finished clean twin"
    earlier = (why for matrix in counts[-2::-1] if (why := undefined(shown.metric, matrix, *about)))  # of the headline
    return None if (found := next(earlier, None)) is None else f"in an earlier round {printable(found)}"
