"""The tables about attacks as CSV, for further work; shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flipbench.analysis import declared_f
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.static_regret import regrets
from flipbench.analysis.statistics import STATISTICS
from flipbench.analysis.worst_case import worst
from flipbench.report.tables.csv_format import csv_text
from flipbench.spec.labels import dataset_text

_REGRET = tuple(f"{what}_{s}" for what in ("static", "searched", "regret") for s in STATISTICS)
_REGRET_END = ("trials", "reason", "caveat")


def worst_csv(pivots: Sequence[Pivot]) -> str | None:
    """One line an aggregator and place: the worst attack and the interval of its mean; None with a single attack."""
    fields = fields_of(pivots)
    numbers = ["state", "mean", "sd", "low", "high", "n", "planned", "attacks", "asked", "reason", "caveat"]
    lines = []
    for pivot in pivots:
        page = pivot.page
        if len(page.attacks) > 1:
            for square in worst(pivot, metric_column("accuracy")).to_dict("records"):
                column = square["column"]
                if not column.clean:
                    place = values_of(page, fields, column.setting, column.level, square["aggregator"])
                    attack = square["worst"]
                    known = [attack, attack in page.adaptive] if attack else ["", ""]
                    lines.append(["accuracy", square["aggregator"], *place, *known, *(square[n] for n in numbers)])
    names = ["metric", "aggregator", *fields, "worst_attack", "adaptive", *numbers]
    return csv_text(names, lines) if lines else None


def regret_csv(pivots: Sequence[Pivot]) -> str | None:
    """One line an aggregator, place and searched attack; None where none was searched or no flip is static."""
    fields = fields_of(pivots)
    lines = []
    for pivot in pivots:
        for line in regrets(pivot).to_dict("records"):
            begin = [
                line["aggregator"],
                *values_of(pivot.page, fields, line["setting"], line["level"], line["aggregator"]),
            ]
            begin += [line[name] for name in ("state", "attack", "objective", "static")]
            found = [_maps(line["maps"]), _maps(line["lacking"])]
            lines.append([*begin, *(line[n] for n in _REGRET), *found, *(line[n] for n in _REGRET_END)])
    names = ["aggregator", *fields, "state", "attack", "objective", "best_static", *_REGRET]
    names += ["maps", "published_maps_lacking", *_REGRET_END]
    return csv_text(names, lines) if lines else None


def declared_csv(pivots: Sequence[Pivot]) -> str | None:
    """One line an aggregator, declared f and true number: accuracy, and its loss against declaring the truth; None
    where the two are not axes of the grid."""
    fields = [f for f in fields_of(pivots) if f not in declared_f.AXES]
    numbers = [f"{prefix}{n}" for prefix in ("", "regret_") for n in ("state", *STATISTICS)] + ["caveat"]
    lines = []
    for pivot in pivots:
        page = pivot.page
        for attack in page.attacks if declared_f.applies(page) else ():
            for values in declared_f.variants(page, attack):
                has = _has(page, dict(zip(declared_f.rest(page), values, strict=True)))
                about = [attack, attack in page.adaptive]
                for square in declared_f.table(pivot, metric_column("accuracy"), attack, values).to_dict("records"):
                    own = [square[n] for n in ("aggregator", "declared", "true", *numbers)]
                    of_rule = has | _by_row(page, square["aggregator"])
                    lines.append(["accuracy", *about, *(of_rule.get(f) for f in fields), *own])
    names = ["metric", "attack", "adaptive", *fields, "aggregator", "declared_byzantine", "malicious_count", *numbers]
    return csv_text(names, lines) if lines else None


def fields_of(pivots: Sequence[Pivot], of_rules: bool = True) -> list[str]:
    """Fields that vary on a page or between pages, beside the data set and its partition.

    Args:
        pivots: of the pages.
        of_rules: also those that vary only from rule to rule, for lines of one rule.
    """
    found = [f for p in pivots for f in (*p.page.about, *p.page.settings, *p.page.levels)]
    found += [f for p in pivots for f in p.page.by_row if of_rules]
    return list(dict.fromkeys(["dataset", "partition", *found]))


def values_of(
    page: Page, fields: Sequence[str], setting: tuple[Any, ...], level: tuple[Any, ...], rule: str | None = None
) -> list[Any]:
    """Values of some fields at a place of a page; those of the attack are none for a clean column, which lacks them.

    Args:
        page: of the place.
        fields: names.
        setting, level: values of the page's fields.
        rule: whose value counts of a field that varies from rule to rule; None: such a field has none.
    """
    values = dict(zip(page.settings, setting, strict=True)) | dict.fromkeys(page.levels) | _by_row(page, rule)
    has = _has(page, values | dict(zip(page.levels, level, strict=False)))
    return [has.get(f) for f in fields]


def _by_row(page: Page, rule: str | None) -> dict[str, Any]:
    return {field: values.get(rule) for field, values in page.by_row.items()} if rule is not None else {}


def _has(page: Page, values: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a place, the data set without its path."""
    has = {**page.constant, **page.about, **values}
    return {**has, "dataset": dataset_text(str(has["dataset"]))}


def _maps(maps: Any) -> str:
    """``0>9 1>8 x2; 0>1``: each map found, and in how many seeds where it is more than one."""
    if not isinstance(maps, Mapping):
        return ""
    texts = [" ".join(f"{s}>{t}" for s, t in pairs) + (f" x{n}" if n > 1 else "") for pairs, n in maps.items()]
    return "; ".join(texts)
