"""Options that give a rule as its paper prints it and as its authors' program computes it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from flipbench.aggregators import Cohort, Infeasible, bulyan, flame, lfighter
from flipbench.aggregators.rules.flame import admitted
from flipbench.aggregators.rules.lfighter import _spread
from tests.helpers.drawn_updates import draw, near


def as_the_authors_of_bulyan_compute(x: np.ndarray, f: int) -> np.ndarray:
    n = len(x)
    scores = [
        sum(sorted(float(np.linalg.norm(x[i] - x[j])) for j in range(n) if j != i)[: n - f - 2]) for i in range(n)
    ]
    ranked = sorted(range(n), key=lambda i: scores[i])
    vectors = np.array([x[ranked[k : n - f - 2]].mean(0) for k in range(n - 2 * f - 2)])
    out = []
    for column in vectors.T.tolist():
        middle = sorted(column)[(len(column) - 1) // 2]
        out.append(np.mean(sorted(column, key=lambda v: abs(v - middle))[: n - 4 * f - 2]))
    return np.array(out)


@pytest.mark.parametrize(("n", "f"), [(7, 1), (12, 2), (15, 3), (20, 4)])
def test_bulyan_as_its_authors_compute_it(n: int, f: int) -> None:
    x = draw(n, 6, n).double()
    answer = bulyan(x, Cohort.of(x, f), variant="authors")
    near(answer, torch.from_numpy(as_the_authors_of_bulyan_compute(x.numpy(), f)), ulps=1)
    assert not torch.allclose(answer, bulyan(x, Cohort.of(x, f)))
    assert torch.equal(bulyan(x.expand(2, n, 6), Cohort.of(x.expand(2, n, 6), f), variant="authors")[1], answer)
    with pytest.raises(Infeasible, match="f of at least 1"):
        bulyan(x, Cohort.of(x, 0), variant="authors")
    with pytest.raises(ValueError, match="paper or authors, got 'both'"):
        bulyan(x, Cohort.of(x, f), variant="both")  # type: ignore[arg-type]


def test_lfighter_starts_k_means_until_the_groups_are_good() -> None:
    """Of all divisions in two, the one of least spread: ten starts miss it more rarely than one."""
    missed = {1: 0, 10: 0}
    for seed in range(60):
        x = draw(9, 8, seed)
        x[:3] += 1.2
        layout = {"w": (slice(0, 8), (2, 4))}
        cohort = replace(Cohort.of(x, 2), layout=layout, seeds=torch.tensor(seed))
        apart = torch.cdist(x.double(), x.double()).square().numpy()
        least = min(_spread(apart, np.array([True, *g])) for g in product([True, False], repeat=8))
        for starts in missed:
            # the answer is the mean of one group: which one of all divisions it belongs to
            answer = lfighter(x, cohort, starts=starts)
            groups = (np.array(g) for g in product([True, False], repeat=9) if any(g))
            kept = next(g for g in groups if torch.allclose(x[torch.from_numpy(g)].mean(0), answer, atol=1e-6))
            missed[starts] += _spread(apart, kept) > least * (1 + 1e-9)
    assert missed[10] < missed[1]
    assert missed[10] <= 15


def test_lfighter_draws_by_the_clients_numbers() -> None:
    x = draw(12, 8, 3)
    cohort = replace(Cohort.of(x, 2), layout={"w": (slice(0, 8), (2, 4))})
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    other = replace(cohort, clients=cohort.clients[order])
    assert torch.equal(lfighter(x[order], other), lfighter(x, cohort))


def test_flame_compares_models_and_may_compare_updates() -> None:
    differ = 0
    for seed in range(5):
        x = draw(11, 40, seed)
        plain = Cohort.of(x, 2)
        full = replace(plain, model=3 * draw(1, 40, 50 + seed)[0])
        by_updates = flame(x, full, noise=0.0, compare="updates")
        assert torch.equal(by_updates, flame(x, plain, noise=0.0))  # a model of zeros: updates are the models
        differ += not torch.allclose(flame(x, full, noise=0.0), by_updates)
    assert differ
    with pytest.raises(ValueError, match="models or updates, got 'both'"):
        flame(x, full, compare="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"model needs the shape \(\*cells, dim\) = \(40,\), got \(3,\)"):
        flame(x, replace(plain, model=torch.ones(3)))


def majority(nearness: list[list[Any]]) -> list[bool]:
    """Who hangs together first in a group of more than half, from how near each two are; equal links at once."""
    n = len(nearness)
    for reach in sorted({nearness[i][j] for i in range(n) for j in range(i)}, reverse=True):
        groups = [{i} for i in range(n)]
        for i, j in product(range(n), repeat=2):
            if i != j and nearness[i][j] >= reach:
                whole = groups[i] | groups[j]
                for k in whole:
                    groups[k] = whole
        if 2 * max(map(len, groups)) > n:
            best = max(groups, key=len)
            return [i in best for i in range(n)]
    return [True] * n


def test_flame_admits_clients_alike_that_are_equally_near() -> None:
    """Whole numbers, whose cosines are compared as fractions: rounding decides nothing."""
    draws = np.random.default_rng(0)
    for _ in range(150):
        n, dim = int(draws.integers(4, 11)), int(draws.integers(2, 7))
        rows = draws.integers(-2, 3, (n, dim))
        if not rows.any(1).all():
            continue
        dots = [[Fraction(int(a @ b)) for b in rows] for a in rows]
        nearness = [[dots[i][j] * abs(dots[i][j]) / (dots[i][i] * dots[j][j]) for j in range(n)] for i in range(n)]
        x = torch.tensor(rows, dtype=torch.float32)
        assert admitted(x, Cohort.of(x, 1), "updates").tolist() == majority(nearness)


@pytest.mark.parametrize("size", [1e-4, 1e-6, 1e-8, 1e-10])
def test_flame_tells_models_apart_that_hardly_differ(size: float) -> None:
    """What 1 - cos comes to for small updates: half the squared difference across the model, over its square."""
    for seed in range(20):
        steps, model = draw(9, 30, seed).double(), 3 * draw(1, 30, 100 + seed)[0].double()
        across = steps - torch.outer(steps @ model, model) / model.square().sum()
        nearness = -torch.cdist(across, across).square()
        x = size * steps
        found = admitted(x, replace(Cohort.of(x, 1), model=model), "models")
        assert found.tolist() == majority(nearness.tolist())
