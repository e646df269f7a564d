"""Softmax regression, compiled: one pass over the inputs of a step instead of products layer by layer.

FedSGD on 15 clients' batches of 50 images of MNIST takes two fifths of the time of the layers' products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.inputs import Inputs

if TYPE_CHECKING:
    from flipbench.training.layers.stacked_model import Linear
    from flipbench.training.local_sgd import Batches


@dataclass(frozen=True)
class Rows:
    """Vectors of a model's numbers.

    Attributes:
        numbers: ``(rows, places)`` float32 on the CPU, contiguous.
        begins: of each parameter, within a row.
    """

    numbers: Tensor
    begins: Mapping[str, int]

    @classmethod
    def of(cls, vectors: Tensor, layout: Layout) -> Rows:
        """Of vectors as they travel, ``(rows, dim)``."""
        return cls(vectors, {name: place.start for name, (place, _) in layout.items()})


def serves(layer: Linear | None, inputs: Inputs, batches: Batches, weights: Tensor) -> bool:
    """Whether steps are of the kind that the kernel knows.

    Args:
        layer: `lockstep.Chain.regression`.
        inputs, batches: of the step.
        weights: of the rows or the cells.
    """
    if layer is None or batches.draws is not None or inputs.source is None:
        return False
    # A plug-in's layer of another size is PyTorch's to refuse.
    fits = layer.module.in_features == inputs.source[0].shape[1]
    return fits and weights.dtype == torch.float32 and weights.device.type == "cpu"


def step(
    layer: Linear,
    inputs: Inputs,
    now: Batches,
    weights: Rows,
    out: Rows,
    keep: float,
    rates: NDArray[np.float32],
    decays: NDArray[np.float32],
    tiny: float,
    summed: bool,
) -> None:
    """``out = keep out + rate gradient + decay weight``, of every row's cross-entropy; without examples ``keep out``.

    Args:
        layer: of the model.
        inputs: of the examples.
        now: ``(rows, batch)``.
        weights: of the rows, or of each cell's.
        out: of the rows; may be the weights. With a keep of 0 it is not read.
        keep: of what is there.
        rates, decays: ``(rows,)``.
        tiny: probabilities up to it count as none.
        summed: the loss is the sum over a batch, not the mean.

    Raises:
        IndexError: an index is negative or beyond the last example.
    """
    from flipbench.training import regression_kernels  # the compiler is loaded on first use

    assert inputs.source is not None
    rows, name = len(now.index), layer.prefix + "weight"
    from_weights, from_bias = [], []
    for one in (weights, out):
        from_weights.append(one.begins[name])
        from_bias.append(-1 if layer.module.bias is None else one.begins[layer.prefix + "bias"])
    regression_kernels.regress(
        *inputs.source,
        now.index.contiguous().numpy(),
        now.labels.contiguous().numpy(),
        _NO_COUNTS if now.counts is None else now.counts.contiguous().numpy(),
        _NO_WEIGHTS if now.emphasis is None else now.emphasis.contiguous().numpy(),
        weights.numbers.numpy(),
        out.numbers.numpy(),
        (*from_weights, *from_bias),
        rows // len(weights.numbers),
        layer.module.out_features,
        np.float32(keep),
        rates,
        decays,
        summed,
        np.float32(tiny),
    )


_NO_COUNTS, _NO_WEIGHTS = np.empty(0, np.int64), np.empty((0, 0), np.float32)
