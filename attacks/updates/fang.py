"""Attacks made for one kind of rule: against the direction in which the global model would have gone.

    s_j  the sign of coordinate j of the update that the server would have applied without an attack

Full knowledge, in updates instead of models: a model of the paper is the global model plus an update, and its
"before-attack" clients are the honest ones and what the malicious ones would have sent. Which rule is faced is
assumed, not asked: against another one the attack is the same.

Source: Fang, Cao, Jia, Gong 2020, Local Model Poisoning Attacks to Byzantine-Robust Federated Learning, section 4.
"""

from __future__ import annotations

from math import ceil, log2

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.aggregators.numerics.distances import squared_distances
from flipbench.aggregators.numerics.norms import squared_lengths
from flipbench.aggregators.rules.krum import krum, scores
from flipbench.attacks.contract import UpdateContext
from flipbench.attacks.updates.honest_statistics import all_alike, finite, mean, positive


def fang_krum(updates: Tensor, context: UpdateContext, /, *, threshold: float = 1e-5) -> Tensor:
    """All send -lambda s, with the largest lambda found for which Krum (f = m) chooses them (section 4.2).

    lambda starts at the bound of the paper's theorem 1 and is halved until Krum chooses a malicious client, or until
    it is at most ``threshold``; that last value is sent then. The malicious clients support each other with equal
    updates (the paper's epsilon is 0); s is the sign of Krum's own answer before the attack.

    Args:
        updates: ``(malicious, dim)``, what the malicious clients would have sent.
        context: gives the honest updates.
        threshold: the lambda at which the search gives up, in weights.

    Raises:
        Infeasible: n < 2m + 3, where Krum has no answer.
        ValueError: ``threshold`` is not above 0.
    """
    positive("fang_krum", threshold=threshold)
    n, m = len(context.honest) + len(updates), len(updates)
    if n < 2 * m + 3:
        raise Infeasible(f"fang_krum needs n >= 2m + 3 = {2 * m + 3} clients for m = {m} malicious ones, got {n}")
    honest = finite(context.honest)
    h = len(honest)
    if h < m + 3:  # the model has diverged for so many that Krum has no answer left
        return torch.zeros_like(updates)
    clients = torch.cat([honest, updates])
    signs = krum(clients, Cohort.of(clients, byzantine=m)).sign().double()
    size = float(signs.abs().sum())  # the paper's d: coordinates that do not move have no direction
    if size == 0:
        return torch.zeros_like(updates)
    between, norms = squared_distances(honest), squared_lengths(honest)
    closest = _closest(between, h - 2)  # Krum's n - m - 2 neighbours
    bound = (closest / ((h - m - 1) * size)).sqrt() + (norms.max() / size).sqrt()
    halvings = max(0, ceil(log2(float(bound) / threshold))) if bound > 0 else 0
    factors = bound * 2.0 ** -torch.arange(halvings + 1, dtype=torch.float64, device=bound.device)
    chosen = _chosen(between, norms, honest.double() @ signs, size, factors, m)
    first = int(chosen.to(torch.int8).argmax()) if bool(chosen.any()) else halvings
    return all_alike(signs * -factors[first], updates)


def _closest(between: Tensor, neighbours: int) -> Tensor:
    """The least sum of squared distances of an honest client to its nearest honest others."""
    return between.sort(-1).values[:, 1 : neighbours + 1].sum(-1).min()  # column 0 is the client itself


def _chosen(between: Tensor, norms: Tensor, along: Tensor, size: float, factors: Tensor, malicious: int) -> Tensor:
    """Whether Krum would choose a malicious client, for each lambda: ``(trials,)`` bool.

    Args:
        between: ``(honest, honest)``, squared distances.
        norms: ``(honest,)``, squared norms.
        along: ``(honest,)``, inner products with s.
        size: ||s||².
        factors: ``(trials,)``, the lambdas.
        malicious: m.
    """
    h, trials = len(between), len(factors)
    away = norms + 2 * factors[:, None] * along + (factors**2)[:, None] * size  # (trials, honest): ||x_i + lambda s||²
    squares = between.new_zeros(trials, h + malicious, h + malicious)
    squares[:, :h, :h] = between
    squares[:, :h, h:] = away.unsqueeze(-1)
    squares[:, h:, :h] = away.unsqueeze(-2)
    ranked = scores(squares, malicious)
    # Strictly lower: with equal scores the client of the lowest index wins, and that may be an honest one.
    return ranked[:, h] < ranked[:, :h].min(-1).values


def fang_trimmed_mean(updates: Tensor, context: UpdateContext, /, *, spread: float = 2.0) -> Tensor:
    """Each coordinate just outside the honest range, on the side that the model would not have gone (section 4.3).

        s_j < 0:   from [max, spread max] where max > 0, else from [max, max/spread]
        s_j >= 0:  from [min/spread, min] where min > 0, else from [spread min, min]

    max and min over the honest clients; drawn uniformly, for each malicious client and coordinate. s is the sign of
    the unweighted mean before the attack.

    Args:
        updates: ``(malicious, dim)``, what the malicious clients would have sent.
        context: gives the honest updates and the generator.
        spread: the paper's b, above 1.

    Raises:
        ValueError: ``spread`` is not above 1.
    """
    if not 1 < spread < float("inf"):
        raise ValueError(f"fang_trimmed_mean needs spread to be a finite number above 1, got {spread}")
    honest = finite(context.honest)
    falls = mean(finite(torch.cat([honest, updates]))) < 0
    edge = torch.where(falls, honest.amax(0), honest.amin(0)).double()  # (dim,)
    grows = torch.where(falls, edge > 0, edge <= 0)  # away from 0 is away from the honest range
    far = torch.where(grows, edge * spread, edge / spread)
    drawn = torch.rand(updates.shape, generator=context.generator, dtype=updates.dtype).to(updates.device)
    return (edge + drawn * (far - edge)).to(updates.dtype)
