"""Two results folders cell by cell: what changed between two versions, two machines, a plug-in before and after.

Which cells are the same is decided in `analysis.folders.matching`. Differences are second minus first, paired by seed.
A setting is all fields but the seed.

A setting got worse in a metric where the 95 % Student interval of its paired difference lies on the bad side of 0 and
the paired t test says so after Holm's correction over all settings and metrics that differ at all: else a grid of a
hundred settings would raise an alarm by chance every time. A metric got worse as a whole where the interval of its
mean over all settings, taken within each seed first, lies on the bad side. With one seed there is no interval: any loss
counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import frame as frames
from flipbench.analysis import statistics
from flipbench.analysis.comparisons import seed_table
from flipbench.analysis.folders.matching import Matched, content_of, match
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.record_rows import PROVENANCE
from flipbench.analysis.statistics import LEVEL
from flipbench.analysis.statistics import Values as Numbers
from flipbench.errors import UserError
from flipbench.spec.cell import FIELDS
from flipbench.spec.labels import is_nothing, placeless

METRICS = ("accuracy", "source_recall", "attack_success_rate")  # where nothing is asked for
BETTER, SAME, NOT_TOLD, WORSE = "better", "identical", "not told apart", "worse"
_UNMOVED = ("finished",)  # of the provenance: differs always


@dataclass(frozen=True)
class Difference:
    """One metric in one setting, or (``setting`` None) as a whole.

    Attributes:
        metric: its name.
        setting: place in `Matched.settings`; None for the mean over all.
        n: common seeds with a number on both sides.
        first, second: means over seeds.
        low, high: 95 % interval of ``second - first``; NaN for one seed.
        p, corrected: of the paired t test, raw and after Holm's correction; NaN where all cells are identical.
        verdict: better, identical, not told apart or worse.
    """

    metric: str
    setting: int | None
    n: int
    first: float
    second: float
    low: float
    high: float
    p: float
    corrected: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What two folders have in common and where they differ.

    Attributes:
        folders: the two, as given.
        matched: the pairs of cells.
        frames: of `analysis.frame.load`, without missing cells.
        identical: pairs of finished cells whose confusion matrices are equal in every evaluated round.
        finished: pairs of cells that are done on both sides.
        differences: one a metric and setting, then one a metric.
        states: (first, second) status -> how many pairs, where they differ.
        provenance: field -> its values in the first and in the second folder, where they differ.
        sources: what names a data set, rule or attack whose content or place changed -> before and after.
        undefined: metric -> how many pairs of finished cells have a number in the first folder alone.
    """

    folders: tuple[Path, Path]
    matched: Matched
    frames: tuple[pd.DataFrame, pd.DataFrame]
    identical: int
    finished: int
    differences: tuple[Difference, ...]
    states: dict[tuple[str, str], int]
    provenance: dict[str, tuple[str, str]]
    sources: dict[str, tuple[str, str]]
    undefined: dict[str, int]

    @property
    def lost(self) -> int:
        """Cells with a result (done, or refused by the rule) in the first folder and no partner in the second."""
        without = self.frames[0]["status"].iloc[self.matched.only_first]
        return int(without.isin(["done", "infeasible"]).sum())

    @property
    def worse(self) -> bool:
        """Whether a metric got worse, or cells that were done fail, are refused or are not there now."""
        stopped = any(before == "done" and after in ("failed", "infeasible") for before, after in self.states)
        gone = self.lost > 0 or bool(self.undefined)
        return stopped or gone or any(d.verdict == WORSE for d in self.differences)


def compare_folders(
    first: Path, second: Path, metrics: Sequence[str] = (), tolerance: float = 0.0, headline: str | None = None
) -> Comparison:
    """Compare two folders of a grid.

    Args:
        first: before, ``results/<grid>``.
        second: after.
        metrics: of `analysis.metrics.METRICS`, or with ``_damage`` or ``_last5``; empty: `METRICS`.
        tolerance: a mean loss of at most so much is none (a share, 0.01 is one percentage point).
        headline: which rounds the numbers of both are of; None: as their plans say, which must agree.

    Raises:
        UserError: no plan, two headlines, no such metric, or no cell in common.
    """
    shown = [metric_column(name) for name in dict.fromkeys(metrics or METRICS)]
    both = (_known(first, headline), _known(second, headline))
    if len(said := dict.fromkeys(str(frames.headline_of(frame)) for frame in both)) > 1:
        raise UserError(
            f"the numbers of {first} and {second} are of different rounds, {' and '.join(said)}: choose those of both "
            "with --headline"
        )
    matched = match(*both)
    if not len(matched.first):
        why = "; ".join(matched.ambiguous) or "cells are matched on all fields but the device"
        raise UserError(
            f"{first} and {second} have no cell in common: {why}; give two folders of the same grid (`flipbench plan` "
            "lists cells)"
        )
    done = [frame["status"].to_numpy(dtype=object) for frame in both]
    before, after = done[0][matched.first], done[1][matched.second]
    tidy = [evaluate(frame).set_index("key") for frame in both]
    keys = both[0]["key"].to_numpy()[matched.first], both[1]["key"].to_numpy()[matched.second]
    finished = (before == "done") & (after == "done")
    return Comparison(
        (first, second),
        matched,
        both,
        int(_identical(both, matched, finished).sum()),
        int(finished.sum()),
        tuple(_differences(matched, both[0], tidy, keys, shown, tolerance)),
        dict(Counter((str(a), str(b)) for a, b in zip(before, after, strict=True) if a != b)),
        _provenance(both),
        _sources(both, matched),
        _undefined(shown, tidy, keys),
    )


def _undefined(shown: Sequence[MetricColumn], tidy: Sequence[pd.DataFrame], keys: tuple[Any, Any]) -> dict[str, int]:
    """A number that is not there any more is a loss that no mean shows. (Cells that do not finish count as such.)"""
    found = {}
    for metric in shown:
        sides = [t[metric.name].reindex(k).to_numpy(dtype=float) for t, k in zip(tidy, keys, strict=True)]
        there = pd.Index(keys[1]).isin(tidy[1].index)
        if number := int((~np.isnan(sides[0]) & np.isnan(sides[1]) & there).sum()):
            found[metric.name] = number
    return found


def _known(folder: Path, headline: str | None) -> pd.DataFrame:
    frame = frames.load(folder, headline=headline)
    return frame[frame["status"] != "missing"].reset_index(drop=True)


def _identical(both: Sequence[pd.DataFrame], matched: Matched, finished: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pairs = [
        (both[0][name].to_numpy(dtype=object)[matched.first], both[1][name].to_numpy(dtype=object)[matched.second])
        for name in ("rounds_evaluated", "confusion")
    ]
    found = [done and all(np.array_equal(a[i], b[i]) for a, b in pairs) for i, done in enumerate(finished.tolist())]
    return np.array(found, dtype=bool)


def _differences(
    matched: Matched,
    first: pd.DataFrame,
    tidy: Sequence[pd.DataFrame],
    keys: tuple[Any, Any],
    shown: Sequence[MetricColumn],
    tolerance: float,
) -> list[Difference]:
    seeds = first["seed"].to_numpy(dtype=np.int64)[matched.first]
    each: list[_Table] = []
    whole: list[_Table] = []
    for metric in shown:
        a, b = (t[metric.name].reindex(k).to_numpy(dtype=float) for t, k in zip(tidy, keys, strict=True))
        unknown = np.isnan(a) | np.isnan(b)
        a, b = np.where(unknown, np.nan, a), np.where(unknown, np.nan, b)
        changed = np.bincount(matched.setting, (a != b) & ~unknown, len(matched.settings)) > 0
        rule = np.zeros(len(a), dtype=np.int64)
        shape = (len(matched.settings), 1)
        before, after = (seed_table(matched.setting, rule, seeds, v, shape)[:, 0] for v in (a, b))
        each.append((metric, before, after, changed))
        before, after = (seed_table(rule, rule, seeds, v, (1, 1))[:, 0] for v in (a, b))
        whole.append((metric, before, after, np.array([changed.any()])))
    # The mean over settings is a question of its own, asked once a metric.
    return [*_judged(each, tolerance, overall=False), *_judged(whole, tolerance, overall=True)]


_Table = tuple[
    MetricColumn, Numbers, Numbers, NDArray[np.bool_]
]  # (settings, seeds) of both folders; what changed at all


def _judged(tables: Sequence[_Table], tolerance: float, *, overall: bool) -> list[Difference]:
    """Verdicts over a family of tests, a table a metric."""
    found, p = [], np.concatenate([np.where(c, statistics.paired_t(b - a), np.nan) for _, a, b, c in tables])
    corrected = p if overall else statistics.holm(p)
    at = 0
    for metric, a, b, changed in tables:
        d, sign = b - a, 1.0 if metric.higher_is_better else -1.0
        mean, _, n, low, high = statistics.over_seeds(d, statistics.difference(metric.bounds)).values()
        means = statistics.moments(a)[0], statistics.moments(b)[0]
        for i in np.flatnonzero(n > 0).tolist():
            verdict = NOT_TOLD if changed[i] else SAME
            clear = n[i] == 1 or (corrected[at + i] < LEVEL and not low[i] <= 0 <= high[i])
            if changed[i] and clear and mean[i] != 0:
                verdict = BETTER if sign * mean[i] > 0 else WORSE
            if verdict == WORSE and abs(mean[i]) <= tolerance:
                verdict = NOT_TOLD
            found.append(
                Difference(
                    metric=metric.name,
                    setting=None if overall else i,
                    n=int(n[i]),
                    first=float(means[0][i]),
                    second=float(means[1][i]),
                    low=float(low[i]),
                    high=float(high[i]),
                    p=float(p[at + i]),
                    corrected=float(corrected[at + i]),
                    verdict=verdict,
                )
            )
        at += len(d)
    return found


def _provenance(both: Sequence[pd.DataFrame]) -> dict[str, tuple[str, str]]:
    found = {}
    for name in (n for n in (*PROVENANCE, "data_sha256") if n not in _UNMOVED):
        column = name if name in both[0] else f"provenance_{name}"
        sides = [" and ".join(sorted({str(v) for v in f[column] if not is_nothing(v)})) or "unknown" for f in both]
        if sides[0] != sides[1]:
            found[name] = (sides[0], sides[1])
    return found


def _sources(both: Sequence[pd.DataFrame], matched: Matched) -> dict[str, tuple[str, str]]:
    """What names other content, or the same in another place, in the two folders -> both texts and hashes."""
    places = (matched.first, matched.second)
    found: dict[str, tuple[str, str]] = {}
    columns: list[tuple[Sequence[Any], Sequence[int]]] = [
        (f["content"].tolist(), own.tolist()) for f, own in zip(both, places, strict=True)
    ]
    contents = [[dict(content[i] or ()) for i in own] for content, own in columns]
    for kind in sorted({kind for side in contents for content in side for kind in content}):
        if kind in FIELDS:
            sides = zip(*(_named(f, kind, own) for f, own in zip(both, places, strict=True)), strict=True)
        else:  # of the program itself
            sides = zip(*([(kind, content.get(kind)) for content in side] for side in contents), strict=True)
        for before, after in dict.fromkeys(sides):
            if before == after:
                continue
            short = [str(value or "none")[:12] for _, value in (before, after)]
            if before[0] != after[0]:
                short = [f"{text} ({value})" for (text, _), value in zip((before, after), short, strict=True)]
            name = kind if kind not in FIELDS else f"{kind} {placeless(before[0], kind)}"
            name = name if name not in found else f"{kind} {before[0]}"
            found[name] = (short[0], short[1])
    return found


def _named(frame: pd.DataFrame, field: str, places: NDArray[np.int64]) -> list[tuple[str, str | None]]:
    own = frame.iloc[places]
    return list(zip(map(str, own[field]), content_of(own, field), strict=True))
