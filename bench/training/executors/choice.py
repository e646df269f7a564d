"""Which executor a model trains with: the first of the fast ones that gives what the loop gives, else the loop.

The order is (a) stacked layers, (b) `vmap`, (c) the loop. A flat chain of known layers needs no trial; every other
executor is tried on a small batch for two clients, in training and in evaluation, with full and with short batches.
Nothing that is tried depends on the machine's speed, so that a cell always meets the same executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import nn

from flipbench.training.executors.loop import Loop
from flipbench.training.executors.traced import Traced
from flipbench.training.executors.trial import BATCH, Trial
from flipbench.training.executors.vmapped import Vmapped
from flipbench.training.layers import stacked_model
from flipbench.training.layers.stacked_model import Stacked

NAMES = ("stacked", "vmap", "loop")
_COUNTS = (None, [BATCH, BATCH - 1])  # full batches, and one that is short
_FORCED: ContextVar[str | None] = ContextVar("executor", default=None)


class NoExecutorError(ValueError):
    """The executor that was asked for cannot run the model as the loop does."""


def stack(model: nn.Module, shape: tuple[int, ...], classes: int) -> Stacked:
    """The executor of a model.

    Args:
        model: with its initial weights, on the device where it trains.
        shape: of one example.
        classes: L.

    Raises:
        NoExecutorError: within `forced`, another one than that would be needed.
    """
    only = _FORCED.get()
    if only == "loop":
        return Loop(model)
    if only in (None, "stacked") and (chain := stacked_model.chain_of(model)) is not None:
        return chain
    for candidate in _candidates(model, only):
        if (net := _agreeing(candidate, model, shape, classes)) is not None:
            return net
    if only is not None:
        raise NoExecutorError(f"the executor {only} does not give what the loop gives for this model")
    return Loop(model)


@contextmanager
def forced(name: str) -> Iterator[None]:
    """While it lasts, models are stacked by one executor alone: for tests, and to compare executors.

    Args:
        name: one of `NAMES`.
    """
    if name not in NAMES:
        raise ValueError(f"there is no executor {name}; there are {', '.join(NAMES)}")
    token = _FORCED.set(name)
    try:
        yield
    finally:
        _FORCED.reset(token)


def _candidates(model: nn.Module, only: str | None) -> Iterator[Callable[[], Stacked]]:
    """Executors but the loop, the fastest first."""
    if only is None and _convolves_on_cpu(model):
        return
    if only in (None, "stacked"):
        yield partial(Traced.of, model)
    if only in (None, "vmap"):
        yield partial(Vmapped, model, True)
        yield partial(Vmapped, model, False)


def _convolves_on_cpu(model: nn.Module) -> bool:
    """Whether the loop is as fast as anything else, and takes the memory of one client.

    On one thread of an AMD EPYC the loop trains resnet(depth=20) at 35 GFLOP/s, where products of large matrices reach
    46: nothing could be 1.4 times as fast. Measured beside it: the traced graph 0.9 times, vmap 1.0 to 1.1 times.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    return on_cpu and any(isinstance(m, nn.modules.conv._ConvNd) for m in model.modules())


def _agreeing(
    candidate: Callable[[], Stacked], model: nn.Module, shape: tuple[int, ...], classes: int
) -> Stacked | None:
    """A candidate that gives what the loop gives; None: it does not, or cannot run."""
    trial = Trial.of(model, shape, classes)
    try:
        net, state = candidate(), torch.get_rng_state()
        answers = [trial.run(net, counts) for counts in _COUNTS]
        if not torch.equal(torch.get_rng_state(), state):
            return None  # it draws, and not from the keys of the rows
    except Exception:  # what cannot be traced, or run by vmap, fails in many ways
        return None
    loop, shaken = Loop(model), trial.shaken()
    for got, counts in zip(answers, _COUNTS, strict=True):
        if got.differs(trial.run(loop, counts), shaken.run(loop, counts)) is not None:
            return None
    return net
