"""What my_update_attack promises; run it with: pytest test_my_update_attack.py"""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from flipbench.attacks import UpdateContext

my_update_attack = run_path(str(Path(__file__).with_name("my_update_attack.py")))["my_update_attack"]


def context(honest: int = 8, malicious: int = 2, dim: int = 50) -> UpdateContext:
    g = torch.Generator().manual_seed(0)
    return UpdateContext(
        honest=torch.randn(honest, dim, generator=g),
        weights=torch.full((honest + malicious,), 1 / (honest + malicious)),
        previous=torch.zeros(dim),
        layout={"weights": (slice(0, dim), (dim,))},
        round=1,
        generator=g,
    )


def test_it_points_away_from_the_honest_mean() -> None:
    known = context()
    sent = my_update_attack(torch.zeros(2, 50), known, strength=2.0)
    assert torch.allclose(sent, -2 * known.honest.mean(0).expand(2, 50))


def test_one_honest_and_one_malicious_client_are_enough() -> None:
    sent = my_update_attack(torch.zeros(1, 50), context(1, 1))
    assert sent.shape == (1, 50)
    assert torch.isfinite(sent).all()


def test_what_others_send_is_left_alone() -> None:
    known = context()
    before = known.honest.clone()
    my_update_attack(torch.zeros(2, 50), known).mul_(0)
    assert torch.equal(known.honest, before)


def test_no_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0, got 0"):
        my_update_attack(torch.zeros(2, 50), context(), strength=0)
