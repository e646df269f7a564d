"""How large a model is: its parameters, the operations of one example, and what is kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flipbench.data.input_shape import InputShape

_BATCH = 2  # batch normalisation needs two examples where images have shrunk to one pixel


@dataclass(frozen=True)
class Size:
    """Of a model.

    Attributes:
        parameters: numbers that travel.
        operations: of one example's forward pass.
        graph: bytes that one example keeps from the forward pass to the backward pass.
        together: whether the graphs of all clients exist at the same time, or of one after the other
            (`training.executors.choice`).
    """

    parameters: int
    operations: float
    graph: int
    together: bool


def of(make: Callable[[InputShape, int], nn.Module], shape: InputShape, classes: int) -> Size:
    """The size of a model, counted on the device "meta", which computes nothing; a forward pass that needs numbers (it
    branches on values) is counted on the CPU.

    Args:
        make: ``(shape, classes) -> model``.
        shape: of one example.
        classes: L.
    """
    try:
        with torch.device("meta"):
            return _counted(make, shape, classes)
    except Exception:  # a module may raise anything where there are no numbers
        with torch.random.fork_rng(devices=[]):
            return _counted(make, shape, classes)


def _counted(make: Callable[[InputShape, int], nn.Module], shape: InputShape, classes: int) -> Size:
    model = make(shape, classes).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(shape.blank(1))
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(t: Tensor) -> Tensor:
        if id(t) not in own and not (t._base is not None and id(t._base) in own):
            kept[t.untyped_storage()._cdata] = t
        return t

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = model(shape.blank(_BATCH))
    bytes_kept = sum(t.untyped_storage().nbytes() for t in kept.values())
    del logits
    numbers = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    together = not any(isinstance(m, nn.modules.conv._ConvNd | nn.RNNBase) for m in model.modules())
    return Size(sum(t.numel() for t in numbers), float(counter.get_total_flops()), bytes_kept // _BATCH, together)
