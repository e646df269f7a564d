"""What executors have in common that train all rows of a cell at once; they evaluate as `loop` does."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from flipbench.training.executors.loop import Loop
from flipbench.training.executors.of_module import OfModule
from flipbench.training.layers.protocol import Backward, Parameters


class AllRows(OfModule):
    """An executor that trains all rows at once; in evaluation they go one after the other, as in `loop`."""

    whole_cells = True

    @cached_property
    def alone(self) -> Loop:
        """The same module, one row after the other."""
        return Loop(self.module)

    @property
    def random(self) -> bool:
        """Whether a layer is dropout; nothing else may draw."""
        return bool(self.stand_ins.dropouts)

    def width(self, device: torch.device) -> int | None:
        """All rows of a cell."""
        return None

    def predicted(self, x: Tensor, p: Parameters) -> tuple[Tensor, Backward]:
        """As `OfModule`."""
        return self.alone.predicted(x, p)
