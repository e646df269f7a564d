"""Rounds drawn for the tests of update attacks: honest updates, contexts and the rules that attacks face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators import (
    Cohort,
    bucketing,
    centered_clipping,
    compose,
    fedavg,
    geometric_median,
    krum,
    median,
    multi_krum,
    nnm,
    trimmed_mean,
)
from flipbench.attacks.contract import UpdateContext

RULES: dict[str, Callable[..., Tensor]] = {
    "fedavg": fedavg,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "geometric_median": geometric_median,
    "centered_clipping": centered_clipping,
    "nnm | trimmed_mean": compose(nnm, trimmed_mean),
    "bucketing | median": compose(bucketing, median),
}


def drawn(h: int, m: int, dim: int = 12, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Honest updates around a common one, and what the malicious clients would have sent."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(dim, generator=g, dtype=torch.float64)
    rows = common + 0.5 * torch.randn(h + m, dim, generator=g, dtype=torch.float64)
    return rows[:h].to(dtype), rows[h:].to(dtype)


def context_of(honest: Tensor, updates: Tensor, rule: Callable[..., Tensor] = median, seed: int = 0) -> UpdateContext:
    n, m, dim = len(honest) + len(updates), len(updates), honest.shape[-1]
    finite = honest[torch.isfinite(honest).all(-1)]
    previous = (finite if len(finite) else torch.zeros_like(honest)).mean(0) * 0.9  # a server's steps are finite

    def aggregate(candidates: Tensor) -> Tensor:
        everyone = torch.cat([honest.expand(len(candidates), -1, -1), candidates], dim=1)
        return rule(everyone, Cohort.of(everyone, byzantine=m, previous=previous.expand(len(candidates), -1)))

    return UpdateContext(
        honest=honest,
        weights=torch.full((n,), 1 / n),
        previous=previous,
        layout={"weights": (slice(0, dim), (dim,))},
        round=1,
        generator=torch.Generator().manual_seed(seed),
        aggregate=aggregate,
    )


def sent_by(attack: Any, updates: Tensor, context: UpdateContext) -> Tensor:
    if is_dataclass(attack):
        return attack(updates, context, attack.init(updates, context))[0]
    return attack(updates, context)


def send(attack: Any, h: int, m: int, **facts: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(sent, honest, own)"""
    honest, own = drawn(h, m, **facts)
    return sent_by(attack, own, context_of(honest, own)), honest, own


def near(a: Tensor, b: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a.double(), torch.as_tensor(b, dtype=torch.float64), rtol=tolerance, atol=tolerance)
