"""Steps of softmax regression in compiled code: one pass over a step's inputs instead of products layer by layer.

FedSGD on 15 clients' batches of 50 images of MNIST takes two fifths of the time of the layers' products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.training.batches import Batches
from flipbench.training.inputs import Inputs
from flipbench.training.layers.stacked_model import Linear
from flipbench.training.parameter_rows import ParameterRows


class Examples(NamedTuple):
    """What a step trains on, as compiled code reads it.

    Attributes:
        source, scale: what `regression_kernels.gather_scaled` reads.
        rows, labels: ``(rows, batch)`` int64, which examples and their labels.
        counts: ``(rows,)`` int64, real examples; empty: all batches are full.
        emphasis: ``(rows, batch)`` float32, weights in the loss; or ``(0, 0)``.
    """

    source: NDArray[Any]
    scale: tuple[Any, ...]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]
    emphasis: NDArray[np.float32]


class Model(NamedTuple):
    """Where the gradient is taken, as compiled code reads it.

    Attributes:
        weights: ``(owners, places)`` float32.
        weight, bias: where the weights ``(classes, features)`` and the bias ``(classes,)`` begin, -1 without a bias.
        shared: rows of an owner, which stand side by side.
        classes: L.
    """

    weights: NDArray[np.float32]
    weight: int
    bias: int
    shared: int
    classes: int


class Target(NamedTuple):
    """What a step moves, ``(rows, places)`` float32, perhaps the weights themselves; begins as in `Model`."""

    out: NDArray[np.float32]
    weight: int
    bias: int


class Rule(NamedTuple):
    """How a step moves its target: ``keep out + rate gradient + decay weight``.

    Attributes:
        keep: share of ``out`` that stays; with 0 it is not read.
        rates, decays: ``(rows,)``.
        summed: the loss is the sum over a batch, not the mean.
        tiny: probabilities up to it count as none.
    """

    keep: np.float32
    rates: NDArray[np.float32]
    decays: NDArray[np.float32]
    summed: bool
    tiny: np.float32


def serves(layer: Linear | None, inputs: Inputs, batches: Batches, weights: Tensor) -> bool:
    """Whether steps are of the kind that the kernel knows.

    Args:
        layer: `layers.stacked_model.Chain.regression`; None: the model is another one.
        inputs, batches: of the step.
        weights: of the rows or the cells.
    """
    if layer is None or batches.draws is not None or inputs.source is None:
        return False
    # A plug-in's layer of another size is PyTorch's to refuse; numbers that it has beside the layer are not moved here.
    whole = sum(p.numel() for p in layer.module.parameters()) == weights.shape[1]
    fits = whole and layer.module.in_features == inputs.source[0].shape[1]
    return fits and weights.dtype == torch.float32 and weights.device.type == "cpu"


def step(layer: Linear, inputs: Inputs, now: Batches, weights: ParameterRows, out: ParameterRows, rule: Rule) -> None:
    """One step on every row's cross-entropy; a row without examples becomes ``keep out``.

    Args:
        layer: of the model.
        inputs: of the examples.
        now: ``(rows, batch)``.
        weights: of the rows, or of each cell's.
        out: of the rows; may be the weights.
        rule: how ``out`` moves.

    Raises:
        IndexError: an index is negative or beyond the last example.
    """
    from flipbench.training import regression_kernels  # the compiler is loaded on first use

    assert inputs.source is not None
    rows, weight, bias = len(now.index), layer.prefix + "weight", layer.prefix + "bias"
    biased = layer.module.bias is not None
    examples = Examples(
        *inputs.source,
        now.index.contiguous().numpy(),
        now.labels.contiguous().numpy(),
        _NO_COUNTS if now.counts is None else now.counts.contiguous().numpy(),
        _NO_WEIGHTS if now.emphasis is None else now.emphasis.contiguous().numpy(),
    )
    model = Model(
        weights.numbers.numpy(),
        weights.start(weight),
        weights.start(bias) if biased else -1,
        rows // len(weights.numbers),
        layer.module.out_features,
    )
    target = Target(out.numbers.numpy(), out.start(weight), out.start(bias) if biased else -1)
    # Plain tuples: compiled code on disk that names a class cannot be read any more once the class has moved.
    regression_kernels.regress(tuple(examples), tuple(model), tuple(target), tuple(rule))


_NO_COUNTS, _NO_WEIGHTS = np.empty(0, np.int64), np.empty((0, 0), np.float32)
