"""Optimisers of the server's step, after Reddi et al. 2021 (Algorithm 2), on the rule's update as a gradient with -1.

    m <- beta1 m + (1 - beta1) x;    w <- w + rate m / (sqrt(v) + tau)

without bias correction; x is the rule's answer, the rate is ``server_learning_rate``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.optimisers.contract import State, Step
from flipbench.training.optimisers.local import check_betas
from flipbench.training.optimisers.of_torch import pytorch


@dataclass(frozen=True)
class sgd:  # noqa: N801 - named in grids like a function
    """w <- w + server_learning_rate v; v <- server_momentum v + x (FedAvg; with momentum Hsu et al. 2019)."""


@dataclass(frozen=True)
class _Adaptive(ABC):
    """What the three have in common: first moment, denominator, first value of v."""

    beta1: float
    tau: float
    initial: float | None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_betas(name, self.beta1)
        if not 1e-15 <= self.tau <= 1e15:
            raise ValueError(f"{name} needs a tau from 1e-15 to 1e15, got {self.tau}")
        if self.initial is not None and not 0 <= self.initial <= 1e30:
            raise ValueError(f"{name} needs an initial from 0 to 1e30, got {self.initial}")

    def init(self, weights: Tensor, layout: Layout, /) -> State:
        """m is 0, v is tau^2 unless ``initial`` is given (the paper needs v >= tau^2); in float64.

        The square of a large update, which a malicious client may cause, would be no number in float32 for good.
        """
        second = self.tau**2 if self.initial is None else self.initial
        zeros = torch.zeros_like(weights, dtype=torch.float64)
        return {"first": zeros, "second": torch.full_like(zeros, second)}

    def step(self, weights: Tensor, gradients: Tensor, state: State, step: Step, /) -> tuple[Tensor, State]:
        """As `contract.Optimiser`."""
        exact = gradients.double()
        first = state["first"].mul_(self.beta1).add_(exact, alpha=1.0 - self.beta1)
        second = state["second"].copy_(self._second(state["second"], exact.square()))
        return (first / second.sqrt().add_(self.tau)).to(weights.dtype), state

    @abstractmethod
    def _second(self, old: Tensor, square: Tensor) -> Tensor:
        """The new v."""


@dataclass(frozen=True)
class adam(_Adaptive):  # noqa: N801 - named in grids like a function
    """FedAdam: v <- beta2 v + (1 - beta2) x^2 (Reddi et al. 2021, Algorithm 2).

    Attributes:
        beta1, beta2: of the moments, from 0 to below 1.
        tau: added to sqrt(v); a small one adapts more.
        initial: of v before the first round; null: tau^2.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    initial: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_betas(type(self).__name__, self.beta1, self.beta2)

    def _second(self, old: Tensor, square: Tensor) -> Tensor:
        return old * self.beta2 + square * (1.0 - self.beta2)


@dataclass(frozen=True)
class yogi(adam):  # noqa: N801 - named in grids like a function
    """FedYogi: v <- v - (1 - beta2) x^2 sign(v - x^2) (Reddi et al. 2021, Algorithm 2).

    Attributes:
        beta1, beta2, tau, initial: as of `adam`.
    """

    def _second(self, old: Tensor, square: Tensor) -> Tensor:
        return old - (1.0 - self.beta2) * square * torch.sign(old - square)


@dataclass(frozen=True)
class adagrad(_Adaptive):  # noqa: N801 - named in grids like a function
    """FedAdagrad: v <- v + x^2 (Reddi et al. 2021, Algorithm 2); without momentum, as in their experiments.

    Attributes:
        beta1: of the first moment, from 0 to below 1.
        tau, initial: as of `adam`.
    """

    beta1: float = 0.0
    tau: float = 1e-3
    initial: float | None = None

    def _second(self, old: Tensor, square: Tensor) -> Tensor:
        return old + square


SERVER_OPTIMISERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {one.__name__: one for one in (sgd, adam, yogi, adagrad, pytorch)}
)
