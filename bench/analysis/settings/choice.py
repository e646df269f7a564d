"""What the trials of a tuned grid say: the score of every candidate, and the candidate that is chosen.

A trial is a cell that is evaluated on validation examples, on seeds that are not reported. A *threat* is what a
defender does not know: the attack with its options and the malicious clients. The score of a candidate is, with the
criterion ``maximin``, the least over the threats of its mean over seeds, else their mean. Nothing here sees test data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import frame as frame_of
from flipbench.analysis import metrics, statistics
from flipbench.analysis.columns import coded
from flipbench.analysis.statistics import Values
from flipbench.spec.field_groups import ATTACK_FIELDS
from flipbench.store.store import Store

MAXIMIN = "maximin"
FOLDER = "tuning"  # of the trials, below the results of the grid
MEMBER = "trials"  # of the plan of the trials


class Picked(NamedTuple):
    """The choice among some candidates.

    Attributes:
        score: ``(candidates,)``; NaN where a candidate has no number at all.
        worst: ``(candidates,)``, the threat under which each is worst; -1 where it has no number.
        known: ``(candidates,)``, pairs of threat and seed with a number.
        best: the chosen candidate; None where none has a number.
    """

    score: Values
    worst: NDArray[np.int64]
    known: NDArray[np.int64]
    best: int | None


def pick(values: Values, criterion: str = MAXIMIN, higher_is_better: bool = True) -> Picked:
    """The best candidate: of those with the most numbers the one with the best score, the first of equals.

    Args:
        values: ``(threats, candidates, seeds)``; NaN where a trial has no number, as where a rule is infeasible.
        criterion: ``maximin`` or ``mean``.
        higher_is_better: of the values.
    """
    means = statistics.moments(values)[0]  # (threats, candidates)
    signed = means if higher_is_better else -means
    there = ~np.isnan(signed)
    some = there.any(0)
    lowest = np.where(there, signed, np.inf)
    worst = np.where(some, lowest.argmin(0), -1) if len(values) else np.full(values.shape[1], -1)
    score = lowest.min(0, initial=np.inf) if criterion == MAXIMIN else _mean(signed)
    score = np.where(some, score, np.nan)
    known = (~np.isnan(values)).sum((0, 2))
    best = None
    if some.any():
        order = np.lexsort((np.arange(len(score)), -np.where(some, score, -np.inf), -known))
        best = int(order[0])
    return Picked(score if higher_is_better else -score, worst.astype(np.int64), known, best)


def _mean(values: Values) -> Values:
    known = ~np.isnan(values)
    return statistics.ratio(np.where(known, values, 0.0).sum(0), known.sum(0))


@dataclass(frozen=True, eq=False)
class Decision:
    """One choice of a grid, decided.

    Attributes:
        aggregator, setting: for whom and where it is made.
        metric, criterion: what was measured, and how its numbers under the threats became a score.
        seeds: of the trials.
        candidates: field or ``field.option`` -> value, of each.
        possible: how many combinations there were for it.
        threats: the fields of the attack and of the malicious clients, of each.
        values: ``(threats, candidates, seeds)``.
        picked: what came of it.
        reason: why nothing could be chosen; None where something was.
    """

    aggregator: str
    setting: Mapping[str, Any]
    metric: str
    criterion: str
    seeds: tuple[int, ...]
    candidates: tuple[Mapping[str, Any], ...]
    possible: int
    threats: tuple[Mapping[str, Any], ...]
    values: Values
    picked: Picked
    reason: str | None

    @property
    def chosen(self) -> Mapping[str, Any] | None:
        """The candidate that was chosen."""
        return None if self.picked.best is None else self.candidates[self.picked.best]

    @property
    def score(self) -> float:
        """Of the chosen candidate; NaN where there is none."""
        return float("nan") if self.picked.best is None else float(self.picked.score[self.picked.best])


def decide(frame: pd.DataFrame, tuning: Mapping[str, Any]) -> list[Decision]:
    """All choices of a grid.

    Args:
        frame: of the trials, of `analysis.frame.load`.
        tuning: the member of their plan that says what they are trials of.
    """
    metric = metrics.METRICS[tuning["metric"]]
    tidy = metrics.evaluate(frame)
    value = frame["key"].map(dict(zip(tidy["key"], tidy[metric.name], strict=True))).to_numpy(dtype=np.float64)
    place = {key: row for row, key in enumerate(frame["key"])}
    members: list[list[tuple[int, int]]] = [[] for _ in tuning["choices"]]
    for key, of in tuning["belongs"].items():
        for choice, candidate in of:
            members[choice].append((place[key], candidate))
    seeds = {seed: i for i, seed in enumerate(tuning["seeds"])}
    known = frame["status"] != "missing"
    seed_of = [seeds.get(s, 0) if k else 0 for s, k in zip(frame["seed"], known, strict=True)]
    found = []
    for choice, own in zip(tuning["choices"], members, strict=True):
        rows = np.array([row for row, _ in own if known.iloc[row]], dtype=np.int64)
        which = np.array([at for row, at in own if known.iloc[row]], dtype=np.int64)
        codes, threats = coded(frame.iloc[rows], ATTACK_FIELDS)
        values = np.full((len(threats), len(choice["candidates"]), len(seeds)), np.nan)
        values[codes, which, [seed_of[row] for row in rows]] = value[rows]
        picked = pick(values, tuning["criterion"], metric.higher_is_better)
        reason = None if picked.best is not None else _reason(frame.iloc[[row for row, _ in own]])
        of_threats = tuple(dict(zip(ATTACK_FIELDS, threat, strict=True)) for threat in threats)
        facts = choice["aggregator"], choice["setting"], metric.name, tuning["criterion"], tuple(tuning["seeds"])
        of = tuple(choice["candidates"]), choice["possible"], of_threats
        found.append(Decision(*facts, *of, values, picked, reason))
    return found


def read(folder: Path) -> list[Decision]:
    """The decisions that follow from the trials beside reported cells; none where there are no trials.

    Args:
        folder: ``results/<grid>``.

    Raises:
        UserError: the trials cannot be read.
    """
    store = Store(folder / FOLDER)
    if not store.has_plan() or MEMBER not in (plan := store.read_plan()):
        return []
    return decide(frame_of.load(store.folder), plan[MEMBER])


def _reason(cells: pd.DataFrame) -> str:
    """Why no candidate has a number."""
    for status in ("infeasible", "failed"):
        of = cells[cells["status"] == status]
        if len(of):
            return f"{status}: {of['reason'].iloc[0]}"
    return "not run" if (cells["status"] == "missing").any() else "the metric is not defined"


def document(decisions: Sequence[Decision], tuning: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen, as ``chosen.json`` holds it."""
    facts = ("metric", "criterion", "seeds", "budget", "draw", "fields")
    choices = []
    for decision in decisions:
        tried = []
        for at, candidate in enumerate(decision.candidates):
            score, worst = float(decision.picked.score[at]), int(decision.picked.worst[at])
            about = {"values": dict(candidate), "score": None if np.isnan(score) else score}
            about["worst_attack"] = None if worst < 0 else decision.threats[worst]["attack"]
            tried.append(about)
        choices.append(
            {
                "aggregator": decision.aggregator,
                "setting": dict(decision.setting),
                "values": None if decision.chosen is None else dict(decision.chosen),
                "score": None if decision.chosen is None else decision.score,
                "reason": decision.reason,
                "possible": decision.possible,
                "tried": tried,
            }
        )
    return {**{name: tuning[name] for name in facts}, "choices": choices}


def table(decisions: Sequence[Decision]) -> pd.DataFrame:
    """One row a candidate: what it is, its score, the attack under which it is worst, whether it was chosen.

    Returns:
        ``aggregator``, the fields of the settings, the tuned fields, ``score``, ``low`` and ``high`` (95 % interval of
        the mean under the worst attack), ``worst_attack``, ``mean`` over the threats, ``numbers`` (trials with one),
        ``trials``, ``chosen``.
    """
    settings = list(dict.fromkeys(f for d in decisions for f in d.setting))
    fields = list(dict.fromkeys(f for d in decisions for c in d.candidates for f in c))
    rows = []
    for decision in decisions:
        over = statistics.over_seeds(decision.values)
        mean = _mean(over["mean"])
        for at, candidate in enumerate(decision.candidates):
            worst = int(decision.picked.worst[at])
            ends = (np.nan, np.nan) if worst < 0 else (over["low"][worst, at], over["high"][worst, at])
            facts = [decision.aggregator, *(decision.setting.get(f) for f in settings)]
            facts += [candidate.get(f) for f in fields]
            attack = None if worst < 0 else decision.threats[worst]["attack"]
            numbers = int(decision.picked.known[at]), int(decision.values[:, at].size)
            rows.append(
                [*facts, decision.picked.score[at], *ends, attack, mean[at], *numbers, at == decision.picked.best]
            )
    named = ("score", "low", "high", "worst_attack", "mean", "numbers", "trials", "chosen")
    return pd.DataFrame(rows, columns=["aggregator", *settings, *fields, *named])


def curves(decisions: Sequence[Decision]) -> pd.DataFrame:
    """The score of each rule against each tuned field: at every value the best that the other fields allow.

    Returns:
        One row a setting, field, rule and value: ``setting`` (its fields with their values), ``field``, ``aggregator``,
        ``value``, ``score``, ``low`` and ``high`` (95 % interval of the mean under the worst attack, or of the mean),
        ``chosen``.
    """
    rows: list[tuple[Any, ...]] = []
    for decision in decisions:
        setting, over = tuple(decision.setting.items()), statistics.over_seeds(decision.values)
        own = statistics.over_seeds(_mean(decision.values))  # of the mean over threats, seed by seed
        for name in dict.fromkeys(f for c in decision.candidates for f in c):
            best: dict[Any, int] = {}
            for at, candidate in enumerate(decision.candidates):
                if name in candidate and decision.picked.worst[at] >= 0:
                    best.setdefault(candidate[name], at)
                    if _ahead(decision, at, best[candidate[name]]):
                        best[candidate[name]] = at
            for value, at in best.items():
                worst = int(decision.picked.worst[at])
                ends = (own["low"][at], own["high"][at])
                if decision.criterion == MAXIMIN:
                    ends = (over["low"][worst, at], over["high"][worst, at])
                score, is_chosen = float(decision.picked.score[at]), at == decision.picked.best
                rows.append((setting, name, decision.aggregator, value, score, *map(float, ends), is_chosen))
    names = ["setting", "field", "aggregator", "value", "score", "low", "high", "chosen"]
    return pd.DataFrame(rows, columns=names)


def _ahead(decision: Decision, one: int, other: int) -> bool:
    """Whether one candidate has a better score than another."""
    gap = float(decision.picked.score[one] - decision.picked.score[other])
    return gap > 0 if metrics.METRICS[decision.metric].higher_is_better else gap < 0


def trials(frame: pd.DataFrame, tuning: Mapping[str, Any]) -> pd.DataFrame:
    """One row a trial of a candidate: for whom, what was tried, the attack, the seed, the metric.

    A cell that is a trial of several candidates (they say the same) has a row for each.
    """
    metric = tuning["metric"]
    tidy = metrics.evaluate(frame)
    value = dict(zip(tidy["key"], tidy[metric], strict=True))
    by_key = {cell["key"]: cell for cell in frame[["key", "status", "seed", *ATTACK_FIELDS]].to_dict("records")}
    settings = list(dict.fromkeys(f for c in tuning["choices"] for f in c["setting"]))
    rows = []
    for key, of in tuning["belongs"].items():
        cell = by_key[key]
        for choice_at, at in of:
            choice = tuning["choices"][choice_at]
            candidate = choice["candidates"][at]
            facts = [choice["aggregator"], *(choice["setting"].get(f) for f in settings)]
            facts += [candidate.get(f) for f in tuning["fields"]]
            facts += [cell[f] for f in ("attack", "malicious_count", "flip_rate", "seed")]
            rows.append([key, *facts, cell["status"], value.get(key, np.nan)])
    own = [f"tuned_{f}" if f in ATTACK_FIELDS else f for f in tuning["fields"]]
    names = ["key", "aggregator", *settings, *own, "attack", "malicious_count", "flip_rate", "seed", "status", metric]
    return pd.DataFrame(rows, columns=names)
