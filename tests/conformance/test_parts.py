"""`flipbench check` of parts of training: shipped ones pass, and each fault is found by its check."""

from __future__ import annotations

from pathlib import Path

import pytest

import flipbench as fb
from flipbench.cli import check
from flipbench.conformance.parts import KINDS, PART_PROPERTIES
from flipbench.spec.reference import parse_chain
from flipbench.training import models

SHIPPED = {
    "model": "mlp(widths=[4])",
    "dataset": "digits(train=200)",
    "partition": "shards(per_client=2)",
    "malicious_data": "fresh(examples=20)",
    "features": "standard",
    "loss": "cross_entropy",
    "augmentation": "crop(padding=1)",
    "schedule": "step(every=1)",
    "initialisation": "xavier",
    "optimiser": "adam",
    "server_optimiser": "yogi",
}


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_parts_pass(kind: str) -> None:
    checks = fb.check_part(SHIPPED[kind], kind)
    assert list(checks) == [name for name, one in PART_PROPERTIES.items() if kind in one.kinds]
    assert not checks.failed


FAULTS = """
import dataclasses, itertools, torch
import flipbench as fb

@dataclasses.dataclass(frozen=True)
class together:
    def init(self, weights, layout, /): return {}
    def step(self, weights, gradients, state, step, /): return gradients.mean(0, keepdim=True).expand_as(gradients), {}

@dataclasses.dataclass(frozen=True)
class hidden:
    own: dict = dataclasses.field(default_factory=dict, compare=False)
    def init(self, weights, layout, /): return {}
    def step(self, weights, gradients, state, step, /):
        self.own["m"] = 0.9 * self.own.get("m", 0.0) + gradients
        return self.own["m"], {}

@dataclasses.dataclass(frozen=True)
class infinite:
    def init(self, weights, layout, /): return {}
    def step(self, weights, gradients, state, step, /): return gradients / 0, {}

@dataclasses.dataclass(frozen=True)
class crashes:
    def init(self, weights, layout, /): return {}
    def step(self, weights, gradients, state, step, /): return gradients[:, 10**9], {}

calls = itertools.count()
def counting(t, rounds, /): return 1.0 + next(calls)

class Mixing(torch.nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.last = torch.nn.Linear(64, classes)
    def forward(self, x): return self.last(x.flatten(1)).softmax(0)

def dealt(labels, clients, generator, /): return list(torch.arange(len(labels)).split(len(labels) // 2))
"""


@pytest.mark.parametrize(
    ("kind", "name", "failed", "said"),
    [
        ("optimiser", "together", "rows", "row 0 of 3, step 1: its direction alone is another"),
        ("server_optimiser", "together", "rows", "row 0 of 3, step 1"),
        ("optimiser", "hidden", "state", "step 2 of an optimiser made anew"),
        ("optimiser", "infinite", "works", "not finite"),
        ("optimiser", "crashes", "works", "IndexError"),
        ("schedule", "counting", "repeatable", "the same cell, run twice: confusion differ"),
        ("model", "Mixing", "works", "the logits of an example depend on"),
        ("partition", "dealt", "works", "must return a list of 7 tensors"),
    ],
)
def test_a_fault_is_found_by_its_check(tmp_path: Path, kind: str, name: str, failed: str, said: str) -> None:
    file = tmp_path / "faults.py"
    file.write_text(FAULTS)
    checks = fb.check_part(f"{file}:{name}", kind, on_fail="return")
    assert failed in checks.failed
    assert said in checks.failed[failed].args[1]


def test_kinds_are_recognised_by_name_and_form(tmp_path: Path) -> None:
    file = tmp_path / "faults.py"
    file.write_text(FAULTS)
    named = {
        "krum": "aggregator",
        "mirrored": "attack",
        "satellite": "dataset",
        "iid": "partition",
        "no_such": "aggregator",
    }
    formed = {"together": "optimiser", "counting": "schedule", "Mixing": "model"}
    for ref, kind in {**named, **{f"{file}:{name}": kind for name, kind in formed.items()}}.items():
        assert check._kind(parse_chain(ref)) == kind
    with pytest.raises(fb.UserError, match="say --kind partition or --kind malicious_data"):
        check._kind(parse_chain(f"{file}:dealt"))
    with pytest.raises(fb.UserError, match="adam is a name of several kinds: say --kind optimiser or --kind server"):
        check._kind(parse_chain("adam"))
    with pytest.raises(fb.UserError, match="there is no check of 'optimizer' - did you mean 'optimiser'"):
        fb.check_part("adam", "optimizer")


def test_objects_of_python_are_checked() -> None:
    assert fb.check_part(models.softmax, "model").name == "softmax"
    with pytest.raises(fb.UserError, match="one optimiser is needed, a name, a function or a class; got an int"):
        fb.check_part(3, "optimiser")
