"""The rules beyond the first six, as rows of the table of `subjects`: what each needs, its oracle, its exceptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from flipbench import aggregators
from flipbench.aggregators import Cohort, Infeasible
from flipbench.aggregators.contract import Layout
from tests.oracles import published_oracles as oracle
from tests.oracles.aggregator_oracles import meamed

CLASSES = 3


@dataclass(frozen=True)
class Published:
    """A rule and what holds for it.

    Attributes:
        name: as registered.
        oracle: the naive one, called with (rows, f, weights); rows are lists of floats.
        clients: the least n for a given f.
        options: options that the rule is tried with.
        largest: the largest n that the oracle is asked for.
        excused: from which properties, see the tests: "ties", "translation", "scale", "unanimity", "breakdown".
        ulps: of float32, how near the oracle.
    """

    name: str
    oracle: Callable[[list[list[float]], int, list[float]], list[float]]
    clients: Callable[[int], int] = lambda f: 2 * f + 1
    options: dict[str, Any] = field(default_factory=dict)
    largest: int = 60
    excused: frozenset[str] = frozenset()
    ulps: float = 16

    def __str__(self) -> str:
        return self.name

    def most_liars(self, n: int) -> int | None:
        """The largest f that n clients allow; None where even 0 is too many."""
        return max((f for f in range(n + 1) if self.clients(f) <= n), default=None)

    def __call__(self, updates: torch.Tensor, cohort: Cohort) -> torch.Tensor:
        """The rule's answer, with facts for rules that ask for more than the updates."""
        rule: Any = aggregators.RULES[self.name]
        dim = updates.shape[-1]
        facts = replace(
            cohort, trusted=lambda: own_update(dim).to(updates).expand(*updates.shape[:-2], dim), layout=layout_of(dim)
        )
        if not isinstance(rule, type):
            return rule(updates, facts, **self.options)
        rule = rule(**self.options)
        return rule(updates, facts, rule.init(updates, facts))[0]


def own_update(dim: int) -> torch.Tensor:
    """The update of a server's own: the same for every cohort."""
    return torch.randn(dim, generator=torch.Generator().manual_seed(4))


def layout_of(dim: int) -> Layout:
    """An output layer of three classes, its biases, and a rest; small models are all output layer."""
    features = max(1, dim // 4)
    if dim < CLASSES * features + CLASSES:
        return {"0.weight": (slice(0, dim), (1, dim))}
    end = CLASSES * features
    return {
        "rest": (slice(end + CLASSES, dim), (dim - end - CLASSES,)),
        "0.weight": (slice(0, end), (CLASSES, features)),
        "0.bias": (slice(end, end + CLASSES), (CLASSES,)),
    }


def _foolsgold(rows: list[list[float]], f: int, weights: list[float]) -> list[float]:
    shares = oracle.foolsgold(rows, rows)
    return oracle.combine([s / (sum(shares) or 1.0) for s in shares], rows)


def _lfighter(rows: list[list[float]], f: int, weights: list[float]) -> list[float]:
    dim = len(rows[0])
    _, (classes, features) = layout_of(dim)["0.weight"]
    return oracle.lfighter(rows, f, classes, features, bias=classes == CLASSES)


def _heaviest(f: int) -> int:
    """Weights of the tests lie between 0.1 and 1.1: f of 12 f + 1 clients never hold half of them."""
    return 12 * f + 1 if f else 1


ORIGIN = frozenset({"translation"})
ANGLES = ORIGIN | {"ties"}  # cosines of integers are not exact, so ties need not be

PUBLISHED = (
    Published("geometric_median", oracle.geometric_median, ulps=64),
    Published("meamed", meamed),
    Published("bulyan", oracle.bulyan, lambda f: 4 * f + 3),
    Published("mda", oracle.mda, largest=12),
    Published("centered_clipping", oracle.centered_clipping, excused=ORIGIN),
    Published("norm_clipping", oracle.norm_clipping, excused=ORIGIN),
    Published("caf", oracle.caf, excused=frozenset({"ties"}), ulps=256),
    Published("foolsgold", _foolsgold, lambda f: 1, excused=ANGLES | {"unanimity", "breakdown"}, ulps=256),
    Published(
        "fltrust",
        lambda rows, f, w: oracle.fltrust(rows, own_update(len(rows[0])).double().tolist()),
        lambda f: 1,
        excused=ORIGIN | {"scale", "unanimity"},
        ulps=64,
    ),
    Published("dnc", oracle.dnc, excused=frozenset({"ties"})),
    Published("signguard", oracle.signguard, options={"share": 1.0}, excused=ORIGIN),
    Published("flame", oracle.flame, options={"noise": 0.0}, largest=20, excused=ANGLES),
    Published("lfighter", _lfighter, lambda f: 1, excused=frozenset({"ties", "translation", "breakdown"})),
    Published(
        "monna",
        lambda rows, f, w: oracle.monna(rows, f, own_update(len(rows[0])).double().tolist()),
        excused=ORIGIN | {"scale"},
    ),
    Published("aksel", oracle.aksel),
    Published("cge", oracle.cge, excused=ORIGIN),
    Published("faba", oracle.faba, largest=20),
    Published("phocas", oracle.phocas),
    Published("weighted_median", oracle.weighted_median, _heaviest),
    Published("weighted_trimmed_mean", oracle.weighted_trimmed_mean, _heaviest, ulps=64),
)

__all__ = ["PUBLISHED", "Infeasible", "Published", "layout_of", "own_update"]
