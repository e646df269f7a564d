"""The sorting kernel against plain sorting, and its networks against the zero-one principle."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.aggregators.numerics import order_statistics
from flipbench.aggregators.numerics.order_statistics import band_mean, nearest_mean, network, weighted_sum


def ranks(x: torch.Tensor) -> np.ndarray:
    return np.sort(x.double().numpy(), axis=-2)


def nearest(x: torch.Tensor, keep: int, low: int, high: int) -> np.ndarray:
    s = ranks(x)
    centre = s[..., low:high, :].mean(-2, keepdims=True)
    order = np.argsort(np.abs(s - centre), axis=-2, kind="stable")[..., :keep, :]
    return np.take_along_axis(s, order, -2).mean(-2)


def run_network(rows: np.ndarray, low: int, high: int, ordered: bool = False) -> np.ndarray:
    """What the kernel does, on ``(clients, columns)``."""
    rows = rows.copy()
    for i in range(0, len(rows) // 4 * 4, 4):
        rows[i : i + 4] = np.sort(rows[i : i + 4], axis=0)
    for a, b, which in network(len(rows), low, high, ordered):
        small, large = np.minimum(rows[a], rows[b]), np.maximum(rows[a], rows[b])
        if which != 2:
            rows[a] = small
        if which != 1:
            rows[b] = large
    return rows


@pytest.mark.parametrize("n", [*range(1, 14), 16, 17])
def test_networks_by_the_zero_one_principle(n):
    columns = np.arange(2**n) if n <= 13 else np.random.default_rng(n).integers(0, 2**n, 4096)
    bits = (columns[None, :] >> np.arange(n)[:, None]) & 1
    for low, high in {(0, n), ((n - 1) // 2, n // 2 + 1), (n // 3, n - n // 3), (0, 1), (n - 1, n)}:
        wanted = np.sort(bits, axis=0)[low:high]
        assert (run_network(bits, low, high, ordered=True)[low:high] == wanted).all()
        assert (np.sort(run_network(bits, low, high)[low:high], axis=0) == wanted).all()


def test_a_selection_costs_fewer_comparators_than_a_sort():
    for n in (20, 100):
        assert len(network(n, (n - 1) // 2, n // 2 + 1)) < 0.85 * len(network(n, 0, n, True))
        assert len(network(n, 0, n)) == 0  # the sum of all needs no order


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_means_of_bands_and_of_neighbours(data):
    n = data.draw(st.integers(1, 70))
    dim = data.draw(st.sampled_from([1, 3, 63, 64, 65, 130]))
    low = data.draw(st.integers(0, n - 1))
    high = data.draw(st.integers(low + 1, n))
    keep = data.draw(st.integers(1, n))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    if data.draw(st.booleans()):
        x = torch.randint(-3, 4, (2, n, dim), generator=g).to(dtype)
    else:
        x = (torch.randn(2, n, dim, generator=g) * 10.0 ** torch.randint(-3, 4, (2, n, 1), generator=g)).to(dtype)
    near = {"rtol": 3e-7, "atol": 1e-6}
    np.testing.assert_allclose(band_mean(x, low, high).numpy(), ranks(x)[:, low:high].mean(1), **near)
    np.testing.assert_allclose(nearest_mean(x, keep, low, high).numpy(), nearest(x, keep, low, high), **near)


@pytest.mark.parametrize("n", [1, 7, 20, 41])
def test_the_sorting_path_gives_the_same(n, monkeypatch):
    x = torch.randn(2, n, 300, generator=torch.Generator().manual_seed(n))
    w = torch.rand(2, n, generator=torch.Generator().manual_seed(n))
    low, high, keep = n // 4, n - n // 4, (n + 2) // 2
    compiled = band_mean(x, low, high), nearest_mean(x, keep, low, high), weighted_sum(x, w)
    monkeypatch.setattr(order_statistics, "has_kernel", lambda updates, most=None: False)
    monkeypatch.setattr(order_statistics, "SLICE", 2 * n * 70)
    sliced = band_mean(x, low, high), nearest_mean(x, keep, low, high), weighted_sum(x, w)
    for a, b in zip(compiled, sliced, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-7, atol=1e-7)


def test_more_clients_than_a_network_serves():
    x = torch.randn(order_statistics.MOST_CLIENTS + 1, 3)
    assert torch.equal(band_mean(x, 512, 513), x.median(0).values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x = torch.randn(9, 20).to(dtype)
    assert torch.equal(band_mean(x, 4, 5), x.sort(0).values[4])
    assert weighted_sum(x, torch.full((9,), 1 / 9)).dtype == dtype


def test_no_columns_and_no_cells():
    assert band_mean(torch.zeros(2, 5, 0), 1, 4).shape == (2, 0)
    assert band_mean(torch.zeros(0, 5, 3), 1, 4).shape == (0, 3)


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(order_statistics, "ENOUGH", 1)
    x = torch.randn(3, 21, 700)
    alone = band_mean(x, 5, 16), nearest_mean(x, 16, 10, 11), weighted_sum(x, torch.rand(21).sort().values)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    together = band_mean(x, 5, 16), nearest_mean(x, 16, 10, 11)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=False))


def test_the_interpreter_runs_on_while_the_kernel_does():
    x = torch.randn(60, 400_000)
    band_mean(x[:, :100], 10, 50)
    done = threading.Event()
    worker = threading.Thread(target=lambda: (band_mean(x, 10, 50), done.set()))
    worker.start()
    turns = 0
    while not done.is_set():
        turns += 1
    worker.join()
    assert turns > 100


def test_the_compiler_is_loaded_on_first_use_only():
    code = "import sys; from flipbench.aggregators import RULES; assert 'numba' not in sys.modules; print(len(RULES))"
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) >= 6
