"""What my_rule promises; run it with: pytest test_my_rule.py"""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from flipbench.aggregators import Cohort, Infeasible

my_rule = run_path(str(Path(__file__).with_name("my_rule.py")))["my_rule"]


def updates(clients: int = 10, dim: int = 50) -> torch.Tensor:
    return torch.randn(clients, dim, generator=torch.Generator().manual_seed(0))


def test_clients_that_agree_are_followed() -> None:
    same = torch.ones(10, 50)
    assert torch.allclose(my_rule(same, Cohort.of(same, byzantine=3)), torch.ones(50))


def test_malicious_clients_far_away_do_not_count() -> None:
    x = updates()
    honest = x[3:].mean(0)
    x[:3] = 1e6
    assert (my_rule(x, Cohort.of(x, byzantine=3)) - honest).norm() <= honest.norm() + 50**0.5


def test_a_stack_equals_its_cells_one_by_one() -> None:
    a, b = updates(), 2 - updates()
    both = torch.stack([a, b])
    alone = torch.stack([my_rule(x, Cohort.of(x, byzantine=3)) for x in (a, b)])
    assert torch.allclose(my_rule(both, Cohort.of(both, byzantine=3)), alone)


def test_the_updates_are_left_alone() -> None:
    x = updates()
    before = x.clone()
    my_rule(x, Cohort.of(x, byzantine=3))
    assert torch.equal(x, before)


def test_too_many_malicious_clients_are_refused_with_the_numbers() -> None:
    x = updates()
    with pytest.raises(Infeasible, match="10"):
        my_rule(x, Cohort.of(x, byzantine=5))
