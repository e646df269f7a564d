"""Texts of ``flipbench compare``: the differences between two results folders, as Markdown or CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flipbench.analysis import frame as frames
from flipbench.analysis import mixed_provenance
from flipbench.analysis.folders.matching import SETTING, Matched
from flipbench.analysis.folders.run_comparison import BETTER, SAME, WORSE, Comparison, Difference, compare_folders
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.errors import UserError
from flipbench.execution.progress import counted
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.markdown import md_text
from flipbench.report.tables.model import number
from flipbench.spec.distinct_texts import printable
from flipbench.spec.labels import dataset_text, field_label, is_nothing, value_label
from flipbench.spec.metric_names import POINTS

FORMATS = ("md", "csv")
_MOST = 40  # lines of a list or table; the CSV has all
_NUMBERS = ("n", "first", "second", "difference", "low", "high", "p", "p_holm", "verdict")


def compare(
    first: Path,
    second: Path,
    metrics: Sequence[str] = (),
    form: str = "md",
    tolerance: float = 0.0,
    headline: str | None = None,
) -> tuple[str, bool]:
    """The text to print, and whether something got worse: a metric, or cells that were done and are not now.

    Raises:
        UserError: no plan, no such metric or format, no cell in common.
    """
    if form not in FORMATS:
        raise UserError(f"a comparison is written as {' or '.join(FORMATS)}, not as {form!r}")
    if not 0 <= tolerance < 1:
        raise UserError(f"--tolerance is a share from 0 to 1 (0.01: one percentage point), got {tolerance:g}")
    comparison = compare_folders(first, second, metrics, tolerance, headline)
    with frames.labels_of(*comparison.frames):
        return (_csv(comparison) if form == "csv" else _markdown(comparison)), comparison.worse


def _markdown(comparison: Comparison) -> str:
    first, second = (md_text(printable(str(folder))) for folder in comparison.folders)
    parts = [f"# {second} (B) against {first} (A)", _verdict(comparison), *_counts(comparison)]
    if comparison.provenance or comparison.sources:
        rows = [
            [n.replace("_", " "), *sides] for n, sides in [*comparison.provenance.items(), *comparison.sources.items()]
        ]
        parts += ["## What changed", _table(["", "before", "after"], rows)]
    parts += _mixtures(comparison)
    whole = [d for d in comparison.differences if d.setting is None]
    if whole:
        parts += ["## Metrics, mean over all settings", _metrics(comparison, whole)]
    each = [d for d in comparison.differences if d.setting is not None and d.verdict != SAME]
    each.sort(key=lambda d: (d.verdict != WORSE, d.verdict != BETTER, -abs(d.second - d.first)))
    if each:
        fields = _varying(comparison.matched)
        names = ["metric", *map(field_label, fields), "before", "after", f"difference ({POINTS})", "seeds", "verdict"]
        rows = [[d.metric, *_field_values(comparison.matched, fields, d), *_numbers(d)] for d in each[:_MOST]]
        parts += [f"## Settings that differ ({len(each)} of metric and setting)", _table(names, rows)]
        parts += [f"{len(each) - _MOST} more: `--format csv`."] if len(each) > _MOST else []
    for folder, frame, places in zip(comparison.folders, comparison.frames, _only(comparison.matched), strict=True):
        if len(places):
            parts.append(f"## Only in {md_text(printable(str(folder)))}: {counted(len(places), 'cell')}")
            parts.append("\n".join(f"- {md_text(text)}" for text in _cells(frame, places)))
    parts += [f"Not told apart: {md_text(printable(text, 2000))}." for text in comparison.matched.ambiguous]
    return "\n\n".join([*parts, _explanation(comparison)]) + "\n"


def _mixtures(comparison: Comparison) -> Iterator[str]:
    """One sentence for each folder whose cells were made by different code, libraries or processors, with counts."""
    for side, frame in zip("AB", comparison.frames, strict=True):
        done = frame[frame["status"] == "done"]
        for sentence, _ in mixed_provenance.sentences(done):
            yield f"{side}: {md_text(printable(sentence, 2000))}."


def _verdict(comparison: Comparison) -> str:
    worse = [d for d in comparison.differences if d.verdict == WORSE]
    stopped = sum(n for (a, b), n in comparison.states.items() if a == "done" and b in ("failed", "infeasible"))
    problems = []
    if worse:
        names = list(dict.fromkeys(d.metric for d in worse))
        settings = sum(d.setting is not None for d in worse)
        problems.append(f"{', '.join(names)} got worse ({counted(settings, 'setting')})")
    if stopped:
        problems.append(f"{counted(stopped, 'cell')} no longer finish{'es' * (stopped == 1)}")
    problems += [f"{n} is not defined any more in {counted(k, 'cell')}" for n, k in comparison.undefined.items()]
    only = [
        f"{counted(len(places), 'cell')} only in {name}"
        for name, places in zip("AB", _only(comparison.matched), strict=True)
        if len(places)
    ]
    same = comparison.identical == comparison.finished and not comparison.states
    if problems or comparison.lost:
        rest = [f"the other {comparison.finished:,} bit-identical"] if same else []
        return f"**Worse:** {md_text('; '.join([*problems, *only, *rest]))}."
    rest = ["the other {:,} bit-identical" if only else "bit-identical"] if same else ["nothing got worse"]
    text = "; ".join([*only, rest[0].format(comparison.finished)])
    return f"**{text[0].upper()}{text[1:]}.**"


def _counts(comparison: Comparison) -> Iterator[str]:
    yield (
        f"{counted(len(comparison.matched.first), 'cell')} in both, {comparison.finished:,} of them done in both; "
        f"{comparison.identical:,} bit-identical (confusion matrices of every evaluated round)."
    )
    if comparison.states:
        changes = ", ".join(f"{n:,} from {a} to {b}" for (a, b), n in sorted(comparison.states.items()))
        yield f"State changed: {changes}."


def _metrics(comparison: Comparison, whole: Sequence[Difference]) -> str:
    rows = []
    for mean in whole:
        verdicts = [d.verdict for d in comparison.differences if d.metric == mean.metric and d.setting is not None]
        counts = [str(verdicts.count(verdict)) for verdict in (WORSE, BETTER, SAME)]
        rows.append([mean.metric, *_numbers(mean), *counts, str(len(verdicts))])
    names = [
        "metric",
        "before",
        "after",
        f"difference ({POINTS})",
        "seeds",
        "verdict",
        "settings worse",
        "better",
        "identical",
    ]
    return _table([*names, "of"], rows)


def _numbers(row: Difference) -> list[str]:
    difference = number(row.second - row.first)
    if row.n > 1:
        difference += f" [{number(row.low)}, {number(row.high)}]"
    better = "" if metric_column(row.metric).higher_is_better else " (low is good)"
    return [number(row.first), number(row.second), difference, str(row.n), row.verdict + better]


def _explanation(comparison: Comparison) -> str:
    seeds = max((d.n for d in comparison.differences), default=0)
    text = "Differences are after minus before, paired by seed, with their 95 % interval (Student), in points."
    if seeds <= 1:
        return f"{text} One seed gives no interval: a difference is judged by its sign, and any loss is worse."
    text += (
        " A setting got worse where its interval excludes 0 and the paired t test does after Holm's correction over "
        "all that differ; a metric where the interval of its mean over all settings excludes 0."
    )
    if seeds < LEAST_SEEDS:
        text += f" With {seeds} seeds the intervals lean on normal differences; {LEAST_SEEDS} or more are safer."
    return text


def _varying(matched: Matched) -> list[str]:
    """Fields in which settings differ, and always the aggregator and the attack."""
    several = {f for i, f in enumerate(SETTING) if len({s[i] for s in matched.settings}) > 1}
    return [f for f in SETTING if f in ("aggregator", "attack") or (f in several and f != "malicious_count")]


def _field_values(matched: Matched, fields: Sequence[str], difference: Difference) -> list[str]:
    if difference.setting is None:
        return [""] * len(fields)
    values = dict(zip(SETTING, matched.settings[difference.setting], strict=True))
    return [value_label(f, values[f]) for f in fields]


def _only(matched: Matched) -> tuple[Any, Any]:
    return matched.only_first, matched.only_second


def _cells(frame: pd.DataFrame, places: Sequence[int]) -> Iterator[str]:
    for place in list(places)[:_MOST]:
        row = frame.iloc[place]
        names = (row["aggregator"], row["attack"], value_label("malicious_fraction", row["malicious_fraction"]))
        yield f"{row['key'][:12]} {', '.join(map(str, names))} malicious, seed {row['seed']}"
    if len(places) > _MOST:
        yield f"and {len(places) - _MOST} more"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(md_text, names)), ["---"] * len(names), *([md_text(printable(c)) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _csv(comparison: Comparison) -> str:
    """One line a metric and setting, the means over all settings, and the cells of only one folder."""
    lines: list[list[Any]] = []
    for d in comparison.differences:
        scope = "all" if d.setting is None else "setting"
        own = [d.n, d.first, d.second, d.second - d.first, d.low, d.high, d.p, d.corrected, d.verdict]
        lines.append([scope, d.metric, *_values(comparison.matched, d), "", *own])
    for scope, frame, places in zip(
        ("only_first", "only_second"), comparison.frames, _only(comparison.matched), strict=True
    ):
        for place in places:
            row = frame.iloc[place]
            plain = [_plain(f, row[f]) for f in SETTING]
            lines.append([scope, "", *plain, row["seed"], *[""] * len(_NUMBERS)])
    return csv_text(["scope", "metric", *SETTING, "seed", *_NUMBERS], lines)


def _values(matched: Matched, difference: Difference) -> Sequence[Any]:
    if difference.setting is None:
        return [""] * len(SETTING)
    values = matched.settings[difference.setting]
    return [_plain(f, v) for f, v in zip(SETTING, values, strict=True)]


def _plain(field: str, value: Any) -> Any:
    """A value as numbers are written to files."""
    if field == "dataset":
        return dataset_text(str(value))
    return printable(value, 2000) if isinstance(value, str) else None if is_nothing(value) else value
