"""Updates and cohorts drawn for the tests of rules, and when two answers agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from flipbench.aggregators import Cohort
from flipbench.aggregators.contract import Layout

CLASSES = 3


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


def full_cohort(x: torch.Tensor, f: int) -> Cohort:
    """`cohort_for` with all that a rule may ask for: a last update, a server's own, an output layer, a seed a cell."""
    cells, dim = x.shape[:-2], x.shape[-1]
    g = torch.Generator().manual_seed(4)
    own, previous = torch.randn(dim, generator=g).to(x), 0.1 * torch.randn(dim, generator=g).to(x)
    return replace(
        cohort_for(x, f),
        previous=previous.expand(*cells, dim),
        model=(own + previous).expand(*cells, dim),
        trusted=lambda: own.expand(*cells, dim),
        layout=layout_of(dim),
        seeds=torch.arange(cells.numel()).reshape(cells),
        round=5,
    )


def changed(cohort: Cohort, change: Callable[[torch.Tensor], torch.Tensor]) -> Cohort:
    """The cohort of updates that are changed alike: its vectors change along, and weights take their type."""
    own, previous = change(cohort.trusted()), change(cohort.previous)
    return replace(
        cohort,
        previous=previous,
        model=change(cohort.model),
        trusted=lambda: own,
        weights=cohort.weights.to(previous.dtype),
    )


def rows_of(cohort: Cohort, rows: list[int] | torch.Tensor, f: int | None = None) -> Cohort:
    """The cohort of some of its clients, in some order; their weights sum to 1 again."""
    w = cohort.weights[rows]
    bound = cohort.byzantine if f is None else f
    return replace(cohort, byzantine=bound, weights=w / w.sum(), clients=cohort.clients[rows])


def layout_of(dim: int) -> Layout:
    """An output layer of three classes, its biases, and a rest; small models are all output layer."""
    features = max(1, dim // 4)
    if dim < CLASSES * features + CLASSES:
        return {"0.weight": (slice(0, dim), (1, dim))}
    end = CLASSES * features
    return {
        "rest": (slice(end + CLASSES, dim), (dim - end - CLASSES,)),
        "0.weight": (slice(0, end), (CLASSES, features)),
        "0.bias": (slice(end, end + CLASSES), (CLASSES,)),
    }


def near(a: torch.Tensor, b: torch.Tensor, scale: float = 1.0, ulps: float = 16) -> None:
    """Equal but for so many float32 roundings of numbers of the given scale."""
    torch.testing.assert_close(a.double(), b.double(), rtol=ulps * 1.2e-7, atol=ulps * 1.2e-7 * scale)
