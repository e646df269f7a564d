"""The label flip that does most damage after the rule at hand, found by trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flipbench.attacks.contract import Found, LabelFlip, Trials
from flipbench.attacks.labels.label_flip import mirrored, permuted, shifted, uniform
from flipbench.attacks.labels.model_based import confusable

_PAIRS, _SWAPS, _PARENTS, _FAVOURITES, _UNIONS = 12, 6, 4, 4, 4
Objective = Literal["accuracy", "source_recall", "attack_success_rate"]


@dataclass(frozen=True)
class Candidate:
    """A flip under trial.

    Attributes:
        name: as the record has it.
        family: flips of one kind, of which at least one reaches the last stage.
        flip: the attack.
        mapping: source -> target, where it has a fixed one.
    """

    name: str
    family: str
    flip: LabelFlip
    mapping: Mapping[int, int] | None


@dataclass(frozen=True)
class worst_case:  # noqa: N801 - named in grids like the functions beside it
    """The label flip that, of those tried, does most damage after the real rule.

    1. In trial federations of a third of the rounds: every all-to-one, mirrored, shifts, uniform and confusable flips,
       and the pairs and swaps of classes that a model without flips confuses most: flips of all classes hurt rules that
       average, flips of a few pass rules that select;
    2. then, up to ``trials`` in all: the map that sends each source where it lost most so far, and mutations,
       crossings and parts of the best maps;
    3. the best of every family, the pairs that a model without flips confuses most and the best of all, ``finalists``
       in all, once more with all rounds, and behind them the unions of the best.

    Damage is measured against the same trial without flips, on training examples with their true labels. The last
    stage runs the very federation of the cell, so what is chosen there is right up to the sampling of the examples
    on which accuracy is measured. (A third of the rounds shows which flips of all classes hurt, not which of a few.)

    Examples without a prediction (logits that are not finite) count as wrong and as no success.

    Args:
        objective: ``accuracy``: accuracy lost; ``source_recall``: recall lost, mean over the sources of the map;
            ``attack_success_rate``: gained, mean over the sources. Flips without a fixed map count with all classes
            as sources, and have no success rate.
        trials: short trials.
        finalists: full ones; four unions follow.

    Raises:
        ValueError: fewer than one trial or finalist.

    Source: none; the search over label maps that the published static flips are points of.
    """

    objective: Objective = "accuracy"
    trials: int = 40
    finalists: int = 14
    place: ClassVar[str] = "labels"
    adaptive: ClassVar[bool] = True
    confusion: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.trials < 1 or self.finalists < 1:
            raise ValueError(f"worst_case needs trials and finalists of 1 or more, got {self.trials}, {self.finalists}")

    def search(self, trials: Trials) -> Found:
        """Run the trials and choose.

        Args:
            trials: what may be tried.
        """
        short = max(1, trials.rounds // 3)
        tried = _Search(self.objective, trials, short)
        tried.clean = trials.run([None], short)[0]
        tried.score(_first(self.objective, trials, tried.clean)[: self.trials])
        while tried.harms and len(tried.harms) < self.trials:
            generation = list(tried.children(min(8, self.trials - len(tried.harms))))
            if not generation:
                break  # a task of two classes has few maps
            tried.score(generation)
        last = tried.finalists(self.finalists)
        clean, *ends = trials.run([None, *(c.flip for c in last)], trials.rounds)
        harms = [harm(self.objective, clean, end, c.mapping) for c, end in zip(last, ends, strict=True)]
        if more := _unions(last, harms):
            ends = trials.run([c.flip for c in more], trials.rounds)
            harms += [harm(self.objective, clean, end, c.mapping) for c, end in zip(more, ends, strict=True)]
            last += more
        best = max(range(len(last)), key=lambda i: harms[i])
        report: dict[str, Any] = {
            "objective": self.objective,
            "flip": last[best].name,
            "harm": harms[best],
            "trials": len(tried.harms) + 1,
            "trial_rounds": short,
            "full_trials": len(last) + 1,
            "finalists": [[c.name, h] for c, h in zip(last, harms, strict=True)],
        }
        return Found(last[best].flip, last[best].mapping, report)


def _unions(candidates: list[Candidate], harms: list[float]) -> list[Candidate]:
    """The best maps put together, two at a time; where both move a class the better one decides."""
    order = sorted(range(len(candidates)), key=lambda i: -harms[i])
    maps = [m for i in order if (m := candidates[i].mapping) is not None]
    tried = {tuple(sorted(m.items())) for m in maps}
    out: list[Candidate] = []
    for better, worse in combinations(maps[:_PARENTS], 2):
        union = tuple(sorted((dict(worse) | dict(better)).items()))
        if union not in tried and len(out) < _UNIONS:
            tried.add(union)
            out.append(_candidate(dict(union), "union"))
    return out


def harm(objective: Objective, clean: Tensor, attacked: Tensor, mapping: Mapping[int, int] | None) -> float:
    """Damage of one trial, as a share.

    Args:
        objective: see `worst_case`.
        clean: ``(L, L)`` confusion without flips, rows true; ``(L, L + 1)`` where some examples have no prediction.
        attacked: with.
        mapping: the flip's; None: all classes are sources.

    Returns:
        The damage; minus infinity where it has none by this measure (no test example of a source, no target).
    """
    if objective == "accuracy":
        return float(
            clean.diagonal().sum() / clean.sum().clamp(min=1) - attacked.diagonal().sum() / attacked.sum().clamp(min=1)
        )
    pairs = list((mapping if mapping is not None else {c: c for c in range(len(clean))}).items())
    if objective == "attack_success_rate" and mapping is None:
        return float("-inf")
    losses = []
    for source, target in pairs:
        rows = clean[source].sum(), attacked[source].sum()
        if not rows[0] or not rows[1]:
            continue
        if objective == "source_recall":
            losses.append(float(clean[source, source] / rows[0] - attacked[source, source] / rows[1]))
        else:
            losses.append(float(attacked[source, target] / rows[1] - clean[source, target] / rows[0]))
    return sum(losses) / len(losses) if losses else float("-inf")


def _candidate(mapping: Mapping[int, int], family: str, name: str | None = None) -> Candidate:
    plain = dict(sorted((s, t) for s, t in mapping.items() if s != t))
    text = name or "permuted(mapping={" + ", ".join(f"{s}: {t}" for s, t in plain.items()) + "})"
    return Candidate(text, family, partial(permuted, mapping=plain), plain)


def _first(objective: Objective, trials: Trials, clean: Tensor) -> list[Candidate]:
    """The published flips; those of single classes first where the objective is one of single classes."""
    every = range(trials.classes)
    broad = [_candidate(dict.fromkeys(every, t), "all to one", f"all_to_one(target={t})") for t in every]
    broad.append(Candidate("mirrored", "permutation", mirrored, _moved({s: trials.classes - 1 - s for s in every})))
    for by in sorted({1, 2, trials.classes // 2, trials.classes - 1} & set(range(1, trials.classes))):
        flip = partial(shifted, by=by)
        broad.append(Candidate(f"shifted(by={by})", "permutation", flip, {s: (s + by) % trials.classes for s in every}))
    broad.append(Candidate("uniform", "random", uniform, None))
    broad.append(Candidate("confusable", "random", confusable, None))
    held = [s for s in every if trials.counts[s]]
    rate = (clean / clean.sum(1, keepdim=True).clamp(min=1)).tolist()
    pairs = sorted(((s, t) for s in held for t in every if s != t), key=lambda p: (-rate[p[0]][p[1]], p))
    swaps = sorted({(min(p), max(p)) for p in pairs}, key=lambda p: (-rate[p[0]][p[1]] - rate[p[1]][p[0]], p))
    narrow = [_candidate({s: t}, "pair", f"targeted(source={s}, target={t})") for s, t in pairs[:_PAIRS]]
    narrow += [_candidate({s: t, t: s}, "swap", f"swapped(first={s}, second={t})") for s, t in swaps[:_SWAPS]]
    ordered = [*broad, *narrow] if objective == "accuracy" else [*narrow, *broad]
    once = {str(sorted(c.mapping.items())) if c.mapping else c.name: c for c in reversed(ordered)}
    return [c for c in ordered if c in once.values()]  # of two classes a shift is a swap


def _moved(mapping: Mapping[int, int]) -> dict[int, int]:
    return {s: t for s, t in mapping.items() if s != t}


@dataclass
class _Search:
    """The short trials so far."""

    objective: Objective
    trials: Trials
    rounds: int
    clean: Tensor = field(default_factory=lambda: torch.zeros(0))
    harms: list[tuple[float, Candidate]] = field(default_factory=list)
    lost: dict[tuple[int, int], float] = field(default_factory=dict)  # recall lost by a source that went to a target

    def score(self, candidates: list[Candidate]) -> None:
        """Try some."""
        for candidate, end in zip(candidates, self.trials.run([c.flip for c in candidates], self.rounds), strict=True):
            self.harms.append((harm(self.objective, self.clean, end, candidate.mapping), candidate))
            for s, t in (candidate.mapping or {}).items():
                lost = harm("source_recall", self.clean, end, {s: t})
                self.lost[s, t] = max(lost, self.lost.get((s, t), float("-inf")))

    def best(self) -> list[Candidate]:
        """All tried, the most harmful first."""
        return [c for _, c in sorted(self.harms, key=lambda pair: -pair[0])]

    def children(self, number: int) -> Iterator[Candidate]:
        """New maps: the greedy one, then mutations and crossings of the best three."""
        tried = {tuple(sorted(c.mapping.items())) for _, c in self.harms if c.mapping}
        parents = [c.mapping for c in self.best() if c.mapping][:_PARENTS]
        greedy = {s: max((v, t) for (o, t), v in self.lost.items() if o == s)[1] for s, _ in self.lost}
        proposals = [greedy] if self.objective == "accuracy" else []
        draw = partial(torch.randint, generator=self.trials.generator)
        for _ in range(50 * number):
            if not parents:
                break
            child = dict(parents[int(draw(len(parents), (1,)))])
            way = int(draw(3, (1,)))
            if way == 0:  # mutate: one or two sources go elsewhere, or stay
                for _ in range(1 + int(draw(2, (1,)))):
                    source = int(draw(self.trials.classes, (1,)))
                    child[source] = int(draw(self.trials.classes, (1,)))
            elif way == 1:  # cross: some sources as another parent has them
                other = parents[int(draw(len(parents), (1,)))]
                child |= {s: t for s, t in other.items() if int(draw(2, (1,)))}
            else:  # a part: fewer sources show less
                child = {s: t for s, t in child.items() if int(draw(2, (1,)))}
            proposals.append(child)
        for proposal in proposals:
            key = tuple(sorted(_moved(proposal).items()))
            if key and key not in tried and number > 0:
                tried.add(key)
                number -= 1
                yield _candidate(dict(key), "searched")

    def finalists(self, number: int) -> list[Candidate]:
        """The best of every family, the first pairs, then the best of all."""
        ordered = self.best()
        first = [c for _, c in self.harms if c.family == "pair"][:_FAVOURITES]
        chosen = [*{c.family: c for c in reversed(ordered)}.values(), *first, *ordered]
        once = list({id(c): c for c in chosen}.values())
        return once[: max(number, len({c.family for c in ordered}))]
