"""The empirical robustness coefficient kappa of a rule: how far f malicious clients move it.

A rule is (f, kappa)-robust (Allouah et al. 2023, "Fixing by Mixing", definition 2) if, whatever f of the n updates are,

    |rule(x) - mean_H|^2  <=  kappa * (1 / |H|) sum_{i in H} |x_i - mean_H|^2,    H: the n - f others.

The smallest such kappa is a supremum; this module bounds it from below: the largest quotient over a battery of attacks
on several honest populations, then over what a gradient-free search finds from the worst of them. So kappa says "at
least this bad". Beside it stand the published upper bound, where there is one, and f / (n - 2f), which no rule can
undercut. Everything runs in float64 and small dimension (neither bound depends on it), as one stack of cells, and every
rule meets the same battery.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.errors import UserError
from flipbench.plugins import registry
from flipbench.spec.reference import Reference, canonical, parse_chain
from flipbench.spec.seeds import named_seed

DIM = 8
FAR = 1e6  # how many spreads away an outlier stands; the search goes no farther
CHAINS, WIDTH = 4, 12  # searches at once, and candidates of each a step

Attack = Callable[[Tensor, int, torch.Generator], Tensor]  # honest (m, dim), f -> malicious (f, dim)


@dataclass(frozen=True)
class Finding:
    """What was found of one rule for one n and f.

    Attributes:
        rule: the reference, in its one spelling.
        clients: n.
        byzantine: f.
        kappa: the largest quotient found; NaN where the rule is infeasible.
        battery: the largest of the battery alone.
        attack: the attack of the battery that did most, with its population.
        bound: the published upper bound; None: none known.
        lower: f / (n - 2f), which no rule can undercut.
        infeasible: why there is no number; empty: there is one.
    """

    rule: str
    clients: int
    byzantine: int
    kappa: float
    battery: float
    attack: str
    bound: float | None
    lower: float
    infeasible: str = ""


def estimate(reference: str, clients: int, byzantine: int, *, seed: int = 0, steps: int = 40) -> Finding:
    """The empirical kappa of one rule.

    Args:
        reference: a rule as grids name it.
        clients: n.
        byzantine: f, 2f < n.
        seed: of battery and search.
        steps: of the search; 0: the battery alone.

    Raises:
        UserError: no such rule, or an f without an honest majority.
    """
    n, f = clients, byzantine
    if not 0 <= 2 * f < n:
        raise UserError(f"kappa needs an honest majority, 0 <= 2f < n; got n = {n}, f = {f}")
    rule, name = registry.resolve("aggregator", reference), canonical(reference)
    which = (name, n, f)
    limits = (published(reference, n, f), f / (n - 2 * f))
    names, cases = battery(n, f, seed)
    try:
        quotients = _quotients(rule, cases, f)
        worst = int(quotients.argmax())
        best = float(quotients[worst])
        searched = steps > 0 and f > 0 and math.isfinite(best)
        reached = _search(rule, cases, quotients, f, seed, steps) if searched else best
    except Infeasible as error:
        return Finding(*which, math.nan, math.nan, "", *limits, infeasible=str(error))
    return Finding(*which, max(reached, best), best, names[worst], *limits)


def settings(clients: Sequence[int], most: int = 4) -> list[tuple[int, int]]:
    """(n, f) for each n: up to ``most`` values of f, evenly from 1 to the largest with 2f < n."""
    pairs = []
    for n in clients:
        if n < 3:
            raise UserError(f"kappa needs at least 3 clients for one of them to be malicious, got {n}")
        top = (n - 1) // 2
        steps = min(most, top)
        pairs += [(n, f) for f in sorted({round(1 + i * (top - 1) / max(1, steps - 1)) for i in range(steps)})]
    return pairs


def published(reference: str, clients: int, byzantine: int) -> float | None:
    """The upper bound on kappa of Allouah et al. 2023 (table 1; lemma on NNM), None where it has none.

    It holds for the definitions with their options left alone.
    """
    *front, last = parse_chain(reference)
    ratio = byzantine / (clients - 2 * byzantine)
    bounds: dict[str, float] = {
        "krum": 6 * (1 + ratio),
        "geometric_median": 4 * (1 + ratio) ** 2,
        "median": 4 * (1 + ratio) ** 2,
        "trimmed_mean": 6 * ratio * (1 + ratio),
    }
    bound = bounds.get(last.name) if not last.options else None
    for mix in reversed(front):
        if bound is None or mix != Reference("nnm"):
            return None
        bound = 8 * byzantine / (clients - byzantine) * (bound + 1)
    return bound


def battery(clients: int, byzantine: int, seed: int = 0) -> tuple[list[str], Tensor]:
    """The cases: their names, and the updates ``(cases, clients, DIM)`` with the malicious rows first.

    First, because ties go to the lower index.
    """
    names, cases = [], []
    for population, honest in _populations(clients - byzantine, byzantine, seed):
        for name, attack in ATTACKS.items():
            generator = _generator(seed, f"{population} {name}", clients, byzantine)
            cases.append(torch.cat([attack(honest, byzantine, generator), honest]))
            names.append(f"{name} on {population}")
    return names, torch.stack(cases)


def _populations(count: int, f: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Honest updates of several kinds, ``(count, DIM)``."""

    def noise(purpose: str) -> Tensor:
        return torch.randn(count, DIM, dtype=torch.float64, generator=_generator(seed, purpose, count))

    side = torch.ones(count, 1, dtype=torch.float64)
    side[: count // 2] = -1  # heterogeneous clients in two groups
    yield "alike clients", 3 + noise("alike")
    yield "centred clients", noise("centred")
    yield "two camps", 1 + 2 * side + 0.2 * noise("camps")
    yield "clients of unlike size", 1 + noise("unlike") * torch.exp(noise("sizes")[:, :1])
    few = torch.zeros(count, DIM, dtype=torch.float64)
    few[: max(1, f), 0] = 1.0  # as many honest clients apart as there may be malicious ones: the case of
    yield "a few clients apart", few + 1e-4 * noise("apart")  # the lower bound, for no rule can tell the two apart


# The battery. Each gets the honest updates and may know them all; m is their mean, s their deviation by coordinate.


def _moments(honest: Tensor) -> tuple[Tensor, Tensor]:
    return honest.mean(0), honest.std(0, correction=0)


def _spread(honest: Tensor) -> Tensor:
    """Root of the mean squared distance from the mean."""
    root: Tensor = (honest - honest.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    return root


def _flip(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
    """As label flips do: honest updates, but turned round in the coordinates of two classes, a quarter of all."""
    rows = honest[torch.randint(len(honest), (f,), generator=generator)].clone()
    turned = torch.randperm(honest.shape[1], generator=generator)[: honest.shape[1] // 4]
    rows[:, turned] *= -1
    return rows


def _at(point: Tensor, f: int) -> Tensor:
    return point.expand(f, -1)


def _alie(z: float) -> Attack:
    """Baruch et al. 2019: m - z s."""

    def attack(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
        mean, deviation = _moments(honest)
        return _at(mean - z * deviation, f)

    return attack


def _ipm(epsilon: float) -> Attack:
    """Xie et al. 2020: -epsilon m (epsilon = 1 is the sign flip of the mean)."""

    def attack(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
        return _at(-epsilon * honest.mean(0), f)

    return attack


def _sign_flip(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
    """Each sends the opposite of an honest update."""
    return -honest[torch.randint(len(honest), (f,), generator=generator)]


def _outliers(distance: float, together: bool) -> Attack:
    """Far away in one direction together, or each in a direction of its own."""

    def attack(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
        ways = torch.randn(1 if together else f, DIM, dtype=torch.float64, generator=generator)
        ways /= torch.linalg.vector_norm(ways, dim=-1, keepdim=True)
        return (honest.mean(0) + distance * _spread(honest) * ways).expand(f, -1)

    return attack


def _edge(beyond: float) -> Attack:
    """Collusion at the honest edge: all at the outermost honest update, or so many times as far from the mean."""

    def attack(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
        away = honest - honest.mean(0)
        outermost = away[away.square().sum(-1).argmax()]
        return _at(honest.mean(0) + beyond * outermost, f)

    return attack


def _hiding(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
    """All at the honest median, so that an honest minority looks malicious."""
    return _at(honest.median(0).values, f)


def _corner(honest: Tensor, f: int, generator: torch.Generator) -> Tensor:
    """All at the largest honest value of every coordinate."""
    return _at(honest.amax(0), f)


ATTACKS: dict[str, Attack] = {
    "label flip": _flip,
    "sign flip": _sign_flip,
    **{f"ALIE z={z:g}": _alie(z) for z in (0.5, 1.0, 1.5, 3.0)},
    **{f"IPM epsilon={e:g}": _ipm(e) for e in (0.1, 0.5, 1.0, 10.0)},
    **{f"{d:g} spreads away": _outliers(d, together=True) for d in (2.0, 10.0, FAR)},
    f"{FAR:g} spreads away, scattered": _outliers(FAR, together=False),
    **{f"honest edge x{b:g}": _edge(b) for b in (1.0, 1.5)},
    "honest corner": _corner,
    "honest median": _hiding,
}


def _quotients(rule: Any, cases: Tensor, f: int) -> Tensor:
    """|rule - mean_H|^2 over the honest variance, ``(cases,)``; infinite where the answer is not finite.

    Raises:
        Infeasible: the rule's conditions do not hold.
        UserError: an answer of another shape.
    """
    cohort = Cohort.of(cases, byzantine=f)
    given = cases.clone()
    answer = rule(given, cohort, rule.init(given, cohort))[0] if hasattr(rule, "init") else rule(given, cohort)
    wanted = (cases.shape[0], cases.shape[2])
    if not isinstance(answer, Tensor) or answer.shape != wanted:
        came = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UserError(f"a rule must return a tensor of shape (*cells, dim) = {wanted}, got {came}")
    honest = cases[:, f:]
    gap = (answer.double() - honest.mean(-2)).square().sum(-1)
    return torch.nan_to_num(gap / _spread(honest).square(), nan=math.inf, posinf=math.inf)


def _search(rule: Any, cases: Tensor, quotients: Tensor, f: int, seed: int, steps: int) -> float:
    """The largest quotient that random steps reach from the worst cases of the battery: never below them.

    Each step draws candidates around the best so far of each chain (all rows moved, the malicious moved, or the
    malicious drawn nearer to the honest mean or away from it), and keeps the best of all; the length of the steps
    follows their success, as in a (1 + lambda) evolution strategy.
    """
    n = cases.shape[1]
    generator = _generator(seed, "search", n, f)
    top = quotients.topk(min(CHAINS, len(quotients)))
    now, reached = cases[top.indices].clone(), top.values.clone()  # (chains, n, dim), (chains,)
    length = torch.full((len(now),), 0.3, dtype=torch.float64)
    for _ in range(steps):
        tried = _candidates(now, length, f, generator)  # (chains, WIDTH, n, dim)
        value = _quotients(rule, tried.flatten(0, 1), f).reshape(tried.shape[:2])
        best, index = value.max(1)
        better = best > reached
        now[better] = tried[torch.arange(len(now)), index][better]
        reached = torch.where(better, best, reached)
        length = (length * torch.where(better, 1.4, 0.85)).clamp(1e-4, 3.0)
        if bool(torch.isinf(reached).any()):
            break
    return float(reached.max())


def _candidates(now: Tensor, length: Tensor, f: int, generator: torch.Generator) -> Tensor:
    """Neighbours of each chain's best, in units of the honest spread; none farther than FAR spreads."""
    spread, mean = _spread(now[:, f:]), now[:, f:].mean(1)  # (chains,), (chains, dim)
    shape = (len(now), WIDTH, *now.shape[1:])
    size = (length * spread)[:, None, None, None]
    step = torch.randn(shape, dtype=torch.float64, generator=generator) * size
    step[:, ::3, f:] = 0  # a third moves the malicious alone,
    step[:, 1::3, :f] = step[:, 1::3, :1]  # a third moves them together, and the honest too
    tried = now[:, None] + step
    scale = torch.exp(
        length[:, None, None, None] * torch.randn(shape[:2], generator=generator)[..., None, None].double()
    )
    centre = mean[:, None, None]
    away = (tried[:, :, :f] - centre) * scale
    reach = torch.linalg.vector_norm(away, dim=-1, keepdim=True) / (FAR * spread[:, None, None, None])
    tried[:, :, :f] = centre + away / reach.clamp(min=1)
    return tried


def _generator(seed: int, purpose: str, *which: int) -> torch.Generator:
    return torch.Generator().manual_seed(named_seed(seed, f"kappa {purpose}", *which))
