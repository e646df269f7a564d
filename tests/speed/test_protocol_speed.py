"""Seconds a step of a whole federation, and of local training; one thread.

The protocol: 20 clients, batch 32, FedSGD with client momentum 0.9, 4 clients mirror their labels, trimmed mean with
f = 4, Fashion-MNIST pictures. ByzFL runs the same where FLIPBENCH_BYZFL names an interpreter that has it (it needs
torchvision, which flipbench does without): `FLIPBENCH_BYZFL=/path/to/python make speed`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from flipbench import data
from flipbench.data import pixel_scaling
from flipbench.federation.federation import Federation
from flipbench.federation.population import populate
from flipbench.federation.task import Parts, Task
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.system.malloc import keep_freed_memory
from flipbench.training import flat_parameters, models, schedules
from flipbench.training.batches import Batches
from flipbench.training.executors import choice
from flipbench.training.inputs import Inputs
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.optimizer import Recipe

MODELS = {"softmax": "softmax", "mlp": "mlp(widths=[100])", "cnn": "cnn(channels=[20, 50], hidden=[500])"}
STEPS = {"softmax": 60, "mlp": 40, "cnn": 6}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


@pytest.fixture(scope="module")
def fashion(real_data: Path) -> tuple[Task, torch.Tensor]:
    d = data.load("fashion_mnist")
    train, test = pixel_scaling.unit(d.train_x, d.test_x, d.levels)
    return Task(train, test, d.test_y, len(d.classes)), d.train_y


@pytest.mark.parametrize("model", MODELS)
def test_protocol(benchmark: Any, fashion: tuple[Task, torch.Tensor], model: str) -> None:
    """One round is one step of all clients, the rule and the server; nothing is evaluated in between."""
    task, labels = fashion
    cell = Cell(
        dataset="fashion_mnist",
        model=MODELS[model],
        rounds=10**6,
        evaluate_every=10**6,
        local_steps=1,
        client_momentum=0.9,
        attack="mirrored",
        malicious_count=4,
        aggregator="trimmed_mean",
    )
    people = populate(cell, labels, 10, registry.resolve("partition", "iid"), registry.resolve("attack", "mirrored"))
    rule = registry.resolve("aggregator", cell.aggregator)
    parts = Parts(registry.resolve("model", cell.model), schedules.constant, rule)
    federation = Federation([cell], [people], task, parts)
    rounds = iter(range(2, 10**6))
    for _ in range(3):
        federation.round(next(rounds))
    benchmark.extra_info.update(kind="protocol", model=model, parameters=federation.weights.shape[1])
    benchmark.pedantic(lambda: federation.round(next(rounds)), rounds=STEPS[model], iterations=1)
    if other := os.environ.get("FLIPBENCH_BYZFL"):
        folder = Path(os.environ["FLIPBENCH_DATA"]) / "fashion-mnist"
        script = Path(__file__).with_name("byzfl_protocol.py")
        command = [other, "-W", "ignore", str(script), str(folder), model, "12"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert answer["parameters"] == benchmark.extra_info["parameters"]
        benchmark.extra_info["byzfl_seconds"] = answer["seconds_per_step"]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_local_training_of_the_ham10000_mlp(benchmark: Any, momentum: float) -> None:
    """MLP 784-200-200-7, 20 clients, batch 32, one pass over 400 examples each: GFLOP/s beside those of one GEMM."""
    g = torch.Generator().manual_seed(0)
    model = models.mlp((1, 28, 28), 7, widths=[200, 200])
    net, where = choice.stack(model, (1, 28, 28), 7), flat_parameters.layout_of(model)
    start = flat_parameters.flatten(model).unsqueeze(0)
    inputs = Inputs(torch.rand(8000, 1, 28, 28, generator=g))
    steps = 13
    index = torch.randint(8000, (1, 20, steps, 32), generator=g)
    batches = Batches(index, torch.randint(7, index.shape, generator=g), None)
    recipe = Recipe(0.01, momentum, 0.0)
    benchmark.pedantic(
        lambda: train(LocalRound(net, where, start, inputs, batches, recipe)), rounds=12, warmup_rounds=2
    )
    weights = 784 * 200 + 200 * 200 + 200 * 7
    # Forward and weight gradient of all layers, input gradient of all but the first: 2 operations a weight each.
    flop = 20 * 32 * steps * 2 * (3 * weights - 784 * 200)
    benchmark.extra_info.update(kind="training", momentum=momentum, gflops=flop / benchmark.stats.stats.median / 1e9)
    benchmark.extra_info["gemm_gflops"] = _gemm()


def _gemm() -> float:
    """GFLOP/s of this thread on 1024 x 1024 x 1024 float32; median of 20."""
    import time

    a, times = torch.rand(1024, 1024), []
    for _ in range(22):
        begin = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - begin)
    return 2 * 1024**3 / sorted(times[2:])[10] / 1e9
