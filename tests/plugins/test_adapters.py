"""Other suites' rules in our grids, ours in theirs.

ByzFL and Flower are no dependencies, so the contract is tested on stand-ins of both (a package of a few lines each,
with the traits that matter), and on the real ones where they are installed.
"""

from __future__ import annotations

import importlib.util
import logging
import pickle
import sys
from unittest.mock import MagicMock

import pytest
import torch

from flipbench.aggregators import Cohort, Infeasible, krum, median, trimmed_mean
from flipbench.errors import UserError
from flipbench.plugins import other_suites, registry, source_hashes

REAL_BYZFL = importlib.util.find_spec("byzfl") is not None
REAL_FLOWER = importlib.util.find_spec("flwr") is not None
needs_byzfl = pytest.mark.skipif(not REAL_BYZFL, reason="byzfl is not installed here: pip install byzfl torchvision")
needs_flower = pytest.mark.skipif(not REAL_FLOWER, reason="flwr is not installed here: pip install 'flwr>=1.42,<2'")

BYZFL = """\
import torch

class TrMean:
    def __init__(self, f=0):
        if not isinstance(f, int) or f < 0:
            raise ValueError("f must be a non-negative integer")
        self.f = f
    def __call__(self, vectors):
        if 2 * self.f >= len(vectors):
            raise ValueError(f"cannot tolerate f={self.f} of n={len(vectors)}")
        vectors.copy_(vectors.sort(0).values)  # a rule that writes into its input
        return vectors[self.f : len(vectors) - self.f].mean(0)

class Average:
    def __call__(self, vectors):
        return vectors.mean(0)

class Drifting:
    def __init__(self, m=None, tau=1.0):
        self.m = m
    def __call__(self, vectors):
        self.m = torch.zeros_like(vectors[0]) if self.m is None else self.m
        return self.m + 1

class Drawn:
    def __call__(self, vectors):
        return vectors[int(torch.randint(len(vectors), ()))]

class Nothing:
    def __call__(self, vectors):
        return None

class Wrong:
    def __call__(self, vectors):
        return vectors

class NoRule:
    pass

def function(vectors):
    return vectors.mean(0)
"""

FLOWER_APP = """\
class Array:
    def __init__(self, values): self.values = values
    def numpy(self): return self.values
class ArrayRecord(dict): pass
class MetricRecord(dict): pass
class RecordDict(dict):
    @property
    def array_records(self): return {k: v for k, v in self.items() if isinstance(v, ArrayRecord)}
    @property
    def metric_records(self): return {k: v for k, v in self.items() if isinstance(v, MetricRecord)}
"""

FLOWER_STRATEGIES = """\
import logging
from flwr.app import Array, ArrayRecord

class FedAvg:
    def __init__(self, fraction_train=1.0, weighted_by_key="num-examples", arrayrecord_key="arrays"):
        self.weighted_by_key, self.arrayrecord_key = weighted_by_key, arrayrecord_key
    def configure_train(self, *args): ...
    def aggregate_train(self, server_round, replies):
        logging.getLogger("flwr").info("a line a round")
        assert not any(r.has_error() for r in replies)
        total = sum(r.content["metrics"][self.weighted_by_key] for r in replies)
        mean = 0.0
        for r in replies:
            weight = r.content["metrics"][self.weighted_by_key] / total
            mean = mean + r.content[self.arrayrecord_key].pop("update").numpy() * weight  # pops: empties its input
        return ArrayRecord(update=Array(mean)), None

class Krum(FedAvg):
    def __init__(self, num_malicious_nodes=0, **rest):
        super().__init__(**rest)
        self.num_malicious_nodes = num_malicious_nodes
    def aggregate_train(self, server_round, replies):
        if len(replies) < 2 * self.num_malicious_nodes + 3:
            return None, None
        return ArrayRecord(update=replies[self.num_malicious_nodes].content["arrays"].pop("update")), None

class FedAdam(FedAvg):
    def configure_train(self, *args):
        self.model = args
"""


@pytest.fixture
def byzfl(tmp_path, monkeypatch):
    """A stand-in for ByzFL."""
    put(tmp_path, monkeypatch, {"byzfl/__init__": "", "byzfl/aggregators/__init__": "",
                                "byzfl/aggregators/aggregators": BYZFL})  # fmt: skip


@pytest.fixture
def flower(tmp_path, monkeypatch):
    """A stand-in for Flower."""
    put(tmp_path, monkeypatch, {"flwr/__init__": "", "flwr/app": FLOWER_APP, "flwr/serverapp/__init__": "",
                                "flwr/serverapp/strategy": FLOWER_STRATEGIES})  # fmt: skip


def put(folder, monkeypatch, files):
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    top = next(iter(files)).partition("/")[0]
    for name in [m for m in sys.modules if m == top or m.startswith(f"{top}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    # What the test imports goes again at its end, and the real package comes back if there is one.
    for name in files:
        module = name.removesuffix("/__init__").replace("/", ".")
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)


def stack(clients=9, dim=5, cells=2):
    return torch.randn(cells, clients, dim, generator=torch.Generator().manual_seed(1))


def says(text):
    with pytest.raises(UserError) as caught:
        registry.resolve("aggregator", text)
    return str(caught.value)


def test_f_comes_from_the_cohort_unless_the_reference_gives_it(byzfl):
    x = stack()
    for reference, f in [("byzfl:TrMean", 2), ("byzfl:TrMean(f=1)", 1), ("byzfl:TrMean(f=0)", 0)]:
        answer = registry.resolve("aggregator", reference)(x, Cohort.of(x, byzantine=2))
        assert torch.allclose(answer, trimmed_mean(x, Cohort.of(x, byzantine=f)), atol=1e-6)
    assert torch.allclose(registry.resolve("aggregator", "byzfl:Average")(x, Cohort.of(x, byzantine=2)), x.mean(1))


@pytest.mark.parametrize("name", ["byzfl:TrMean", "byzfl:Drawn", "byzfl:Drifting", "byzfl:Average"])
def test_the_bench_is_left_alone_and_a_stack_is_its_cells(byzfl, name):
    contract(registry.resolve("aggregator", name), stack())


@pytest.mark.parametrize("name", ["flower:FedAvg", "flower:Krum"])
def test_flower_empties_copies_only(flower, name):
    contract(registry.resolve("aggregator", name), stack())


def contract(rule, x):
    """What the federation asks: shape, dtype, inputs and generators untouched, same answer twice, cells apart."""
    cohort = Cohort.of(x, byzantine=2, seeds=torch.arange(len(x)), round=3)
    before, drawn = x.clone(), torch.get_rng_state()
    answer = rule(x, cohort)
    assert answer.shape == (len(x), x.shape[-1])
    assert answer.dtype == x.dtype
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(rule(x, cohort), answer)
    for i in range(len(x)):
        alone = Cohort.of(x[i], byzantine=2, seeds=torch.tensor(i), round=3)
        assert torch.equal(rule(x[i], alone), answer[i])
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_draws_differ_from_round_to_round_and_cell_to_cell(byzfl):
    x = stack(clients=50, cells=1)[0]
    rule = registry.resolve("aggregator", "byzfl:Drawn")
    seen = {tuple(rule(x, Cohort.of(x, round=r, seeds=torch.tensor(s))).tolist()) for r in range(5) for s in range(5)}
    assert len(seen) > 10


def test_a_rule_that_remembers_starts_from_the_last_update(byzfl):
    x = stack(cells=1)[0]
    rule = registry.resolve("aggregator", "byzfl:Drifting")
    assert rule(x, Cohort.of(x, previous=torch.full((5,), 4.0))).tolist() == [5.0] * 5


def test_flower_weighs_by_examples(flower):
    x = stack(cells=1)[0]
    weights = torch.arange(1.0, 10.0) / 45
    answer = registry.resolve("aggregator", "flower:FedAvg")(x, Cohort.of(x, weights=weights))
    assert torch.allclose(answer, weights @ x, atol=1e-6)
    picked = registry.resolve("aggregator", "flower:Krum")(x, Cohort.of(x, byzantine=3))
    assert torch.equal(picked, x[3])


def test_flower_logs_no_line_a_round(flower, caplog):
    x = stack(cells=1)[0]
    with caplog.at_level(logging.INFO, logger="flwr"):
        registry.resolve("aggregator", "flower:FedAvg")(x, Cohort.of(x))
    assert not caplog.records


def test_what_their_rules_refuse_is_infeasible(byzfl, flower):
    x = stack(clients=4)
    with pytest.raises(Infeasible, match="byzfl:TrMean: cannot tolerate f=2 of n=4"):
        registry.resolve("aggregator", "byzfl:TrMean")(x, Cohort.of(x, byzantine=2))
    with pytest.raises(Infeasible, match="flower:Krum gives no answer to 4 clients with f = 2"):
        registry.resolve("aggregator", "flower:Krum")(x, Cohort.of(x, byzantine=2))
    with pytest.raises(Infeasible, match="byzfl:Nothing gives no answer"):
        registry.resolve("aggregator", "byzfl:Nothing")(x, Cohort.of(x))
    with pytest.raises(UserError, match="byzfl:Wrong gave no vector of 5 numbers"):
        registry.resolve("aggregator", "byzfl:Wrong")(x, Cohort.of(x))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("byzfl:TrMen", "byzfl has no rule 'TrMen' - did you mean 'TrMean'?; there are Average"),
        ("byzfl:TrMean(g=1)", "byzfl:TrMean: unknown option 'g'; its options are f"),
        ("byzfl:TrMean(f=-1)", "byzfl:TrMean(f=-1): f must be a non-negative integer"),
        ("byzfl:Average(f=1)", "byzfl:Average: unknown option 'f'; it has no options"),
        ("byzfl:function", "byzfl has no rule 'function'"),
        ("byzfl:NoRule", "cannot run in a grid; there are Average"),
        ("flower:FedAdam", "flower:FedAdam keeps more than a round's updates"),
        ("flower:Krumm", "flwr has no rule 'Krumm' - did you mean 'Krum'?; there are FedAvg, Krum"),
    ],
)
def test_mistakes_say_what_was_needed(byzfl, flower, text, said):
    assert said in says(text)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "byzfl", None)
    monkeypatch.setitem(sys.modules, "flwr", None)
    assert says("byzfl:TrMean") == (
        "byzfl:TrMean needs the package byzfl, which is not installed here: pip install byzfl torchvision"
    )
    assert "flower:Krum needs the package flwr, which is not installed here: pip install 'flwr" in says("flower:Krum")


def test_a_package_that_does_not_load_says_why(byzfl, tmp_path):
    (tmp_path / "byzfl/__init__.py").write_text("import torchvision_that_is_missing")
    said = says("byzfl:TrMean")
    assert "is installed but does not load (ModuleNotFoundError: No module named 'torchvision_that_is_missing')" in said


@pytest.mark.parametrize("error", ["RuntimeError('operator torchvision::nms does not exist')", "SystemExit(3)"])
def test_a_package_that_raises_anything_while_it_loads_is_one_sentence(byzfl, tmp_path, error):
    (tmp_path / "byzfl/__init__.py").write_text(f"raise {error}")
    said = says("byzfl:TrMean")
    assert "is installed but does not load" in said
    assert "\n" not in said


def test_another_version_is_another_experiment(byzfl, tmp_path, monkeypatch):
    one = source_hashes.source_hash("aggregator", "byzfl:TrMean")
    assert one is not None
    assert len(one) == 64
    assert source_hashes.source_hash("aggregator", "nnm | byzfl:TrMean") not in {None, one}
    monkeypatch.setattr(other_suites, "_version", lambda package: "9.9")
    assert source_hashes.source_hash("aggregator", "byzfl:TrMean") != one


def test_a_chain_can_end_in_another_suites_rule(byzfl):
    x = stack()
    answer = registry.resolve("aggregator", "nnm | byzfl:TrMean")(x, Cohort.of(x, byzantine=2))
    assert answer.shape == (2, 5)


@pytest.fixture
def real_byzfl(monkeypatch):
    """ByzFL itself. It imports torchvision for data sets of its own; its rules do without, so a stand-in will do."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: it was built for another PyTorch
        monkeypatch.setitem(sys.modules, "torchvision", MagicMock())


@needs_byzfl
@pytest.mark.usefixtures("real_byzfl")
@pytest.mark.parametrize(
    "name",
    ["Average", "CAF", "CenteredClipping", "GeometricMedian", "Krum", "MDA", "Meamed", "Median", "MoNNA", "MultiKrum",
     "SMEA", "TrMean"],
)  # fmt: skip
def test_every_rule_of_the_real_byzfl_keeps_the_contract(name):
    assert name in other_suites.names("byzfl")
    contract(registry.resolve("aggregator", f"byzfl:{name}"), stack())


@needs_byzfl
@pytest.mark.usefixtures("real_byzfl")
def test_the_real_byzfl_agrees_where_definitions_do():
    x = stack(clients=11)
    cohort = Cohort.of(x, byzantine=3)
    for theirs, ours in [("TrMean", trimmed_mean), ("Median", median)]:
        assert torch.allclose(registry.resolve("aggregator", f"byzfl:{theirs}")(x, cohort), ours(x, cohort), atol=1e-6)


@needs_flower
@pytest.mark.parametrize("name", ["Bulyan", "FedAvg", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum"])
def test_every_rule_of_the_real_flower_keeps_the_contract(name):
    assert name in other_suites.names("flower")
    contract(registry.resolve("aggregator", f"flower:{name}"), stack(clients=11))


@needs_flower
def test_the_real_flower_agrees_where_definitions_do():
    x = stack(clients=11)
    cohort = Cohort.of(x, byzantine=3)
    for theirs, ours in [("Krum", krum), ("FedMedian", median)]:
        assert torch.allclose(registry.resolve("aggregator", f"flower:{theirs}")(x, cohort), ours(x, cohort), atol=1e-6)
