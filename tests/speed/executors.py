"""Seconds a step of 10 clients by each executor, beside the loop: `python -m tests.speed.executors [cpu|cuda]`.

Paired: executors take turns, on the same batches, and the ratio is the median of the pairs. One thread on the CPU.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from flipbench.data.input_shape import InputShape
from flipbench.system.malloc import keep_freed_memory
from flipbench.training import flat_parameters as vectors
from flipbench.training import models
from flipbench.training.batches import Batches
from flipbench.training.executors import choice
from flipbench.training.inputs import Inputs
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.optimizer import Recipe

CLIENTS, BATCH, STEPS, CLASSES = 10, 32, 2, 10
TEXT = InputShape((80,), "tokens", 80, 0)
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "resnet": ((3, 32, 32), {"depth": 20}),
    "lenet": ((3, 32, 32), {}),
    "vit": ((3, 32, 32), {}),
    "lstm": (TEXT, {"hidden": 64}),
    "transformer": (TEXT, {}),
}


def steps(name: str, device: str) -> dict[str, Callable[[], torch.Tensor]]:
    """Executor -> local training of all clients, with weights of their own from the second step."""
    shape, options = CASES[name]
    made = models.build(lambda s, c: models.MODELS[name](s, c, **options), shape, CLASSES, 0).to(device)
    where, start = vectors.layout_of(made), vectors.flatten(made).unsqueeze(0)
    draws = torch.Generator().manual_seed(0)
    inputs = Inputs(InputShape.of(shape).made_up(CLIENTS * BATCH, draws).to(device))
    index = torch.randint(CLIENTS * BATCH, (1, CLIENTS, STEPS, BATCH), generator=draws)
    labels = torch.randint(CLASSES, index.shape, generator=draws)
    keys = torch.arange(CLIENTS * STEPS).view(1, CLIENTS, STEPS)
    batches = Batches(index, labels, None, keys=keys).map(lambda t: t.to(device))
    found = {}
    for executor in (None, *choice.NAMES):
        try:
            with choice.forced(executor) if executor else nullcontext():
                net = choice.stack(made, shape, CLASSES)
        except choice.NoExecutorError:
            continue
        work = LocalRound(net, where, start, inputs, batches, Recipe(0.01, 0.9, 0.0))
        found[executor or f"chosen: {net.name}"] = lambda work=work: train(work)
    return found


def seconds(call: Callable[[], torch.Tensor], device: str) -> float:
    """Wall time of one call, a step."""
    begin = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / STEPS


def main(device: str, names: list[str], rounds: int = 5) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in names or CASES:
        calls = steps(name, device)
        for call in calls.values():
            call()
        times: dict[str, list[float]] = {executor: [] for executor in calls}
        for _ in range(rounds):
            for executor, call in calls.items():
                times[executor].append(seconds(call, device))
        for executor, own in times.items():
            ratio = statistics.median(loop / one for loop, one in zip(times["loop"], own, strict=True))
            print(
                f"{name:12} {executor:16} {1e3 * statistics.median(own):8.1f} ms a step, {ratio:.2f} x the loop's speed"
            )


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "cpu", sys.argv[2:])
