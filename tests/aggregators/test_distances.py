"""Squared distances on updates that are small beside the weights, beside outliers, and equal to each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbench.aggregators import Cohort, krum, multi_krum
from flipbench.aggregators.numerics import distances
from flipbench.aggregators.numerics.distances import pick_row, squared_distances


def brute(x: torch.Tensor) -> torch.Tensor:
    """Row against row in float64, ``(clients, clients)``."""
    rows = x.double()
    return torch.stack([(rows - row).square().sum(-1) for row in rows])


def worst(x: torch.Tensor) -> float:
    true, ours = brute(x), squared_distances(x)
    apart = true > 0
    assert torch.equal(ours == 0, ~apart)
    assert torch.equal(ours, ours.mT)
    return float(((ours - true).abs() / true)[apart].max())


def on_weights(n: int, dim: int, seed: int) -> torch.Tensor:
    """float32 weights about 1, updates of 1e-4 to 1e-3."""
    g = torch.Generator().manual_seed(seed)
    size = 10.0 ** (-4 + torch.rand(1, generator=g))
    return torch.randn(dim, generator=g) + size * torch.randn(n, dim, generator=g)


@pytest.mark.parametrize("n", [10, 25, 26, 40, 64])
def test_krum_picks_what_float64_picks_on_raw_weights(n):
    f = (n - 3) // 2
    for seed in range(4 if n < 40 else 2):
        x = on_weights(n, 20_000, seed)
        assert worst(x) < 2e-6
        others = brute(x).fill_diagonal_(float("inf"))
        scores = others.sort(-1).values[:, : n - f - 2].sum(-1)
        winner = int(scores.argmin())
        assert torch.equal(krum(x, Cohort.of(x, f)), x[winner])
        chosen = scores.argsort()[: n - f - 2].sort().values
        answer = multi_krum(x, Cohort.of(x, f)).double()
        assert float((answer - x[chosen].double().mean(0)).abs().max()) < 1e-6


def test_a_million_columns():
    assert worst(on_weights(10, 1_000_000, 1)) < 1e-6


@pytest.mark.parametrize("size", [1e2, 1e6, 1e12, 1e30])
@pytest.mark.parametrize("place", [[0, 1, 2, 3], [16, 17, 18, 19], [0, 5, 10, 19]])
@pytest.mark.parametrize("step", [1.0, 50.0])
def test_outliers_do_not_blur_the_honest(size, place, step):
    x = on_weights(20, 3000, 5)
    far = size * torch.randn(4, 3000, generator=torch.Generator().manual_seed(1))
    x[place] = far * (step ** torch.arange(4)).unsqueeze(1)
    assert worst(x) < 5e-6


def test_outliers_in_float64():
    x = on_weights(12, 500, 6).double()
    x[[0, 7]] = torch.tensor([[1e90], [-1e95]], dtype=torch.float64)
    assert worst(x) < 1e-9
    x[0] = 1e200  # its square has no float64
    ours = squared_distances(x)
    assert torch.isinf(ours[0, 1:]).all()
    assert not torch.isnan(ours).any()
    rest = [*range(1, 7), *range(8, 12)]
    torch.testing.assert_close(ours[rest][:, rest], brute(x[rest]), rtol=1e-9, atol=0)


def test_differences_beyond_float64_are_infinite():
    x = torch.tensor([[1e308], [-1e308], [1e308], [0.0]], dtype=torch.float64).expand(4, 30)
    far = float("inf")
    assert squared_distances(x).tolist() == [[0, far, 0, far], [far, 0, far, far], [0, far, 0, far], [far, far, far, 0]]


def test_twins_and_near_twins():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(20, 3000, generator=g)
    x[[3, 9, 15]] = x[7].clone()
    x[10:13] = x[7] + 1e-5 * torch.randn(3, 3000, generator=g)
    x[17] = x[18]
    assert worst(x) < 1e-4  # near twins are themselves rounded to float32, but their difference is exact


def test_all_equal():
    x = torch.randn(1, 50).expand(9, 50)
    assert torch.equal(squared_distances(x), torch.zeros(9, 9, dtype=torch.float64))


def test_whole_numbers_are_exact_so_ties_stay_ties():
    g = torch.Generator().manual_seed(3)
    for n in (5, 26, 40):
        x = torch.randint(-3, 4, (n, 40), generator=g).float()
        assert torch.equal(squared_distances(x), brute(x))


def test_stacks_and_shapes():
    x = torch.randn(2, 3, 13, 5000)
    whole = squared_distances(x)
    assert whole.shape == (2, 3, 13, 13)
    assert whole.dtype == torch.float64
    assert torch.equal(whole[1, 2], squared_distances(x[1, 2].clone()))
    assert squared_distances(torch.randn(1, 4)).tolist() == [[0.0]]
    assert squared_distances(torch.zeros(3, 0)).tolist() == [[0.0] * 3] * 3
    picked = pick_row(x, torch.tensor([[0, 1, 2], [3, 4, 12]]))
    assert torch.equal(picked[1, 2], x[1, 2, 12])
    assert torch.equal(picked[0, 1], x[0, 1, 1])


def test_the_batched_product_agrees_with_the_blocked_one():
    x = on_weights(11, 5000, 8).expand(3, 11, 5000)
    for centre in (0, 4):
        many = distances._grams(x, centre)
        one = distances._gram(x[1].numpy(), np.arange(11), centre, 2, 2)
        np.testing.assert_allclose(many[1], one, rtol=1e-5, atol=1e-12)


def test_threads_change_no_bit(monkeypatch):
    x = on_weights(13, 100_000, 9)
    alone = squared_distances(x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(squared_distances(x), alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x = torch.randn(7, 300).to(dtype)
    torch.testing.assert_close(squared_distances(x), brute(x), rtol=1e-5, atol=1e-9)
