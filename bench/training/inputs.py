"""The training inputs, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.data.pixel_scaling import Scale


@dataclass(frozen=True)
class Pixels:
    """Images as they were loaded, with the scale that makes inputs of them.

    Attributes:
        levels: ``(examples, *shape)`` uint8, contiguous, on the CPU.
        scale: of their inputs.
    """

    levels: Tensor
    scale: Scale


class Inputs:
    """Rows of the training inputs by their numbers.

    Args:
        data: ``(examples, *shape)`` float32, or int64 token ids.
        pixels: of the same examples, float32 inputs; a batch is then made of a quarter of the bytes. None: there are
            none, or data is not just scaled pixels.
        kept: keep the last batch for a next one of the same rows. So are full batches every step while all clients take
            part, and of 60,000 images of 784 pixels gathering takes longer than softmax regression.
    """

    def __init__(self, data: Tensor, pixels: Pixels | None = None, kept: bool = False) -> None:
        self.data, self.pixels, self.kept = data, pixels, kept
        self._index: Tensor | None = None
        self._rows: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """Of one example."""
        return self.data.shape[1:]

    @property
    def bytes_of_a_row(self) -> int:
        """Bytes that an example takes in a batch."""
        return self.data[0].nbytes

    @cached_property
    def source(self) -> tuple[NDArray[Any], tuple[Any, ...]] | None:
        """What compiled code makes inputs of, ``(examples, numbers)``, and `data.pixel_scaling.Scale.numbers` of it;
        None: only PyTorch can read them."""
        data = self.data
        if data.device.type != "cpu" or not data.is_contiguous() or data.dtype != torch.float32:
            return None
        if self.pixels is None:
            return data.flatten(1).numpy(), Scale(1.0).numbers
        return self.pixels.levels.flatten(1).numpy(), self.pixels.scale.numbers

    def rows(self, index: Tensor) -> Tensor:
        """``(rows, *shape)``, perhaps those of the last call, and not to be written to.

        Args:
            index: ``(rows,)`` int64.

        Raises:
            IndexError: on the CPU, an index is negative or beyond the last example.
        """
        if not self.kept:
            return self.copy(index)
        if self._index is None or self._rows is None or not torch.equal(self._index, index):
            self._rows = None  # two of them may not fit into memory
            self._index, self._rows = index.clone(), self.copy(index)
        return self._rows

    def copy(self, index: Tensor) -> Tensor:
        """`rows` that are the caller's."""
        data = self.data
        if data.device.type != "cpu" or not data.is_contiguous() or data.dtype != torch.float32:
            return data.index_select(0, index)
        from flipbench.training import regression_kernels  # the compiler is loaded on first use

        out = data.new_empty(len(index), *data.shape[1:])
        into = index.numpy(), out.flatten(1).numpy()
        if self.pixels is None or self.source is None:
            regression_kernels.gather(data.flatten(1).numpy(), *into)
        else:
            regression_kernels.gather_scaled(*self.source, *into)
        return out
