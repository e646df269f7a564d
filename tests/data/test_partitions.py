"""Partitions: every example once, sizes as promised, the same by seed, and the two ends of every option."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.data.partitions import PARTITIONS, _topped_up, dirichlet, iid, label_bias, one_label, shards, similarity
from flipbench.errors import UserError

OPTIONS = {
    "iid": [{}, {"batch": 7}],
    "dirichlet": [{"alpha": a} for a in (5e-324, 1e-3, 0.1, 1.0, 1e3, 1e308)] + [{"alpha": 0.1, "minimum": 0}],
    "shards": [{"per_client": 1}, {"per_client": 3}],
    "similarity": [{"gamma": g} for g in (0.0, 0.3, 1.0)],
    "label_bias": [{"q": q} for q in (0.0, 0.1, 0.5, 1.0)],
    "one_label": [{}],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]
LABELS = torch.arange(10).repeat_interleave(100)[torch.randperm(1000, generator=torch.Generator().manual_seed(7))]


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def histogram(labels, parts):
    """(clients, classes) counts."""
    return torch.stack([torch.bincount(labels[p], minlength=int(labels.max()) + 1) for p in parts])


def test_every_partition_is_tried():
    assert set(OPTIONS) == set(PARTITIONS) - {"natural"}  # in test_natural_partition.py


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("clients", [10, 13, 20])
def test_every_example_goes_to_one_client(name, options, clients):
    parts = PARTITIONS[name](LABELS, clients, draw(), **options)
    assert len(parts) == clients
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1000))
    for part in parts:
        assert part.dtype == torch.int64
        assert torch.equal(part, part.sort().values)
        assert len(part) or options.get("minimum") == 0


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_seed_and_nothing_else_decides(name, options):
    state = torch.get_rng_state()
    before = LABELS.clone()
    one, same, other = (PARTITIONS[name](LABELS, 12, draw(s), **options) for s in (3, 3, 4))
    assert all(map(torch.equal, one, same))
    assert not all(map(torch.equal, one, other))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(LABELS, before)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    clients=st.integers(1, 60),
    case=st.sampled_from(CASES),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_small_and_lopsided_data_are_dealt_or_refused_with_numbers(labels, clients, case, seed):
    name, options = case
    error, parts = None, []
    try:
        parts = PARTITIONS[name](torch.tensor(labels), clients, draw(seed), **options)
    except UserError as refusal:
        error = str(refusal)
    if error is None:
        assert sorted(torch.cat(parts).tolist()) == list(range(len(labels)))
        assert min(map(len, parts)) >= options.get("minimum", 1)
    else:
        assert error.startswith(name)
        assert any(c.isdigit() for c in error)
        short = clients * options.get("per_client", 1) > len(labels)
        batches = -(-len(labels) // options.get("batch", 1))
        assert short or clients > batches or name in ("label_bias", "one_label")


@given(n=st.integers(1, 200), clients=st.integers(1, 50), gamma=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_even_ones_are_even_within_one(n, clients, gamma, seed):
    labels = torch.arange(n) % 7
    if clients > n:
        return
    for parts in (iid(labels, clients, draw(seed)), similarity(labels, clients, draw(seed), gamma=gamma)):
        sizes = [len(p) for p in parts]
        assert max(sizes) - min(sizes) <= 1


def test_dirichlet_ends():
    few = histogram(LABELS, dirichlet(LABELS, 10, draw(), alpha=1e-3, minimum=0))
    assert ((few > 0).sum(0) == 1).all()  # a class with one client
    even = histogram(LABELS, dirichlet(LABELS, 10, draw(), alpha=1e6))
    assert (even - 10).abs().max() <= 1


def test_dirichlet_has_the_distributions_mean_and_variance():
    alpha, clients = 0.5, 5
    labels = torch.zeros(10_000, dtype=torch.int64)
    parts = [dirichlet(labels, clients, draw(s), alpha=alpha, minimum=0) for s in range(800)]
    shares = torch.tensor([[len(p) / 10_000 for p in each] for each in parts], dtype=torch.float64)
    mean, total = 1 / clients, alpha * clients
    variance = mean * (1 - mean) / (total + 1)
    assert torch.allclose(shares.mean(0), torch.full((clients,), mean, dtype=torch.float64), atol=0.02)
    assert torch.allclose(shares.var(0), torch.full((clients,), variance, dtype=torch.float64), rtol=0.15)


def test_dirichlet_tops_up_to_the_minimum_from_the_largest():
    free = dirichlet(LABELS, 20, draw(1), alpha=0.01, minimum=0)
    held = dirichlet(LABELS, 20, draw(1), alpha=0.01, minimum=5)
    assert min(map(len, free)) < 5 == min(map(len, held))
    for a, b in zip(free, held, strict=True):
        moved = len(set(a.tolist()) ^ set(b.tolist()))
        assert moved <= max(5, len(a) - len(b))  # nobody both gives and takes
        assert len(b) == 5 or len(b) <= len(a)
    assert [len(p) for p in dirichlet(LABELS, 10, draw(), alpha=1e-3, minimum=100)] == [100] * 10


@pytest.mark.timing
def test_topping_up_many_examples_takes_the_fewest_moves_at_once():
    labels = torch.arange(60_000) % 10  # a move at a time needs 13 s
    before = time.perf_counter()
    parts = dirichlet(labels, 100, draw(), alpha=1e-3, minimum=600)
    assert time.perf_counter() - before < 3
    assert [len(p) for p in parts] == [600] * 100
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(60_000))


def test_a_topped_up_client_gets_random_examples_of_the_largest():
    owner = torch.cat([torch.zeros(200, dtype=torch.int64), torch.ones(100, dtype=torch.int64)])
    times = torch.zeros(300)
    for seed in range(300):
        new = _topped_up(owner.clone(), 3, 50, draw(seed))
        assert torch.bincount(new).tolist() == [150, 100, 50]
        times += new == 2
    assert not times[200:].any()
    assert 75 - 35 < times[:200].min() <= times[:200].max() < 75 + 35  # binomial, mean 75, deviation 7.5


def test_a_client_of_shards_sees_few_classes():
    counts = histogram(LABELS, shards(LABELS, 50, draw(), per_client=2))  # shards of 10 lie within a class
    assert ((counts > 0).sum(1) <= 2).all()
    assert set(counts[counts > 0].tolist()) <= {10, 20}


def test_similarity_ends():
    apart = histogram(LABELS, similarity(LABELS, 10, draw(), gamma=0.0))
    assert torch.equal(apart, torch.eye(10, dtype=torch.int64) * 100)
    assert all(map(torch.equal, similarity(LABELS, 10, draw(), gamma=1.0), iid(LABELS, 10, draw())))
    half = histogram(LABELS, similarity(LABELS, 10, draw(), gamma=0.5))
    assert (half.diagonal() >= 45).all()
    assert half.diagonal().sum() == pytest.approx(550, abs=45)


@pytest.mark.parametrize(("clients", "q"), [(10, 0.5), (20, 0.8), (23, 0.3), (23, 0.0), (23, 1.0)])
def test_label_bias_sends_q_of_a_class_to_its_group(clients, q):
    labels = torch.arange(10).repeat(2000)
    counts = histogram(labels, label_bias(labels, clients, draw(), q=q))
    groups = torch.stack([counts[g::10].sum(0) for g in range(10)]) / 2000
    assert torch.allclose(groups.diagonal(), torch.full((10,), q), atol=0.04)
    others = groups[~torch.eye(10, dtype=torch.bool)]
    assert torch.allclose(others, torch.full((90,), (1 - q) / 9), atol=0.03)
    for g in range(10):  # within a group evenly
        sizes = counts[g::10].sum(1).double()
        assert (sizes / sizes.mean() - 1).abs().max() < 0.12


def test_one_label_is_one_class_in_turn():
    counts = histogram(LABELS, one_label(LABELS, 23, draw()))
    assert ((counts > 0).sum(1) == 1).all()
    assert counts.argmax(1).tolist() == [i % 10 for i in range(23)]
    for c in range(10):
        sizes = counts[c::10, c]
        assert sizes.max() - sizes.min() <= 1
    gap = torch.tensor([0, 0, 5, 5])
    assert [p.tolist() for p in one_label(gap, 2, draw())] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("name", "clients", "options", "said"),
    [
        ("iid", 1001, {}, "1001 clients, and there are 1000 examples"),
        ("iid", 0, {}, "at least 1 client, got 0"),
        ("dirichlet", 10, {"alpha": 0.0}, "alpha above 0, got 0.0"),
        ("dirichlet", 10, {"alpha": float("nan")}, "alpha above 0, got nan"),
        ("dirichlet", 10, {"alpha": float("inf")}, "finite alpha"),
        ("dirichlet", 10, {"alpha": 1.0, "minimum": 101}, "minimum from 0 to 100"),
        ("dirichlet", 10, {"alpha": 1.0, "minimum": -1}, "got -1"),
        ("shards", 10, {"per_client": 0}, "per_client of 1 or more, got 0"),
        ("shards", 10, {"per_client": 101}, "10 clients x 101 shards = 1010, and there are 1000"),
        ("similarity", 10, {"gamma": 1.5}, "gamma from 0 to 1, got 1.5"),
        ("similarity", 10, {"gamma": float("nan")}, "gamma from 0 to 1, got nan"),
        ("label_bias", 10, {"q": -0.1}, "q from 0 to 1, got -0.1"),
        ("label_bias", 9, {"q": 0.5}, "10 classes, got 9 clients"),
        ("one_label", 9, {}, "10 classes, got 9 clients"),
    ],
)
def test_refusals_say_what_was_needed_and_what_came(name, clients, options, said):
    with pytest.raises(UserError) as caught:
        PARTITIONS[name](LABELS, clients, draw(), **options)
    assert said in str(caught.value)
    assert str(caught.value).startswith(name)


def test_one_label_refuses_more_holders_than_examples():
    with pytest.raises(UserError, match="class 1 for each of 2 clients, got 1"):
        one_label(torch.tensor([0, 0, 0, 1]), 4, draw())
