"""Whatever a plug-in does, other cells have their usual numbers, and its own cell says what it did."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flipbench import data
from flipbench.data import in_memory
from flipbench.federation import tasks
from flipbench.federation.records import Job
from flipbench.federation.run_stack import perform
from flipbench.spec.cell import Cell

FACTS: dict[str, Any] = {"dataset": "digits", "model": "softmax", "clients": 5, "rounds": 2, "local_steps": 2}
FACTS |= {"batch_size": 8, "malicious_count": 1, "attack": "mirrored"}
HEAD = """
import os, random, warnings
from dataclasses import dataclass, replace
import numpy as np
import torch
from torch import nn
from flipbench import data
from flipbench.data import in_memory
from flipbench.federation import tasks
from flipbench.attacks import Proposal, Stamped
from flipbench.data import Dataset
KEPT = []
def _stack():
    import inspect
    return inspect.stack(0)
"""
RULE = "def mine(updates, cohort, /):\n    {}\n    return updates.mean(-2)"
EXAMPLES = "def mine(examples, labels, context, /):\n    {}\n    return Stamped(examples, labels * 0, labels != 0)"
LABELS = "def mine(labels, context, /):\n    {}\n    return Proposal((labels + 1) % context.classes, labels >= 0)"
UPDATES = "def mine(updates, context, /):\n    {}\n    return -updates"
PARTITION = "def mine(labels, clients, generator, /):\n    {}\n    return [*torch.arange(len(labels)).chunk(clients)]"
MODEL = """
class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.last = nn.Linear(shape[0] * shape[1] * shape[2], classes)
    def forward(self, x):
        {}
        return self.last(x.flatten(1))
def mine(shape, classes, /):
    return Net(shape, classes)
"""
SCALE = "def mine(train, test, levels, /):\n    {}\n    return train.float() / levels, test.float() / levels"
SCHEDULE = "def mine(t, rounds, /):\n    {}\n    return 1.0"

# name -> (field, source, what its failed cell says; None: it fails no cell, for nothing of it can reach another one)
PLUGINS: dict[str, tuple[str, str, str | None]] = {
    "images in place": ("attack", EXAMPLES.format("examples[..., :3, :3] = context.high"), "changed the images"),
    "images by NumPy": ("attack", EXAMPLES.format("examples.numpy()[:] = 0"), "changed the images"),
    "labels given with images": ("attack", EXAMPLES.format("labels.zero_()"), "changed the labels"),
    "the pool of labels": ("attack", LABELS.format("context.pool.zero_()"), "changed context.pool"),
    "data loaded by itself": (
        "attack",
        LABELS.format("data.load('digits').train_x.zero_()"),
        "changed the training images",
    ),
    "test data loaded by itself": (
        "aggregator",
        RULE.format("data.load('digits').test_y.numpy()[:] = 1"),
        "changed the test labels",
    ),
    "the last update": ("attack", UPDATES.format("context.previous.mul_(2).add_(1)"), "changed context.previous"),
    "what honest clients send": ("attack", UPDATES.format("context.honest.numpy()[:] = 0"), "changed context.honest"),
    "the layout of an attack": ("attack", UPDATES.format("context.layout.clear()"), "changed context.layout"),
    "weights": ("aggregator", RULE.format("cohort.weights.mul_(2)"), "changed cohort.weights"),
    "updates by NumPy": ("aggregator", RULE.format("updates.numpy()[:] = 0"), "changed the updates"),
    "the layout": ("aggregator", RULE.format("cohort.layout.clear()"), "changed cohort.layout"),
    "kept for later": ("aggregator", RULE.format("[t.zero_() for t in KEPT]; KEPT.append(updates)"), None),
    "dtype": ("aggregator", RULE.format("torch.set_default_dtype(torch.float64)"), "default dtype"),
    "precision": ("aggregator", RULE.format("torch.set_float32_matmul_precision('medium')"), "float32 products"),
    "determinism": ("attack", LABELS.format("torch.set_deterministic_debug_mode(2)"), "deterministic algorithms"),
    "grad mode": ("attack", UPDATES.format("torch.set_grad_enabled(False)"), "grad mode"),
    "generators": ("aggregator", RULE.format("torch.rand(1); np.random.rand(); random.random()"), "global generator"),
    "folder": ("aggregator", RULE.format("os.chdir('/')"), "the working folder"),
    "environment": ("partition", PARTITION.format("os.environ['FLIPBENCH_DATA'] = '/'"), "environment variables"),
    "error state": ("schedule", SCHEDULE.format("np.seterr(all='raise')"), "error state"),
    "recursion": ("aggregator", RULE.format("import sys; sys.setrecursionlimit(len(_stack()) + 9)"), "recursion"),
    "umask": ("attack", LABELS.format("os.umask(0o777)"), "umask"),
    "threads in a model": ("model", MODEL.format("torch.set_num_threads(2)"), "number of threads"),
    "input of a model": ("model", MODEL.format("x.data.sub_(1)"), None),  # it is given a copy
    "pixels": ("features", SCALE.format("train.zero_()"), "changed the training images"),
    "a failure with a setting": (
        "aggregator",
        RULE.format("torch.set_default_dtype(torch.float64); 1 / 0"),
        "division",
    ),
    "loaded": ("aggregator", "torch.set_default_dtype(torch.float64)\n" + RULE.format("pass"), "when it is loaded"),
}


def job(**fields: Any) -> Job:
    return Job(Cell(**(FACTS | fields)), {"dataset": data.content_hash("digits")})


OTHERS = [
    {"aggregator": "median"},
    {"attack": "backdoor(target=1)", "aggregator": "krum"},
    {"attack": "alie", "seed": 1},
]


def others() -> list[str]:
    records = [perform([job(**fields)], {})[0] for fields in OTHERS]
    assert [record["status"] for record in records] == ["done"] * len(OTHERS), [r["reason"] for r in records]
    return [json.dumps(record["result"]) for record in records]


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """The numbers of the other cells without any plug-in."""
    return others()


@pytest.mark.parametrize("name", PLUGINS)
def test_other_cells_have_the_same_numbers_before_and_after_a_plugin(
    name: str, alone: list[str], tmp_path: Path
) -> None:
    field, source, said = PLUGINS[name]
    (tmp_path / "rude.py").write_text(HEAD + textwrap.dedent(source))
    ref = f"{tmp_path / 'rude.py'}:mine"
    in_memory.forget()  # so that data which a plug-in loads by itself are those of the cells
    for _ in range(2):  # what it kept of the first cell it may spoil in the second
        mine = [job(**{field: ref, "seed": seed}) for seed in (0, 1)]
        for record in perform(mine, {}):
            if said is None:
                assert record["status"] == "done", record["reason"]
            else:
                assert record["status"] == "failed"
                assert said in record["reason"]
                assert "rude.py" in record["reason"]
        assert others() == alone


def test_data_that_a_plugin_loaded_anew_and_changed_reach_no_later_cell(alone: list[str], tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text(HEAD + LABELS.format("data.load('digits').train_x.zero_()"))
    others()
    data.forget()  # as if other data sets had taken its place: the plug-in reads a copy of its own
    (record,) = perform([job(attack=f"{tmp_path / 'rude.py'}:mine")], {})
    assert record["status"] == "done", record["reason"]
    in_memory.dataset_of.cache_clear()  # now the cells need it again
    tasks._task.cache_clear()
    assert others() == alone
