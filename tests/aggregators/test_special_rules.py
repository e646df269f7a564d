"""What is particular to one rule: options, memory, root data, the output layer, random draws."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from flipbench.aggregators import (
    Cohort,
    Infeasible,
    aksel,
    caf,
    centered_clipping,
    dnc,
    fedavg,
    flame,
    fltrust,
    foolsgold,
    geometric_median,
    lfighter,
    mda,
    mean,
    median,
    monna,
    norm_clipping,
    signguard,
    trimmed_mean,
    weighted_median,
    weighted_trimmed_mean,
)
from flipbench.aggregators.numerics import norms as lengths
from flipbench.conformance.oracles import DEFINITIONS
from flipbench.conformance.oracles.by_direction import centered_clipping as clipping_oracle
from flipbench.conformance.oracles.by_direction import foolsgold_weights
from tests.helpers.drawn_updates import cohort_for, draw, near
from tests.helpers.rule_subjects import expected


def rejects(rule, x, cohort, match, **options):
    with pytest.raises((TypeError, ValueError), match=match):
        rule(x, cohort, **options)


def test_options_are_checked():
    x = draw(13, 20, 1)
    cohort = cohort_for(x, 2)
    rejects(norm_clipping, x, cohort, "radius must be above 0", radius=-1.0)
    rejects(centered_clipping, x, cohort, "steps must be at least 1", steps=0)
    rejects(centered_clipping, x, cohort, "steps must be a whole number", steps=1.5)
    rejects(geometric_median, x, cohort, "tolerance must be above 0", tolerance=0.0)
    rejects(aksel, x, cohort, "at most n - f = 11 of 13", keep=12)
    rejects(dnc, x, cohort, "discard must be above 0", discard=0)
    rejects(dnc, x, cohort, "throws out round.* = 14 clients", discard=7.0)
    rejects(flame, x, cohort, "noise must be at least 0", noise=-0.1)
    rejects(signguard, x, cohort, "share must be above 0 and at most 1", share=2.0)
    rejects(signguard, x, cohort, "upper is in units", upper=0.5)
    rejects(mda, x, cohort, "limit must be", limit=0)
    rejects(weighted_trimmed_mean, x, cohort, "trim must be", trim=-1)
    with pytest.raises(ValueError, match="kappa must be above 0"):
        foolsgold(kappa=0.0)


def test_equal_weights_make_the_weighted_rules_plain():
    for n in (1, 2, 5, 8, 13, 20):
        x = draw(n, 33, n)
        for f in {0, (n - 1) // 4, (n - 1) // 2}:
            cohort = Cohort.of(x, f)
            near(weighted_median(x, cohort), median(x, cohort), ulps=2)
            near(weighted_trimmed_mean(x, cohort), trimmed_mean(x, cohort), ulps=4)


def test_a_heavy_client_is_not_to_be_outvoted():
    x = draw(9, 12, 1)
    w = torch.full((9,), 0.05)
    w[3] = 0.6
    cohort = Cohort.of(x, 0, weights=w)
    assert torch.equal(weighted_median(x, cohort), x[3])
    near(weighted_trimmed_mean(x, cohort), fedavg(x, cohort))
    for rule in (weighted_median, weighted_trimmed_mean):
        with pytest.raises(Infeasible, match=r"f = 1 heaviest of 9 clients .* hold 0.600"):
            rule(x, replace(cohort, byzantine=1))


def test_fixed_radii():
    x = draw(9, 30, 2)
    lengths = x.double().norm(dim=1, keepdim=True)
    near(norm_clipping(x, cohort_for(x, 2), radius=2.0), (x.double() * 2 / lengths).mean(0))
    near(norm_clipping(x, cohort_for(x, 2), radius=1e9), x.double().mean(0))
    start = draw(1, 30, 3)[0]
    cohort = replace(cohort_for(x, 2), previous=start)
    apart = x.double() - start
    moved = start + (apart * (2 / apart.norm(dim=1, keepdim=True)).clamp(max=1)).mean(0)
    near(centered_clipping(x, cohort, radius=2.0), moved)
    for steps in (1, 2, 5):
        near(centered_clipping(x, cohort, steps=steps), expected(clipping_oracle, x, cohort, steps=steps))


def test_the_geometric_median_is_the_least_sum_of_distances():
    x = draw(15, 40, 2)
    cohort = cohort_for(x, 3)

    def cost(y):
        return float((cohort.weights.double() * (x.double() - y).norm(dim=1)).sum())

    answer = geometric_median(x, cohort).double()
    best = cost(answer)
    for seed in range(20):
        assert cost(answer + 1e-2 * draw(1, 40, seed)[0]) > best
    heavy = torch.full((15,), 0.02)
    heavy[4] = 0.72
    assert torch.equal(geometric_median(x, Cohort.of(x, 3, weights=heavy)), x[4])


def test_mda_takes_the_least_diameter_of_all_sets():
    for n, f in ((7, 2), (9, 4), (12, 3)):
        x = draw(n, 6, n).double()
        answer = mda(x, Cohort.of(x, f))
        apart = torch.cdist(x, x)
        diameters = {s: float(apart[list(s)][:, list(s)].max()) for s in combinations(range(n), n - f)}
        least = min(diameters.values())
        assert any(torch.allclose(answer, x[list(s)].mean(0)) for s, d in diameters.items() if d == least)
    x = draw(60, 30, 1)
    with pytest.raises(Infeasible, match=r"within limit = 5 steps for f = 20 of 60 clients"):
        mda(x, Cohort.of(x, 20), limit=5)
    assert torch.isfinite(mda(x, Cohort.of(x, 20))).all()


def test_caf_without_malicious_clients_is_the_mean():
    x = draw(9, 30, 2)
    near(caf(x, Cohort.of(x, 0)), x.double().mean(0))


def test_rules_with_root_data():
    x, own = draw(9, 30, 2), draw(1, 30, 3)[0]
    for rule in (fltrust, monna):
        with pytest.raises(Infeasible, match="root data"):
            rule(x, cohort_for(x, 2))
        with pytest.raises(Infeasible, match="diverged"):
            rule(x, replace(cohort_for(x, 2), trusted=lambda: own * float("nan")))
    cohort = replace(cohort_for(x, 2), trusted=lambda: own)
    near(fltrust(own.expand(9, 30) * 7, cohort), own)
    assert torch.equal(fltrust(-own.expand(9, 30), cohort), torch.zeros(30))  # nobody is trusted
    x[4] = 0
    near(fltrust(x, cohort), expected(DEFINITIONS["fltrust"].oracle, x, cohort))


def sybils(n: int, malicious: int, seed: int = 1) -> torch.Tensor:
    x = draw(n, 200, seed)
    x[:malicious] = draw(1, 200, 77) + 0.05 * draw(malicious, 200, 78)
    return x


def test_foolsgold_silences_sybils():
    x = sybils(12, 4)
    cohort = cohort_for(x, 0)
    rule = foolsgold()
    answer, _ = rule(x, cohort, rule.init(x, cohort))
    near(answer, x[4:].double().mean(0), ulps=64)
    alike = draw(1, 200, 1).expand(12, 200)
    assert torch.equal(rule(alike, cohort, rule.init(alike, cohort))[0], torch.zeros(200))
    near(foolsgold(average=False)(x, cohort, rule.init(x, cohort))[0], x[4:].double().sum(0), ulps=64)


def test_foolsgold_remembers_each_client():
    """Sampled clients, three rounds, against the oracle with sums kept by hand."""
    for rule, history in ((foolsgold(), True), (foolsgold(history=False), False), (foolsgold(kappa=0.4), True)):
        g = torch.Generator().manual_seed(2)
        sums: dict[int, torch.Tensor] = {}
        state, partial = None, 0
        for r in range(3):
            ids = torch.randperm(9, generator=g)[:6]
            x = sybils(9, 3, seed=r)
            x[4:8] += draw(1, 200, 5)  # some honest clients are somewhat alike
            x = x[ids]
            cohort = replace(cohort_for(x, 0), clients=ids)
            state = rule.init(x, cohort) if state is None else state
            before = [dict(m) for m in state]
            answer, after = rule(x, cohort, state)
            assert [dict(m) for m in state] == before  # passed on, not changed
            state = after
            for i, c in enumerate(ids.tolist()):
                sums[c] = sums.get(c, 0) + x[i].double()
            compared = torch.stack([sums[c] for c in ids.tolist()]) if history else x.double()
            shares = torch.from_numpy(foolsgold_weights(compared.numpy(), rule.kappa))
            partial += int(((shares > 0) & (shares < 1)).sum())
            near(answer, shares @ x.double() / shares.sum(), ulps=256)
        assert partial  # not only ones and zeros


def test_foolsgold_may_look_at_the_output_layer_alone():
    x = draw(8, 60, 1)
    x[:3, :20] = draw(1, 20, 2)
    layout = {"head": (slice(0, 20), (4, 5)), "rest": (slice(20, 60), (40,))}
    cohort = replace(cohort_for(x, 0), layout=layout)
    rule = foolsgold(last_layer=True)
    shares = torch.from_numpy(foolsgold_weights(x[:, :20].double().numpy()))
    assert float(shares[:3].max()) < 1e-6 < float(shares[3:].min())
    near(rule(x, cohort, rule.init(x, cohort))[0], shares @ x.double() / shares.sum(), ulps=256)
    with pytest.raises(Infeasible, match="output layer"):
        rule(x, replace(cohort, layout={"flat": (slice(0, 60), (60,))}), rule.init(x, cohort))
    with pytest.raises(ValueError, match="memory is of 1 cells"):
        rule(x.expand(2, 8, 60), cohort_for(x.expand(2, 8, 60), 0), rule.init(x, cohort))


def flipped(n: int, malicious: int, classes: int = 10, features: int = 8) -> tuple[torch.Tensor, Cohort]:
    """Updates of a small classifier: malicious clients push class 7's row down and class 1's up, honest ones not."""
    dim = 30 + classes * features + classes
    x = 0.1 * draw(n, dim, 1)
    rows = x[:, 30 : 30 + classes * features].view(n, classes, features)
    push = draw(1, features, 3).abs() + 0.5
    sign = torch.ones(n)
    sign[:malicious] = -1
    rows[:, 7] += sign[:, None] * push * (1 + 0.3 * draw(n, 1, 4))
    rows[:, 1] -= sign[:, None] * push * (1 + 0.3 * draw(n, 1, 5))
    layout = {
        "0.weight": (slice(0, 30), (5, 6)),
        "1.weight": (slice(30, 30 + classes * features), (classes, features)),
        "1.bias": (slice(dim - classes, dim), (classes,)),
    }
    return x, replace(cohort_for(x, malicious), layout=layout)


@pytest.mark.parametrize("malicious", [1, 4, 8])
def test_lfighter_leaves_out_clients_that_flip(malicious):
    x, cohort = flipped(20, malicious)
    near(lfighter(x, cohort), x[malicious:].double().mean(0))


def test_lfighter_needs_an_output_layer():
    x = draw(9, 30, 1)
    with pytest.raises(Infeasible, match=r"lfighter needs .* got 1 parameters and no matrix"):
        lfighter(x, cohort_for(x, 2))
    same = x[:1].expand(9, 30)
    layout = {"w": (slice(0, 20), (2, 10)), "b": (slice(20, 22), (2,)), "running": (slice(22, 30), (8,))}
    near(lfighter(same, replace(cohort_for(same, 2), layout=layout)), x[0], ulps=2)


def test_draws_belong_to_cell_and_round():
    x = draw(20, 500, 1)
    cohort = replace(cohort_for(x, 4), seeds=torch.tensor(3), round=4)
    for rule, options in ((flame, {}), (dnc, {"sketch": 20}), (signguard, {"share": 0.02})):
        first = rule(x, cohort, **options)
        torch.manual_seed(5)
        assert torch.equal(rule(x, cohort, **options), first)
        others = [replace(cohort, round=r) for r in range(5, 13)] + [replace(cohort, seeds=torch.tensor(9))]
        assert any(not torch.equal(rule(x, other, **options), first) for other in others)


def test_flame_adds_noise_of_the_stated_size():
    x = draw(20, 4000, 1)
    cohort = cohort_for(x, 4)
    noise = flame(x, cohort, noise=0.01) - flame(x, cohort, noise=0.0)
    middle = float(x.norm(dim=1).quantile(0.5))
    assert float(noise.std()) == pytest.approx(0.01 * middle, rel=0.05)
    assert float(noise.mean().abs()) < 0.01 * middle * 4 / 4000**0.5


def test_dnc_repeats_throw_out_more():
    x = draw(20, 500, 1)
    x[:4] += 0.5
    cohort = cohort_for(x, 4)
    near(dnc(x, cohort), x[4:].double().mean(0))
    near(dnc(x, cohort, repeats=3), x[4:].double().mean(0))
    assert torch.isfinite(dnc(x, cohort, discard=1.5, sketch=50)).all()
    y = draw(20, 500, 2)
    with pytest.raises(Infeasible, match="threw out all 20 clients in 40 repeats"):
        dnc(y, Cohort.of(y, 9), sketch=5, repeats=40)


@pytest.mark.parametrize("rule", [mean, median])
def test_the_public_door(rule):
    x = draw(9, 5, 1)
    assert rule(x, Cohort.of(x, byzantine=2)).shape == (5,)


def test_lengths_and_cosines_at_every_size():
    x = draw(9, 3000, 1)
    x[0], x[1] = 0, x[2] * 3
    for size in (1.0, 1e-30, 1e30):
        y = x * size
        point = y[4]
        for ours, plain in (
            (lengths.squared_lengths(y), y.double().square().sum(1)),
            (lengths.squared_lengths(y, point), (y.double() - point.double()).square().sum(1)),
        ):
            torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
        # what serves where nothing is compiled
        torch.testing.assert_close(lengths._in_slices(y, point), lengths.squared_lengths(y, point), rtol=1e-12, atol=0)
        wanted = torch.nn.functional.cosine_similarity(x[:, None].double(), x[None].double(), dim=-1)
        torch.testing.assert_close(lengths.cosines(y), wanted, rtol=0, atol=2e-6)
        torch.testing.assert_close(lengths.cosines_to(y, x[5]), wanted[:, 5], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_aksel_takes_the_lower_number_of_two_that_are_equally_near_the_median(dtype):
    """Of two clients, and of two groups of equal ones, both are equally far from the median, whatever is rounded."""
    for seed in range(30):
        pair = draw(2, 5, seed).to(dtype)
        assert torch.equal(aksel(pair, Cohort.of(pair, 0)), pair[0])
        groups = pair[[1, 0, 0, 1]]
        near(aksel(groups, Cohort.of(groups, 1)), pair.double().mean(0).to(dtype))
        assert torch.equal(aksel(groups, Cohort.of(groups, 1), keep=1), pair[1])


def test_dnc_tells_the_others_apart_beside_a_far_update():
    """The second client to leave is found by digits that products in float32 do not have."""
    missed = 0
    for seed in range(40):
        x = draw(8, 5, seed)
        x[0] *= 1e4
        rows = x.double()
        around = rows - rows.mean(0)
        along = around @ torch.linalg.svd(around).Vh[0]
        kept = along.square().argsort()[:5].sort().values
        missed += not torch.allclose(dnc(x, cohort_for(x, 3)), x[kept].mean(0), atol=1e-5)
    assert missed == 0
