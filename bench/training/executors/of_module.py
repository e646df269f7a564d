"""What executors of any module have in common: its tensors, its layers that draw, its mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from flipbench.training.executors.held_tensors import Held
from flipbench.training.executors.stand_ins import StandIns
from flipbench.training.layers.protocol import Backward, Parameters


@dataclass(frozen=True)
class OfModule(ABC):
    """An executor of a module that has no code of its own for its layers.

    Attributes:
        module: whose parameters' places those of the rows take.
    """

    module: nn.Module

    regression = None

    @cached_property
    def held(self) -> Held:
        """The module's tensors."""
        return Held(self.module)

    @cached_property
    def stand_ins(self) -> StandIns:
        """Layers that draw from keys."""
        return StandIns.of(self.module)

    def __call__(self, x: Tensor, p: Parameters, training: bool, counts: Tensor | None) -> tuple[Tensor, Backward]:
        """As `layers.stacked_model.Stacked`."""
        if self.module.training != training:
            self.module.train(training)
        return self.trained(x, p, counts) if training else self.predicted(x, p)

    @abstractmethod
    def trained(self, x: Tensor, p: Parameters, counts: Tensor | None) -> tuple[Tensor, Backward]:
        """Logits of all rows in training, and their backward pass."""

    @abstractmethod
    def predicted(self, x: Tensor, p: Parameters) -> tuple[Tensor, Backward]:
        """Logits of all rows in evaluation."""
