"""Time of every rule on one thread, beside streaming the matrix once and the same rule written plainly in torch.

Not part of ``make test``. Run with ``make speed``; ``-k 1000000`` chooses a size.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

import aggregators
from aggregators import Cohort

SIZES = [(n, d) for n in (10, 20, 50, 100) for d in (10_000, 100_000, 1_000_000)]


def updates(n: int, dim: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(n))


def best(call: Callable[[], object], repeats: int = 7) -> float:
    """Least seconds of a few calls: what the machine can do when nobody else disturbs it."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n", "dim"), SIZES)
@pytest.mark.parametrize("name", list(aggregators.RULES))
def test_rule(benchmark, name, n, dim):
    x = updates(n, dim)
    rule, cohort = aggregators.RULES[name], Cohort.of(x, n // 5)
    rule(x, cohort)
    benchmark.extra_info["stream_ms"] = 1e3 * best(lambda: x.sum(0))
    benchmark.pedantic(rule, (x, cohort), rounds=5)


def median_by_sorting(x: torch.Tensor) -> torch.Tensor:
    n = len(x)
    return x.sort(0).values[(n - 1) // 2 : n // 2 + 1].mean(0)


def trimmed_mean_by_sorting(x: torch.Tensor) -> torch.Tensor:
    n = len(x)
    return x.sort(0).values[n // 5 : n - n // 5].mean(0)


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize(("name", "plain"), [("median", median_by_sorting), ("trimmed_mean", trimmed_mean_by_sorting)])
def test_order_statistics_keep_up_with_memory(benchmark, name, plain, n):
    """Within 5x of streaming the matrix once, and 20x faster than sorting."""
    x = updates(n, 1_000_000)
    rule, cohort = aggregators.RULES[name], Cohort.of(x, n // 5)
    ours, stream = best(lambda: rule(x, cohort)), best(lambda: x.sum(0))
    sorting = best(lambda: plain(x), 1)
    benchmark.extra_info.update(stream_ms=1e3 * stream, sorting_ms=1e3 * sorting)
    benchmark.pedantic(rule, (x, cohort), rounds=3)
    assert ours <= 5 * stream
    assert sorting >= 20 * ours


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("name", ["krum", "multi_krum"])
def test_krum_keeps_up_with_one_product(benchmark, name, n):
    """Within 1.5x of one X @ X.T plus streaming the matrix once."""
    x = updates(n, 1_000_000)
    rule, cohort = aggregators.RULES[name], Cohort.of(x, n // 5)
    floor = best(lambda: x @ x.T) + best(lambda: x.sum(0))
    benchmark.extra_info["floor_ms"] = 1e3 * floor
    ours = best(lambda: rule(x, cohort))
    benchmark.pedantic(rule, (x, cohort), rounds=3)
    assert ours <= 1.5 * floor


@pytest.mark.parametrize("name", list(aggregators.RULES))
def test_calls_on_small_updates(benchmark, name):
    """A 7,850-parameter model asks thousands of times: what counts is the overhead of a call."""
    x = updates(20, 7850)
    rule, cohort = aggregators.RULES[name], Cohort.of(x, 4)
    rule(x, cohort)
    benchmark(rule, x, cohort)
