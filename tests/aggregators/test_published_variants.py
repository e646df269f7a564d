"""Rules as other papers and public code compute them: options of the rules, against loops; models by their sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flipbench.aggregators import Cohort, Infeasible, krum, median, multi_krum, trimmed_mean
from flipbench.training import initialisation, models
from tests.oracles import aggregator_oracles as oracle

VARIANTS: dict[str, tuple[Callable[[Tensor, Cohort], Tensor], Callable[[list[list[float]], int], list[float]]]] = {
    "unsquared": (lambda u, c: krum(u, c, power=1), lambda x, f: oracle.krum(x, f, [], power=1)),
    "fourth power": (lambda u, c: krum(u, c, power=4), lambda x, f: oracle.krum(x, f, [], power=4)),
    "multi-krum unsquared": (
        lambda u, c: multi_krum(u, c, power=1),
        lambda x, f: oracle.multi_krum(x, f, [], power=1),
    ),
    "n - f kept": (
        lambda u, c: multi_krum(u, c, keep="n-f"),
        lambda x, f: oracle.multi_krum(x, f, [], keep=len(x) - f),
    ),
    "lower median": (lambda u, c: median(u, c, middle="lower"), lambda x, f: oracle.lower_median(x, f, [])),
    "beta": (lambda u, c: trimmed_mean(u, c, beta=0.2), lambda x, f: oracle.trimmed_mean(x, len(x) // 5, [])),
}


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(("n", "f"), [(7, 2), (8, 2), (13, 4), (20, 8)])
@pytest.mark.parametrize("name", VARIANTS)
def test_an_option_is_what_the_paper_computes(name: str, n: int, f: int, stacked: bool) -> None:
    rule, wanted = VARIANTS[name]
    g = torch.Generator().manual_seed(n + f)
    updates = torch.randn(3, n, 23, dtype=torch.float64, generator=g) * torch.rand(3, n, 1, generator=g) * 3
    got = rule(updates, Cohort.of(updates, f)) if stacked else rule(updates[1], Cohort.of(updates[1], f))
    for cell, answer in zip(updates if stacked else updates[1:2], got.view(-1, 23), strict=True):
        torch.testing.assert_close(answer, torch.tensor(wanted(cell.tolist(), f), dtype=torch.float64))


def test_an_exponent_changes_who_wins() -> None:
    x = torch.randn(40, 9, 2, generator=torch.Generator().manual_seed(1))
    one, four = (krum(x, Cohort.of(x, 2), power=p) for p in (1, 4))
    assert 3 < int((one != four).any(-1).sum()) < 37


def test_without_strictness_a_single_neighbour_is_enough() -> None:
    x = torch.randn(19, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Infeasible, match="at least 2f \\+ 3 = 21 clients"):
        multi_krum(x, Cohort.of(x, 9))
    got = multi_krum(x, Cohort.of(x, 9), keep="n-f", strict=False)
    want = oracle.multi_krum(x.double().tolist(), 9, [], keep=10)
    torch.testing.assert_close(got.double(), torch.tensor(want, dtype=torch.float64), rtol=1e-5, atol=1e-6)
    krum(x, Cohort.of(x, 16), strict=False)
    for rule in (krum, multi_krum):
        with pytest.raises(Infeasible, match="strict=false\\) needs at least f \\+ 3 = 20 clients"):
            rule(x, Cohort.of(x, 17), strict=False)


@pytest.mark.parametrize(
    ("rule", "options", "text"),
    [
        (krum, {"power": 0}, "power must be a finite number above 0"),
        (multi_krum, {"power": float("inf")}, "power must be"),
        (median, {"middle": "upper"}, "mean or lower"),
        (trimmed_mean, {"trim": 1, "beta": 0.1}, "trim or beta, not both"),
        (trimmed_mean, {"beta": 0.5}, "from 0 to below 0.5"),
    ],
)
def test_options_that_cannot_be_are_refused(rule: Any, options: dict[str, Any], text: str) -> None:
    x = torch.randn(9, 4)
    with pytest.raises(ValueError, match=text):
        rule(x, Cohort.of(x, 1), **options)


def test_a_share_to_trim_is_not_cut_short_by_binary_fractions() -> None:
    x = torch.arange(100.0).unsqueeze(1) ** 2
    for percent in range(50):
        cut = trimmed_mean(x, Cohort.of(x, 0), trim=percent)
        assert torch.equal(trimmed_mean(x, Cohort.of(x, 0), beta=percent / 100), cut)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"channels": [16, 32], "hidden": [128]}, 80_202),  # Lolli
        ({"channels": [10, 20], "hidden": [50], "channel_dropout": 0.5, "dropout": 0.5}, 21_840),  # LFighter
        ({"channels": [16, 32], "padding": 2, "hidden": [], "norm": "batch"}, 29_034),  # Tolpegin, Fashion-MNIST
        ({"channels": [30, 50], "kernel": 3, "hidden": [200]}, 266_060),  # Fang, Table 2b
    ],
)
def test_networks_of_papers_have_the_published_sizes(options: dict[str, Any], number: int) -> None:
    net = models.cnn((1, 28, 28), 10, **options)
    assert sum(p.numel() for p in net.parameters()) == number
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_dropout_stands_where_the_example_network_of_pytorch_has_it() -> None:
    net = models.cnn((1, 28, 28), 10, channels=[10, 20], hidden=[50], channel_dropout=0.5, dropout=0.25)
    kinds = [type(m) for m in net]
    block = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds == [*block, *block, nn.Dropout2d, nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [m.p for m in net if "Dropout" in type(m).__name__] == [0.5, 0.25]
    for wrong in ({"dropout": 1.0}, {"channel_dropout": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            models.cnn((1, 28, 28), 10, **wrong)


INITIAL: dict[str, tuple[Any, Callable[[Tensor, int, int], bool]]] = {
    "zeros": (initialisation.zeros, lambda w, i, o: not bool(w.any())),
    "normal": (lambda w: initialisation.normal(w, std=3.0), lambda w, i, o: 2.6 < float(w.std()) < 3.4),
    "uniform": (
        initialisation.uniform,
        lambda w, i, o: 0 <= float(w.min()) < 1e-3 and 0.009 < float(w.max()) <= 0.01,
    ),
    "xavier": (
        lambda w: initialisation.xavier(w, magnitude=1.0),
        lambda w, i, o: 0.9 * (2 / (i + o)) ** 0.5 < float(w.abs().max()) <= (2 / (i + o)) ** 0.5,
    ),
}


@pytest.mark.parametrize("name", INITIAL)
def test_initial_weights_are_drawn_as_said_and_by_the_seed(name: str) -> None:
    draw, holds = INITIAL[name]

    def make(shape: models.Shape, classes: int) -> nn.Module:
        return models.cnn(shape, classes, channels=[60], kernel=3, hidden=[30], norm="batch")

    nets = [models.build(make, (1, 12, 12), 10, seed, draw) for seed in (0, 0, 1)]
    for layer, again, other in zip(*nets, strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            assert bool((layer.weight == 1).all())
        elif hasattr(layer, "weight"):
            field = layer.weight[0, 0].numel()
            assert holds(layer.weight.detach(), layer.weight.shape[1] * field, layer.weight.shape[0] * field)
            assert not bool(layer.bias.any())
            assert torch.equal(layer.weight, again.weight)
            assert torch.equal(layer.weight, other.weight) == (name == "zeros")


@pytest.mark.parametrize(
    ("draw", "options"),
    [
        (initialisation.normal, {"std": 0.0}),
        (initialisation.uniform, {"low": 1.0, "high": 1.0}),
        (initialisation.xavier, {"magnitude": -1.0}),
    ],
)
def test_draws_that_cannot_be_are_refused(draw: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        draw(torch.zeros(2, 2), **options)
