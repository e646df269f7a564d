"""Two rules: a plain function, and one with memory."""

from dataclasses import dataclass

from torch import Tensor

from flipbench.aggregators import Cohort, median


def halfway(updates: Tensor, cohort: Cohort, /, *, share: float = 0.5) -> Tensor:
    """A share of the coordinate-wise median."""
    return share * median(updates, cohort)  # (*cells, dim)


@dataclass(frozen=True)
class SmoothedMedian:
    """The median, averaged over the rounds: u <- decay u + (1 - decay) median."""

    decay: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {self.decay}")

    def init(self, updates: Tensor, cohort: Cohort, /) -> Tensor:
        """No round yet, ``(*cells, dim)``."""
        return updates.new_zeros((*updates.shape[:-2], updates.shape[-1]))

    def __call__(self, updates: Tensor, cohort: Cohort, state: Tensor, /) -> tuple[Tensor, Tensor]:
        """The update, which is what is remembered too."""
        update = self.decay * state + (1 - self.decay) * median(updates, cohort)
        return update, update
