"""Rows of parameters: many vectors of one model as a matrix, and views of each parameter in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.flat_parameters import views

_CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class ParameterRows:
    """Vectors of one model, one a row.

    Attributes:
        numbers: ``(rows, places)``, contiguous.
        layout: where each parameter lies within a row.
    """

    numbers: Tensor
    layout: Layout

    @classmethod
    def zeros(cls, rows: int, layout: Layout, like: Tensor) -> ParameterRows:
        """Zeros in which every parameter begins on a cache line of its own.

        A model's vector has odd lengths, and products on tensors that begin anywhere are a quarter slower.

        Args:
            rows: how many.
            layout: of the model's vector.
            like: gives dtype and device.
        """
        line, aligned, start = _CACHE_LINE // like.element_size(), {}, 0
        for name, (place, shape) in layout.items():
            length = place.stop - place.start
            aligned[name] = (slice(start, start + length), shape)
            start += -(-length // line) * line
        return cls(like.new_zeros(rows, start), aligned)

    @cached_property
    def views(self) -> dict[str, Tensor]:
        """Name -> ``(rows, *shape)``, views of the numbers."""
        return views(self.numbers, self.layout)

    def first(self, rows: int) -> ParameterRows:
        """The first rows; they share memory."""
        return self if rows == len(self.numbers) else ParameterRows(self.numbers[:rows], self.layout)

    def start(self, name: str) -> int:
        """Where a parameter begins within a row."""
        place, _ = self.layout[name]
        start: int = place.start
        return start
