"""Does "A is better than B" hold in every setting? The share of settings in which it does, and the reversals by name.

A *setting* is a value of every field that varies and is not the attack's (learning rate, model, rounds, batch size,
...), and of a tuned grid its form, fixed or tuned. A comparison is one pair of rules under one attack at one place of
the attack's levels, without an attack, or under the worst attack of each. In every setting the rule with the higher
mean over the common seeds is better there; it is *significantly* better where the tables say so
(`analysis.comparisons`: the paired t test, corrected over the whole table of that page). A claim is stated for the rule
that is better in more settings; where the other one is better the claim is reversed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flipbench.analysis.columns import WORST, Column, columns_of
from flipbench.analysis.comparisons import compare
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import METRICS
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.settings.choice import Decision
from flipbench.analysis.settings.forms import FORM
from flipbench.analysis.worst_case import worst
from flipbench.spec.cell import CLEAN

METRIC = "accuracy"
REPORTED, TRIALS = "reported", "trials"  # where the numbers are from

Setting = tuple[tuple[str, Any], ...]  # fields with their values


class Reversal(NamedTuple):
    """A setting in which the other rule is better.

    Attributes:
        setting: fields with their values.
        difference: by how much, as a positive share.
        claimed: whether significantly.
    """

    setting: Setting
    difference: float
    claimed: bool


@dataclass(frozen=True)
class Claim:
    """One pair of rules in all settings.

    Attributes:
        source: `REPORTED`, or `TRIALS` (validation examples, seeds of the trials).
        about: fields that tell the page from others.
        attack: its reference, ``none`` for clean cells, `WORST` for the worst attack of each rule (without a test).
        level: fields of the attack that vary, with their values.
        better, worse: the rules; ``better`` is better in more settings.
        settings: in which both have a number.
        holds: of them those in which ``better`` is better.
        claimed: of these those in which it is significantly better.
        reversals: those in which ``worse`` is better.
    """

    source: str
    about: Mapping[str, Any]
    attack: str
    level: Setting
    better: str
    worse: str
    settings: int
    holds: int
    claimed: int
    reversals: tuple[Reversal, ...]

    @property
    def share(self) -> float:
        """Share of the settings in which the claim holds."""
        return self.holds / self.settings

    @property
    def contradicted(self) -> bool:
        """Whether each of the two rules is significantly better somewhere."""
        return self.claimed > 0 and any(r.claimed for r in self.reversals)


class _Seen(NamedTuple):
    """One pair in one setting: the mean of first minus second, and whether the two can be told apart."""

    setting: Setting
    difference: float
    claimed: bool


Pair = tuple[str, Setting, str, str]  # attack, level, first rule, second rule


def of_all(pivots: Sequence[Pivot], decisions: Sequence[Decision]) -> list[Claim]:
    """The claims of a grid: of its reported cells, and of its trials where it is tuned."""
    return [*of_pages(pivots), *(of_trials(decisions, decisions[0].metric) if decisions else [])]


def of_pages(pivots: Sequence[Pivot], metric: str = METRIC) -> list[Claim]:
    """The claims of a grid's pages; none where no page has several settings.

    Args:
        pivots: of the grid.
        metric: with a clean value of its own, like accuracy.
    """
    groups: dict[Any, tuple[dict[str, Any], dict[Pair, list[_Seen]]]] = {}
    for pivot in pivots:
        about = {f: v for f, v in pivot.page.about.items() if f != FORM}
        form = tuple((f, v) for f, v in pivot.page.about.items() if f == FORM)
        found = groups.setdefault(tuple(about.items()), (about, {}))[1]
        for pair, seen in _of_page(pivot, metric, form):
            found.setdefault(pair, []).append(seen)
    return [claim for about, found in groups.values() for claim in _claims(REPORTED, about, found, metric)]


def of_trials(decisions: Sequence[Decision], metric: str) -> list[Claim]:
    """The same of the trials of a tuned grid: the settings are the candidates that both rules were tried with."""
    higher = METRICS[metric].higher_is_better
    groups: dict[Any, list[Decision]] = {}
    for decision in decisions:
        groups.setdefault(tuple(decision.setting.items()), []).append(decision)
    claims: list[Claim] = []
    for about, members in groups.items():
        found: dict[Pair, list[_Seen]] = {}
        threats = _common(members)
        candidates = [{tuple(c.items()): i for i, c in enumerate(d.candidates)} for d in members]
        shared = [c for c in candidates[0] if sum(c in own for own in candidates) > 1]
        for candidate in shared:
            rules = [i for i, own in enumerate(candidates) if candidate in own]
            if not threats:
                continue
            at = [(members[i], candidates[i][candidate]) for i in rules]
            values = np.stack([[d.values[_place(d, threat), c] for d, c in at] for threat in threats])
            scores = np.array([d.picked.score[c] for d, c in at])
            names = [d.aggregator for d, _ in at]
            columns = [(str(threat["attack"]), _level(threat, threats)) for threat in threats]
            for pair, seen in _pairs(values, scores, names, columns, candidate):
                found.setdefault(pair, []).append(seen)
        claims += _claims(TRIALS, dict(about), found, metric, higher)
    return claims


def _common(members: Sequence[Decision]) -> list[Mapping[str, Any]]:
    return [t for t in members[0].threats if all(t in d.threats for d in members)]


def _place(decision: Decision, threat: Mapping[str, Any]) -> int:
    return decision.threats.index(threat)


def _level(threat: Mapping[str, Any], threats: Sequence[Mapping[str, Any]]) -> Setting:
    """What tells a threat from others with the same attack."""
    alike = [t for t in threats if t["attack"] == threat["attack"]]
    return tuple((f, v) for f, v in threat.items() if f != "attack" and len({str(t[f]) for t in alike}) > 1)


def _of_page(pivot: Pivot, metric: str, form: Setting) -> Iterator[tuple[Pair, _Seen]]:
    """Every pair in every setting of a page."""
    pivot, shown = pivot.pooled, metric_column(metric)
    page = pivot.page
    values, columns = pivot.by_seed(shown, page.attacks)
    worst_of = _worst_of(pivot, metric) if len(page.attacks) > 1 else {}
    if values.shape[0] == 0 or len(page.rows) < 2:
        return
    pairs = compare(values)
    mean = _means(pairs.differences)
    for i, column in enumerate(columns):
        setting = (*form, *zip(page.settings, column.setting, strict=True))
        level = tuple(zip(page.levels, column.level, strict=False))
        for j in range(len(pairs.first)):
            names = page.rows[pairs.first[j]], page.rows[pairs.second[j]]
            if mean[i, j] == mean[i, j]:
                seen = _Seen(setting, float(mean[i, j]), bool(pairs.claimed[i, j]))
                yield (column.attack, () if column.clean else level, *names), seen
    for column, scores in worst_of.items():
        setting = (*form, *zip(page.settings, column.setting, strict=True))
        level = tuple(zip(page.levels, column.level, strict=False))
        for j in range(len(pairs.first)):
            first, second = page.rows[pairs.first[j]], page.rows[pairs.second[j]]
            if first in scores and second in scores:
                yield (WORST, level, first, second), _Seen(setting, scores[first] - scores[second], False)


def _worst_of(pivot: Pivot, metric: str) -> dict[Column, dict[str, float]]:
    """The worst case of each rule at each place; without what lacks attacks or seeds that others have."""
    table = worst(pivot, metric_column(metric))
    found: dict[Column, dict[str, float]] = {c: {} for c in columns_of(table) if c.attack == WORST}
    for square in table.to_dict("records"):
        if square["column"] in found and square["mean"] == square["mean"] and not square["partial"]:
            found[square["column"]][square["aggregator"]] = float(square["mean"])
    return found


def _pairs(
    values: Any, scores: Any, names: Sequence[str], columns: Sequence[tuple[str, Setting]], setting: Setting
) -> Iterator[tuple[Pair, _Seen]]:
    """Every pair of trials with one candidate: ``values (threats, rules, seeds)``, ``scores (rules,)``."""
    pairs = compare(values)
    mean = _means(pairs.differences)
    for j, (a, b) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
        for i, (attack, level) in enumerate(columns):
            if mean[i, j] == mean[i, j]:
                seen = _Seen(setting, float(mean[i, j]), bool(pairs.claimed[i, j]))
                yield (attack, level, names[a], names[b]), seen
        if len(columns) > 1 and (gap := float(scores[a] - scores[b])) == gap:
            yield (WORST, (), names[a], names[b]), _Seen(setting, gap, False)


def _means(differences: Any) -> Any:
    """Mean over the common seeds; NaN where there are none."""
    known = ~np.isnan(differences)
    total, count = np.where(known, differences, 0.0).sum(-1), known.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _claims(
    source: str,
    about: Mapping[str, Any],
    found: Mapping[Pair, Sequence[_Seen]],
    metric: str,
    higher: bool | None = None,
) -> Iterator[Claim]:
    """One claim a pair that was seen in several settings."""
    higher = metric_column(metric).higher_is_better if higher is None else higher
    for (attack, level, first, second), seen in found.items():
        if len({s.setting for s in seen}) < 2:
            continue
        sign = 1.0 if higher else -1.0
        ahead = [s for s in seen if sign * s.difference > 0]
        behind = [s for s in seen if sign * s.difference < 0]
        order = [(len(ahead), sum(s.claimed for s in ahead)), (len(behind), sum(s.claimed for s in behind))]
        total = sign * sum(s.difference for s in seen)
        swap = order[1] > order[0] or (order[0] == order[1] and total < 0)
        if swap:
            first, second, ahead, behind = second, first, behind, ahead
        reversals = tuple(Reversal(s.setting, abs(s.difference), s.claimed) for s in behind)
        claimed = sum(s.claimed for s in ahead)
        yield Claim(source, about, attack, level, first, second, len(seen), len(ahead), claimed, reversals)


def strongest(claims: Iterable[Claim]) -> list[Claim]:
    """The claims that are reversed somewhere: contradicted ones first, then by how far the smaller side goes."""
    some = [c for c in claims if c.reversals]
    return sorted(some, key=lambda c: (not c.contradicted, -max(r.difference for r in c.reversals)))


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """One row a claim.

    Returns:
        ``source``, the fields that tell pages apart, ``attack`` (``none`` clean, ``worst_over_attacks``), the levels,
        ``better``, ``worse``, ``settings``, ``holds``, ``share``, ``significant``, ``reversed`` and
        ``reversed_significant`` (numbers of settings), ``contradicted``, ``reversed_in`` (the settings by name).
    """
    abouts = list(dict.fromkeys(f for c in claims for f in c.about))
    levels = list(dict.fromkeys(f for c in claims for f, _ in c.level))
    rows = []
    for c in claims:
        level = dict(c.level)
        facts = [c.source, *(c.about.get(f) for f in abouts), c.attack, *(level.get(f) for f in levels)]
        counts = [c.settings, c.holds, c.share, c.claimed, len(c.reversals), sum(r.claimed for r in c.reversals)]
        named = "; ".join(", ".join(f"{f}={v}" for f, v in r.setting) for r in c.reversals)
        rows.append([*facts, c.better, c.worse, *counts, c.contradicted, named])
    names = ["settings", "holds", "share", "significant", "reversed", "reversed_significant", "contradicted"]
    return pd.DataFrame(rows, columns=["source", *abouts, "attack", *levels, "better", "worse", *names, "reversed_in"])


__all__ = ["CLEAN", "REPORTED", "TRIALS", "Claim", "Reversal", "of_pages", "of_trials", "strongest", "table"]
