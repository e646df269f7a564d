"""``flipbench compare``: what two results folders say of the same cells, as Markdown or CSV; for people and for CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.run_comparison import (
    BETTER,
    SAME,
    SETTING,
    WORSE,
    Comparison,
    Difference,
    Matched,
    compare_folders,
)
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.errors import UserError
from flipbench.execution.progress import counted
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.model import number
from flipbench.report.tables.summary import md_text
from flipbench.spec.labels import dataset_label, field_label, is_nothing, printable, value_label

FORMATS = ("md", "csv")
_MOST = 40  # lines of a list or table; the CSV has all
_NUMBERS = ("n", "first", "second", "difference", "low", "high", "p", "p_holm", "verdict")


def compare(
    first: Path, second: Path, metrics: Sequence[str] = (), form: str = "md", tolerance: float = 0.0
) -> tuple[str, bool]:
    """The text to print, and whether something got worse: a metric, or cells that were done and are not now.

    Raises:
        UserError: no plan, no such metric or format, no cell in common.
    """
    if form not in FORMATS:
        raise UserError(f"a comparison is written as {' or '.join(FORMATS)}, not as {form!r}")
    if not 0 <= tolerance < 1:
        raise UserError(f"--tolerance is a share from 0 to 1 (0.01: one percentage point), got {tolerance:g}")
    found = compare_folders(first, second, metrics, tolerance)
    return (_csv(found) if form == "csv" else _markdown(found)), found.worse


def _markdown(found: Comparison) -> str:
    first, second = (md_text(printable(str(folder))) for folder in found.folders)
    parts = [f"# {second} (B) against {first} (A)", _verdict(found), *_counts(found)]
    if found.provenance or found.sources:
        rows = [[n.replace("_", " "), *sides] for n, sides in [*found.provenance.items(), *found.sources.items()]]
        parts += ["## What changed", _table(["", "before", "after"], rows)]
    whole = [d for d in found.differences if d.setting is None]
    if whole:
        parts += ["## Metrics, mean over all settings", _metrics(found, whole)]
    each = [d for d in found.differences if d.setting is not None and d.verdict != SAME]
    each.sort(key=lambda d: (d.verdict != WORSE, d.verdict != BETTER, -abs(d.second - d.first)))
    if each:
        facts = _varying(found.matched)
        names = ["metric", *map(field_label, facts), "before", "after", "difference (%)", "seeds", "verdict"]
        rows = [[d.metric, *_facts(found.matched, facts, d), *_numbers(d)] for d in each[:_MOST]]
        parts += [f"## Settings that differ ({len(each)} of metric and setting)", _table(names, rows)]
        parts += [f"{len(each) - _MOST} more: `--format csv`."] if len(each) > _MOST else []
    for folder, frame, places in zip(found.folders, found.frames, _only(found.matched), strict=True):
        if len(places):
            parts.append(f"## Only in {md_text(printable(str(folder)))}: {counted(len(places), 'cell')}")
            parts.append("\n".join(f"- {md_text(text)}" for text in _cells(frame, places)))
    return "\n\n".join([*parts, _said(found)]) + "\n"


def _verdict(found: Comparison) -> str:
    worse = [d for d in found.differences if d.verdict == WORSE]
    stopped = sum(n for (a, b), n in found.states.items() if a == "done" and b in ("failed", "infeasible"))
    told = []
    if worse:
        names = list(dict.fromkeys(d.metric for d in worse))
        settings = sum(d.setting is not None for d in worse)
        told.append(f"{', '.join(names)} got worse ({counted(settings, 'setting')})")
    if stopped:
        told.append(f"{counted(stopped, 'cell')} no longer finish{'es' * (stopped == 1)}")
    only = [
        f"{counted(len(places), 'cell')} only in {name}"
        for name, places in zip("AB", _only(found.matched), strict=True)
        if len(places)
    ]
    same = found.identical == found.finished and not found.states
    if told or found.lost:
        rest = [f"the other {found.finished:,} bit-identical"] if same else []
        return f"**Worse:** {md_text('; '.join([*told, *only, *rest]))}."
    rest = ["the other {:,} bit-identical" if only else "bit-identical"] if same else ["nothing got worse"]
    text = "; ".join([*only, rest[0].format(found.finished)])
    return f"**{text[0].upper()}{text[1:]}.**"


def _counts(found: Comparison) -> Iterator[str]:
    yield (
        f"{counted(len(found.matched.first), 'cell')} in both, {found.finished:,} of them done in both; "
        f"{found.identical:,} bit-identical (confusion matrices of every evaluated round)."
    )
    if found.states:
        told = ", ".join(f"{n:,} from {a} to {b}" for (a, b), n in sorted(found.states.items()))
        yield f"State changed: {told}."


def _metrics(found: Comparison, whole: Sequence[Difference]) -> str:
    rows = []
    for one in whole:
        mine = [d.verdict for d in found.differences if d.metric == one.metric and d.setting is not None]
        counts = [str(mine.count(verdict)) for verdict in (WORSE, BETTER, SAME)]
        rows.append([one.metric, *_numbers(one), *counts, str(len(mine))])
    names = ["metric", "before", "after", "difference (%)", "seeds", "verdict", "settings worse", "better", "identical"]
    return _table([*names, "of"], rows)


def _numbers(one: Difference) -> list[str]:
    difference = number(one.second - one.first)
    if one.n > 1:
        difference += f" [{number(one.low)}, {number(one.high)}]"
    better = "" if metric_column(one.metric).higher_is_better else " (low is good)"
    return [number(one.first), number(one.second), difference, str(one.n), one.verdict + better]


def _said(found: Comparison) -> str:
    seeds = max((d.n for d in found.differences), default=0)
    told = "Differences are after minus before, paired by seed, with their 95 % Student interval, in %."
    if seeds <= 1:
        return f"{told} One seed gives no interval: what is not identical is judged by its sign, and any loss is worse."
    told += (
        " A setting got worse where its interval excludes 0 and the paired t test does after Holm's correction over "
        "all that differ; a metric where the interval of its mean over all settings excludes 0."
    )
    if seeds < LEAST_SEEDS:
        told += f" With {seeds} seeds the intervals lean on normal differences; {LEAST_SEEDS} or more are safer."
    return told


def _varying(matched: Matched) -> list[str]:
    """Facts that tell settings apart, and always rule and attack."""
    several = {f for i, f in enumerate(SETTING) if len({s[i] for s in matched.settings}) > 1}
    return [f for f in SETTING if f in ("aggregator", "attack") or (f in several and f != "malicious_count")]


def _facts(matched: Matched, facts: Sequence[str], one: Difference) -> list[str]:
    if one.setting is None:
        return [""] * len(facts)
    told = dict(zip(SETTING, matched.settings[one.setting], strict=True))
    return [value_label(f, told[f]) for f in facts]


def _only(matched: Matched) -> tuple[Any, Any]:
    return matched.only_first, matched.only_second


def _cells(frame: pd.DataFrame, places: Sequence[int]) -> Iterator[str]:
    for place in list(places)[:_MOST]:
        row = frame.iloc[place]
        told = (row["aggregator"], row["attack"], f"{value_label('malicious_fraction', row['malicious_fraction'])}")
        yield f"{row['key'][:12]} {', '.join(map(str, told))} malicious, seed {row['seed']}"
    if len(places) > _MOST:
        yield f"and {len(places) - _MOST} more"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(md_text, names)), ["---"] * len(names), *([md_text(printable(c)) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _csv(found: Comparison) -> str:
    """One line a metric and setting, the means over all settings, and the cells of only one folder."""
    lines: list[list[Any]] = []
    for d in found.differences:
        told = ["" if d.setting is None else v for v in _values(found.matched, d)]
        scope = "all" if d.setting is None else "setting"
        own = [d.n, d.first, d.second, d.second - d.first, d.low, d.high, d.p, d.corrected, d.verdict]
        lines.append([scope, d.metric, *told, "", *own])
    for scope, frame, places in zip(("only_first", "only_second"), found.frames, _only(found.matched), strict=True):
        for place in places:
            row = frame.iloc[place]
            values = [dataset_label(str(row[f])) if f == "dataset" else row[f] for f in SETTING]
            plain = [printable(v) if isinstance(v, str) else None if is_nothing(v) else v for v in values]
            lines.append([scope, "", *plain, row["seed"], *[""] * len(_NUMBERS)])
    return csv_text(["scope", "metric", *SETTING, "seed", *_NUMBERS], lines)


def _values(matched: Matched, one: Difference) -> Sequence[Any]:
    if one.setting is None:
        return [""] * len(SETTING)
    return [printable(v) if isinstance(v, str) else v for v in matched.settings[one.setting]]
