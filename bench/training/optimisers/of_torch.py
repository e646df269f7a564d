"""Optimisers of ``torch.optim``, and classes of one's own that derive from ``torch.optim.Optimizer``, row by row.

Each row has an optimiser of its own, which makes one step at learning rate 1 in float64: the direction is what it takes
from the weights. So an optimiser fits whose steps are proportional to the learning rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Layout
from flipbench.spec.suggestions import near
from flipbench.training.optimisers.contract import State, Step

_OF_CELLS = {"lr": "learning_rate is a field of the cell", "params": "they are the model's parameters"}
_SHAPES = ((3, 2), (3,))  # of parameters that a class is tried with


class OfTorch(ABC):
    """An optimiser that PyTorch's class computes; a frozen dataclass derives from it, whose fields are its options."""

    @abstractmethod
    def make(self, parameters: Sequence[nn.Parameter], /) -> torch.optim.Optimizer:
        """The optimiser of one row, with learning rate 1.

        Args:
            parameters: of the model, float64, in the order of the layout.
        """

    def init(self, weights: Tensor, layout: Layout, /) -> State:
        """What the class keeps for each parameter after a step, all 0: before its first step a row keeps nothing."""
        state = {}
        for name, kept in self._kept(layout).items():
            for key, value in kept.items():
                shape = value.shape if isinstance(value, Tensor) else ()
                state[f"{name}: {key}"] = torch.zeros(len(weights), *shape, dtype=torch.float64, device=weights.device)
        return state

    def step(self, weights: Tensor, gradients: Tensor, state: State, step: Step, /) -> tuple[Tensor, State]:
        """As `contract.Optimiser`; the state is changed in place."""
        kept, direction = self._kept(step.layout), torch.zeros_like(weights)
        for r, t in enumerate(step.t.tolist()):
            parameters = []
            for place, shape in step.layout.values():
                parameters.append(nn.Parameter(weights[r, place].to(torch.float64, copy=True).reshape(shape)))
                parameters[-1].grad = gradients[r, place].to(torch.float64, copy=True).reshape(shape)
            before = [p.detach().clone() for p in parameters]
            optimiser = self.make(parameters)
            if t > 1:
                for p, (name, values) in zip(parameters, kept.items(), strict=True):
                    optimiser.state[p] = {key: _like(v, state[f"{name}: {key}"][r]) for key, v in values.items()}
            optimiser.step()
            for p, old, (name, (place, _)) in zip(parameters, before, step.layout.items(), strict=True):
                direction[r, place] = (old - p.detach()).reshape(-1).to(weights.dtype)
                for key in kept[name]:
                    state[f"{name}: {key}"][r] = torch.as_tensor(optimiser.state[p][key])
        return direction, state

    def _kept(self, layout: Layout) -> dict[str, dict[str, Any]]:
        """Numbers and tensors that are kept of each parameter."""
        parameters = [_blank(shape) for _, shape in layout.values()]
        optimiser = self.make(parameters)
        optimiser.step()
        return {
            name: {key: v for key, v in optimiser.state[p].items() if isinstance(v, Tensor | int | float)}
            for name, p in zip(layout, parameters, strict=True)
        }


def _blank(shape: Sequence[int]) -> nn.Parameter:
    """A parameter of zeros with a gradient of zeros."""
    parameter = nn.Parameter(torch.zeros(*shape, dtype=torch.float64))
    parameter.grad = torch.zeros_like(parameter)
    return parameter


def _like(value: Any, number: Tensor) -> Any:
    """A kept number as the class keeps it."""
    return number.clone() if isinstance(value, Tensor) else type(value)(number.item())


@dataclass(frozen=True)
class pytorch(OfTorch):  # noqa: N801 - named in grids like a function
    """A class of ``torch.optim``, like ``pytorch(name=RMSprop, options={alpha: 0.9})``; slower than `adam` and `sgd`.

    Attributes:
        name: of the class.
        options: of it, but for the learning rate; weight decay is 0 unless it is among them.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        known = [
            n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)
        ]
        known.remove("Optimizer")
        if self.name not in known:
            raise ValueError(f"torch.optim has no {self.name!r}{near(self.name, known)}; there are {', '.join(known)}")
        for option, why in _OF_CELLS.items():
            if option in self.options:
                raise ValueError(f"pytorch(name={self.name}) takes no option {option}: {why}")
        whole, half = (self._tried(rate) for rate in (1.0, 0.5))
        if not all(torch.allclose(a, 2 * b, rtol=1e-6, atol=1e-12) for a, b in zip(whole, half, strict=True)):
            raise ValueError(
                f"pytorch(name={self.name}): its steps are not proportional to the learning rate, so schedules would "
                "change more than their length; write it as an optimiser of your own (docs/writing_an_optimiser.md)"
            )

    def make(self, parameters: Sequence[nn.Parameter], /) -> torch.optim.Optimizer:
        """As `OfTorch`."""
        return self._at(parameters, 1.0)

    def _at(self, parameters: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        kind: Any = getattr(torch.optim, self.name)
        options: Mapping[str, Any] = {"weight_decay": 0.0} | self.options
        try:
            made: torch.optim.Optimizer = kind(parameters, lr=rate, **options)
        except TypeError:
            if "weight_decay" in self.options:
                raise
            made = kind(parameters, lr=rate, **self.options)  # it knows no weight decay
        return made

    def _tried(self, rate: float) -> list[Tensor]:
        """What two steps take from parameters that are the same before each.

        Raises:
            ValueError: the class does not take the options, or cannot make a step.
        """
        draw, taken = torch.Generator().manual_seed(0), []
        start = [torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in _SHAPES]
        parameters = [nn.Parameter(p.clone()) for p in start]
        try:
            optimiser = self._at(parameters, rate)
            for _ in range(2):
                for p, old in zip(parameters, start, strict=True):
                    p.data.copy_(old)
                    p.grad = torch.randn(*p.shape, generator=draw, dtype=torch.float64)
                optimiser.step()
                taken += [old - p.detach() for p, old in zip(parameters, start, strict=True)]
        except Exception as error:  # a class may raise anything
            said = " ".join(str(error).split())[:200]
            raise ValueError(f"pytorch(name={self.name}): {type(error).__name__}: {said}") from error
        return taken
