"""Updates and cohorts drawn for the tests of rules, and when two answers agree."""

from __future__ import annotations

import torch

from flipbench.aggregators import Cohort


def draw(n: int, dim: int, seed: int, kind: str = "normal", cells: tuple[int, ...] = ()) -> torch.Tensor:
    """``(*cells, n, dim)`` normal numbers, or small whole ones that tie."""
    g = torch.Generator().manual_seed(seed)
    if kind == "ties":
        return torch.randint(-2, 3, (*cells, n, dim), generator=g).float()
    return torch.randn(*cells, n, dim, generator=g)


def cohort_for(x: torch.Tensor, f: int, seed: int = 7) -> Cohort:
    """Unequal weights, as clients with unequal shares of the examples give."""
    w = torch.rand(x.shape[:-1], generator=torch.Generator().manual_seed(seed)) + 0.1
    return Cohort.of(x, f, weights=(w / w.sum(-1, keepdim=True)).to(x.dtype))


def near(a: torch.Tensor, b: torch.Tensor, scale: float = 1.0, ulps: float = 16) -> None:
    """Equal but for so many float32 roundings of numbers of the given scale."""
    torch.testing.assert_close(a.double(), b.double(), rtol=ulps * 1.2e-7, atol=ulps * 1.2e-7 * scale)
