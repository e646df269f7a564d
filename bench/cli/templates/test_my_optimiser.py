"""What my_optimiser promises; run it with: pytest test_my_optimiser.py"""

from pathlib import Path
from runpy import run_path

import pytest
import torch

my_optimiser = run_path(str(Path(__file__).with_name("my_optimiser.py")))["my_optimiser"]


def steps(beta: float, gradients: torch.Tensor) -> torch.Tensor:
    """Directions of some steps: (steps, rows, columns) of gradients of the same shape."""
    optimiser, weights = my_optimiser(beta=beta), torch.zeros(gradients.shape[1:])
    state, found = optimiser.init(weights, {}), []
    for gradient in gradients:
        direction, state = optimiser.step(weights, gradient, state, None)
        found.append(direction)
    return torch.stack(found)


def gradients() -> torch.Tensor:
    return torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))


def test_without_memory_it_follows_the_sign_of_each_gradient() -> None:
    assert torch.equal(steps(0.0, gradients()), gradients().sign())


def test_with_memory_it_follows_a_mean_that_forgets() -> None:
    pulls = torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0]).view(-1, 1, 1)
    assert steps(0.9, pulls)[:, 0, 0].tolist() == [1, 1, 1, -1, -1]


def test_a_row_does_not_depend_on_the_others() -> None:
    together = steps(0.9, gradients())
    for row in range(3):
        assert torch.equal(steps(0.9, gradients()[:, row : row + 1])[:, 0], together[:, row])


def test_a_beta_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="below 1, got 1"):
        my_optimiser(beta=1)
