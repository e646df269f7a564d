"""The geometric median is the minimum, wherever it lies: weight decides, also between groups that agree closely."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from flipbench.aggregators import Cohort, geometric_median
from flipbench.aggregators.rules.geometric_median import CERTIFIED

KINDS = ("normal", "whole numbers", "two camps", "one line", "repeated", "large", "small", "far client")


def cost(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> float:
    return float((w * np.linalg.norm(x - y, axis=1)).sum())


def least(x: np.ndarray, w: np.ndarray) -> float:
    """The least cost that the rows themselves, and a general minimiser from the best of them, give."""
    rows = [cost(x, w, row) for row in x]
    best = x[int(np.argmin(rows))]
    size = float(np.abs(x - best).max()) or 1.0

    def scaled(z: np.ndarray) -> float:
        return cost(x, w, best + size * z)

    starts = (np.zeros(x.shape[1]), (w @ x - best) / size)
    options = {"xatol": 1e-12, "fatol": 1e-16, "maxiter": 4000, "maxfev": 4000}
    return min([*rows, *(minimize(scaled, s, method="Nelder-Mead", options=options).fun for s in starts)])


def drawn(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 13)), int(rng.integers(1, 4))
    x = rng.normal(size=(n, d))
    match kind:
        case "whole numbers":
            x = rng.integers(-2, 3, size=(n, d)).astype(float)
        case "two camps":
            x = x * 10.0 ** -rng.integers(2, 8)
            x[: (n + 1) // 2] += 1
        case "one line":
            x = rng.normal(size=(n, 1)) * rng.normal(size=(1, d))
        case "repeated":
            x = x[rng.integers(0, max(1, n // 2), size=n)]
        case "large" | "small":
            x *= 1e12 if kind == "large" else 1e-12
        case "far client":
            x[0] *= 1e9
    w = rng.random(n) * (rng.random(n) < 0.7) if seed % 2 else np.ones(n)  # some clients have no examples
    w = w if w.sum() else np.ones(n)
    return x, w / w.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_has_a_smaller_sum_of_distances(kind: str) -> None:
    for seed in range(12):
        x, w = drawn(kind, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a minimum that is not certified is said
            y = geometric_median(torch.tensor(x), Cohort.of(torch.tensor(x), 0, weights=torch.tensor(w))).numpy()
        assert cost(x, w, y) <= least(x, w) * (1 + CERTIFIED) + 1e-300, (kind, seed)


def test_weight_decides_and_not_the_number_of_rows() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.5], [-1.0, 0.5]], dtype=torch.float64)
    w = torch.tensor([0.05, 0.05, 0.45, 0.45], dtype=torch.float64)
    y = geometric_median(x, Cohort.of(x, 0, weights=w))
    # on the axis of symmetry: 0.9 (0.5 - y) / sqrt(1 + (0.5 - y)²) = 0.1
    wanted = 0.5 - 1 / np.sqrt(80)
    torch.testing.assert_close(y, torch.tensor([0.0, wanted], dtype=torch.float64), rtol=0, atol=1e-9)
    idle = torch.cat([torch.zeros(9, 2, dtype=torch.float64), x])  # clients of weight 0 at one point change nothing
    more = torch.cat([torch.zeros(9, dtype=torch.float64), w])
    assert torch.equal(geometric_median(idle, Cohort.of(idle, 0, weights=more)), y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_tight_camps(dtype: torch.dtype) -> None:
    """With a little more weight at 0 the minimum lies there; a short step far from it is no reason to stop."""
    noise = 1e-6 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    x = (noise + (torch.arange(20) >= 10).float().unsqueeze(-1)).to(dtype)
    w = torch.full((20,), 0.05, dtype=torch.float64)
    w[:10] += 1e-4
    w[10:] -= 1e-4
    y = geometric_median(x, Cohort.of(x, 0, weights=w))
    assert float(y.abs().max()) < 1e-4


def test_a_number_of_steps_is_kept_to() -> None:
    x = torch.randn(15, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w = torch.full((15,), 1 / 15, dtype=torch.float64)
    few, all_ = (geometric_median(x, Cohort.of(x, 2, weights=w), steps=s) for s in (3, None))
    assert 1e-9 < float((few - all_).norm()) < 0.1


def test_a_minimum_that_is_not_certified_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flipbench.aggregators.rules.geometric_median.CERTIFIED", 0.0)
    x = torch.tensor([[0.0, 0.0], [0.0, 1e-4], [1.0, 3e-4], [1.0, 6e-4]], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match="share of .* above the least one"):
        geometric_median(x, Cohort.of(x, 0))


def test_the_promise_is_about_weight() -> None:
    """Malicious clients that hold less than half of the weight do not carry the answer away; a half is enough."""
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x[0] = 1e6
    for held, carried in ((0.45, False), (0.55, True)):
        w = torch.full((9,), (1 - held) / 8, dtype=torch.float64)
        w[0] = held
        assert (float(geometric_median(x, Cohort.of(x, 1, weights=w)).norm()) > 1e5) == carried


@pytest.mark.parametrize("size", [1e3, 1e12, 1e18, 1e30])
def test_far_clients_pull_with_their_weight_and_no_more(size: float) -> None:
    """However far and however many they are: with less than half of the weight, they leave the pulls in balance."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(3, 12)), int(rng.integers(1, 5))
        far = rng.permutation(n)[: rng.integers(1, n)]
        near = np.setdiff1d(np.arange(n), far)
        x = rng.integers(-2, 3, (n, d)).astype(float) if seed % 2 else rng.normal(size=(n, d))
        x[far] = size * (rng.choice([-1.0, 1.0], (len(far), 1)) if seed % 3 else rng.normal(size=(len(far), d)))
        w, held = rng.random(n) + 0.05, rng.uniform(0.05, 0.45)
        w[far] *= held / w[far].sum()
        w[near] *= (1 - held) / w[near].sum()
        y = geometric_median(torch.tensor(x), Cohort.of(torch.tensor(x), 0, weights=torch.tensor(w))).numpy()
        away = np.linalg.norm(x - y, axis=1)
        there = away <= 1e-6
        pull = np.linalg.norm((w[~there] / away[~there]) @ (x - y)[~there])
        assert pull <= w[there].sum() + 1e-5, (seed, pull)
