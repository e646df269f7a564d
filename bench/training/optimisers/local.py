"""Optimisers of the clients' local steps, with PyTorch's formulas (``torch.optim`` 2).

The learning rate, weight decay and the momentum of ``sgd`` are fields of the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout
from flipbench.training.optimisers.contract import State, Step, bias
from flipbench.training.optimisers.of_torch import pytorch


@dataclass(frozen=True)
class sgd:  # noqa: N801 - named in grids like a function
    """u <- momentum u + g, and the direction is u; with ``nesterov`` it is g + momentum u (Sutskever et al. 2013).

    Attributes:
        nesterov: needs a momentum.
    """

    nesterov: bool = False


@dataclass(frozen=True)
class Momentum:
    """`sgd` with the momentum of a cell.

    Attributes:
        momentum: of the buffer.
        nesterov: of `sgd`.
    """

    momentum: float
    nesterov: bool

    def init(self, weights: Tensor, layout: Layout, /) -> State:
        """The buffer, zero."""
        return {"momentum": torch.zeros_like(weights)} if self.momentum else {}

    def step(self, weights: Tensor, gradients: Tensor, state: State, step: Step, /) -> tuple[Tensor, State]:
        """As `contract.Optimiser`."""
        if not self.momentum:
            return gradients, state
        buffer = state["momentum"].mul_(self.momentum).add_(gradients)
        return (gradients.add(buffer, alpha=self.momentum) if self.nesterov else buffer), state


@dataclass(frozen=True)
class adam:  # noqa: N801 - named in grids like a function
    """Adam (Kingma & Ba 2015, Algorithm 1), L2 weight decay within the gradient; ``amsgrad``: Reddi et al. 2018.

    m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; the direction is
    (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).

    Attributes:
        beta1, beta2: of the moments, from 0 to below 1.
        epsilon: above 0.
        amsgrad: v in the direction is the largest so far.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        check_betas(type(self).__name__, self.beta1, self.beta2)
        if not 1e-30 <= self.epsilon <= 1:
            raise ValueError(f"{type(self).__name__} needs an epsilon from 1e-30 to 1, got {self.epsilon}")

    def init(self, weights: Tensor, layout: Layout, /) -> State:
        """Both moments, zero."""
        names = ("first", "second", "largest") if self.amsgrad else ("first", "second")
        return {name: torch.zeros_like(weights) for name in names}

    def step(self, weights: Tensor, gradients: Tensor, state: State, step: Step, /) -> tuple[Tensor, State]:
        """As `contract.Optimiser`."""
        first = state["first"].lerp_(gradients, 1.0 - self.beta1)
        second = state["second"].mul_(self.beta2).addcmul_(gradients, gradients, value=1.0 - self.beta2)
        if self.amsgrad:
            second = torch.maximum(state["largest"], second, out=state["largest"])
        root = second.sqrt().div_(bias(self.beta2, step.t).sqrt().to(second)).add_(self.epsilon)
        return (first / root).div_(bias(self.beta1, step.t).to(first)), state


@dataclass(frozen=True)
class adamw(adam):  # noqa: N801 - named in grids like a function
    """`adam` with decoupled weight decay (Loshchilov & Hutter 2019): w <- w - rate weight_decay w.

    Attributes:
        beta1, beta2, epsilon, amsgrad: as of `adam`.
    """

    decoupled: ClassVar[bool] = True


def check_betas(name: str, *betas: float) -> None:
    """Raises ValueError where a beta is not from 0 to below 1."""
    for number, beta in enumerate(betas, 1):
        if not 0 <= beta < 1:
            raise ValueError(f"{name} needs beta{number} from 0 to below 1, got {beta}")


def of_cell(named: Any, momentum: float) -> Any:
    """The optimiser of a cell's local steps; None: SGD without Nesterov's momentum, which has code of its own.

    Args:
        named: what the cell's ``optimiser`` stands for.
        momentum: of the cell.
    """
    if not isinstance(named, sgd):
        return named
    return Momentum(momentum, True) if named.nesterov else None


def is_plain(named: Any, clip: float | None, mu: float) -> bool:
    """Whether local steps are SGD, with or without momentum, and nothing else.

    Args:
        named: what the cell's ``optimiser`` stands for.
        clip: its ``clip_gradient``.
        mu: of FedProx.
    """
    return isinstance(named, sgd) and not named.nesterov and clip is None and not mu


OPTIMISERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {one.__name__: one for one in (sgd, adam, adamw, pytorch)}
)
