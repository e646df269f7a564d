"""Whether two executors give the same: a small batch of made-up examples for two clients of different weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor, nn

from flipbench.data.input_shape import InputShape
from flipbench.training.flat_parameters import layout_of
from flipbench.training.layers.dropout import KEYS
from flipbench.training.layers.stacked_model import Stacked

BATCH = 3
_ROWS = 2
_SHAKES = 20.0  # rounding happens in every layer, the weights are shaken once


class Collected:
    """A sink that keeps what it is given: gradients, and where running statistics moved.

    Args:
        before: ``(rows, *shape)``, the running statistics.
    """

    def __init__(self, before: Mapping[str, Tensor]) -> None:
        self.before, self.gradients, self.statistics = before, dict[str, Tensor](), dict[str, Tensor]()

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        self.plain(name, dy.transpose(1, 2) @ x)

    def plain(self, name: str, gradient: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """As `layers.protocol.Sink`."""
        self.statistics[name] = torch.lerp(self.before[name], value, momentum)


@dataclass(frozen=True)
class Trial:
    """What executors are tried on.

    Attributes:
        x: ``(2, 3, *shape)``.
        tensors: ``(2, *shape)`` each, the weights and float buffers.
        keys: ``(2,)``.
        classes: L.
    """

    x: Tensor
    tensors: dict[str, Tensor]
    keys: Tensor
    classes: int

    @classmethod
    def of(cls, model: nn.Module, shape: tuple[int, ...], classes: int) -> Trial:
        """Made-up examples, the model's own weights, and others close by."""
        draws = torch.Generator().manual_seed(3)
        sent, device = layout_of(model), next(model.parameters()).device
        tensors = {}
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if name in sent:
                own = tensor.detach().cpu()
                other = own * (1.0 + 0.1 * torch.rand(own.shape, generator=draws))
                other += 0.01 * torch.rand(own.shape, generator=draws)
                tensors[name] = torch.stack([own, other]).to(device)
        x = InputShape.of(shape).made_up(_ROWS * BATCH, draws).view(_ROWS, BATCH, *shape)
        return cls(x.to(device), tensors, torch.tensor([5, 6], device=device), classes)

    def run(self, net: Stacked, counts: list[int] | None) -> Answers:
        """What one executor gives, in evaluation and in training.

        Args:
            net: the executor.
            counts: examples of each row; None: all.
        """
        given = {name: t.clone() for name, t in self.tensors.items()}
        evaluated, _ = net(self.x, given, False, None)
        number = None if counts is None else torch.tensor(counts, device=self.x.device)
        sink = Collected(self.tensors)
        logits, back = net(self.x, {**given, KEYS: self.keys}, True, number)
        slope = torch.stack([self.slope(row, one) for row, one in enumerate(logits)])
        if number is not None:
            real = torch.arange(BATCH, device=self.x.device) < number[:, None]
            logits, slope = logits * real[..., None], slope * real[..., None]
        back(slope, sink, False)
        return Answers(evaluated, logits, sink.gradients, sink.statistics)

    def shaken(self) -> Trial:
        """The same with weights that differ as rounding does, by a millionth: what that moves, rounding may move."""
        draws = torch.Generator().manual_seed(4)
        moved = {n: t * (1.0 + 1e-6 * torch.rand(t.shape, generator=draws).to(t)) for n, t in self.tensors.items()}
        return replace(self, tensors=moved)

    def slope(self, row: int, logits: Tensor) -> Tensor:
        """Made-up gradient of the loss in the logits ``(batch, classes)`` of a row."""
        return torch.rand(logits.shape, generator=torch.Generator().manual_seed(row)).to(logits)


@dataclass(frozen=True)
class Answers:
    """What an executor gave.

    Attributes:
        evaluated, logits: in evaluation and in training, zero where there is no example.
        gradients: of those parameters that have one.
        statistics: float buffers that moved.
    """

    evaluated: Tensor
    logits: Tensor
    gradients: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def row(self, row: int) -> Answers:
        """Those of one row, without the dimension of rows; a statistic that did not move there is left out."""
        statistics = {n: t[row] for n, t in self.statistics.items()}
        gradients = {n: t[row] for n, t in self.gradients.items()}
        return Answers(self.evaluated[row], self.logits[row], gradients, statistics)

    def differs(self, want: Answers, shaken: Answers | None = None) -> str | None:
        """What is not as wanted, beyond the order of sums; None: nothing.

        Args:
            want: what is right.
            shaken: the same for weights that differ as rounding does; None: not known.
        """
        moves = want if shaken is None else shaken
        for what, got, other, moved in (
            ("logits in evaluation", self.evaluated, want.evaluated, moves.evaluated),
            ("logits", self.logits, want.logits, moves.logits),
        ):
            if not near(got, other, largest(other), moved):
                return what
        # Of all: a bias before batch norm has a gradient of rounding.
        scale = max(map(largest, want.gradients.values()), default=0.0)
        for name in self.gradients.keys() | want.gradients.keys():
            one, two = self.gradients.get(name), want.gradients.get(name)
            if one is None or two is None or not near(one, two, scale, moves.gradients.get(name)):
                return f"gradient of {name}"
        for name in self.statistics.keys() | want.statistics.keys():
            one, two = self.statistics.get(name), want.statistics.get(name)
            if one is None or two is None or not near(one, two, largest(two), moves.statistics.get(name)):
                return f"running statistic {name}"
        return None


def near(got: Tensor, want: Tensor, scale: float, moved: Tensor | None) -> bool:
    """Whether tensors are the same but for the order of float32 sums.

    Args:
        got, want: the tensors.
        scale: of the numbers beside which they are small or large.
        moved: what is wanted where rounding is a little different; None: not known.
    """
    if got.shape != want.shape:
        return False
    rounding = 0.0 if moved is None or moved.shape != want.shape else _SHAKES * largest(moved - want)
    within = max(1e-6, 1e-4 * scale, rounding)
    return torch.allclose(got.detach(), want.detach(), equal_nan=True, rtol=1e-3, atol=within)


def largest(tensor: Tensor) -> float:
    """The largest finite number of a tensor, without its sign."""
    return float(tensor.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if tensor.numel() else 0.0
