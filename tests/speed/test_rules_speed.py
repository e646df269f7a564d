"""Time of every rule on one thread, beside streaming the matrix once and the same rule written plainly in torch.

Not part of ``make test``. Run with ``make speed``; ``-k 1000000`` chooses a size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import aggregators
from aggregators import Cohort, Infeasible

SIZES = [(n, d) for n in (10, 20, 50, 100) for d in (10_000, 100_000, 1_000_000)]


def updates(n: int, dim: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(n))


def cohort_for(x: torch.Tensor) -> Cohort:
    """A fifth of the clients lie; with a server's own update and an output layer of ten classes."""
    n, dim = x.shape
    f, own, width = (n - 3) // 5, torch.randn(dim, generator=torch.Generator().manual_seed(0)), dim // 100
    layout = {
        "rest": (slice(0, dim - 10 * width), (dim - 10 * width,)),
        "out": (slice(dim - 10 * width, dim), (10, width)),
    }
    return Cohort.of(x, f, trusted=lambda: own, layout=layout)


def subjects() -> dict[str, Callable[..., Any]]:
    """Every rule, and every pre-aggregation with a trimmed mean behind it."""
    chains = {
        f"{name} | trimmed_mean": aggregators.compose(
            partial(mix, radius=30.0) if name == "clipping" else mix, aggregators.trimmed_mean
        )
        for name, mix in aggregators.PREAGGREGATIONS.items()
    }
    return {name: _called(rule) for name, rule in aggregators.RULES.items()} | chains


def _called(rule: Any) -> Callable[..., Any]:
    if not isinstance(rule, type):
        return rule
    one = rule()
    return lambda x, cohort: one(x, cohort, one.init(x, cohort))


SUBJECTS = subjects()


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
@pytest.mark.parametrize("name", SUBJECTS)
def test_rule(benchmark, name, n, dim):
    x = updates(n, dim)
    rule, cohort = SUBJECTS[name], cohort_for(x)
    try:
        rule(x, cohort)
    except Infeasible as why:
        pytest.skip(str(why))
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


@pytest.mark.parametrize("name", SUBJECTS)
def test_calls_on_small_updates(benchmark, name):
    """A 7,850-parameter model asks thousands of times: what counts is the overhead of a call."""
    x = updates(20, 7850)
    rule, cohort = SUBJECTS[name], cohort_for(x)
    rule(x, cohort)
    benchmark(rule, x, cohort)


def plain_weiszfeld(x: torch.Tensor, cohort: Cohort, steps: int = 1000) -> torch.Tensor:
    """Smoothed Weiszfeld on the updates themselves, to the same end."""
    y = cohort.weights @ x
    for _ in range(steps):
        factors = cohort.weights / (x - y).norm(dim=1).clamp(min=1e-6)
        new = factors @ x / factors.sum()
        moved, y = (new - y).norm() / y.norm(), new
        if moved < 1e-6:
            break
    return y


@pytest.mark.parametrize("n", [20, 100])
def test_geometric_median_works_on_inner_products(benchmark, n):
    """5x faster than Weiszfeld on the updates themselves."""
    x = updates(n, 1_000_000) * torch.linspace(0.1, 3, n).unsqueeze(1)
    x[: n // 5] += 1.0
    cohort = cohort_for(x)
    rule = aggregators.geometric_median
    ours, plain = best(lambda: rule(x, cohort), 3), best(lambda: plain_weiszfeld(x, cohort), 1)
    benchmark.extra_info["plain_ms"] = 1e3 * plain
    torch.testing.assert_close(rule(x, cohort), plain_weiszfeld(x, cohort), rtol=1e-3, atol=1e-4)
    benchmark.pedantic(rule, (x, cohort), rounds=3)
    assert plain >= 5 * ours


@pytest.mark.parametrize("n", [20, 100])
def test_mixing_costs_no_more_than_its_parts(benchmark, n):
    """nnm | trimmed_mean within 1.3x of nnm plus trimmed_mean; meamed within 12x of the stream."""
    x = updates(n, 1_000_000)
    cohort = cohort_for(x)
    rule = SUBJECTS["nnm | trimmed_mean"]
    parts = best(lambda: aggregators.nnm(x, cohort), 3) + best(lambda: aggregators.trimmed_mean(x, cohort), 3)
    ours, stream = best(lambda: rule(x, cohort), 3), best(lambda: x.sum(0))
    benchmark.pedantic(rule, (x, cohort), rounds=3)
    assert ours <= 1.3 * parts
    assert best(lambda: aggregators.meamed(x, cohort), 3) <= 12 * stream
