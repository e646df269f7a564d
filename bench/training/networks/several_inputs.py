"""A network of several inputs, whose examples travel as one row of numbers each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn


class SeveralInputs(nn.Module):
    """Cuts each row of features into parts and hands them to a network, an argument each.

    An example of a data set is one array: `joined` makes a row of several. Rows are float32, which holds whole numbers
    up to 2^24 exactly, so that a part may be token ids.

    Args:
        network: ``network(*parts) -> logits``.
        shapes: of one example of each part, in order.
        tokens: numbers of the parts that are token ids, which the network gets as int64.
        as_tuple: the network takes one tuple of all parts in the place of an argument each.

    Raises:
        ValueError: a part has no numbers, or there is no such part.
    """

    def __init__(
        self,
        network: nn.Module,
        shapes: Sequence[Sequence[int]],
        tokens: Sequence[int] = (),
        as_tuple: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.shapes = network, tuple(tuple(shape) for shape in shapes)
        self.tokens, self.as_tuple = frozenset(tokens), as_tuple
        if not shapes or any(math.prod(shape) < 1 for shape in self.shapes):
            raise ValueError(f"several inputs need a shape of one or more numbers each, got {list(shapes)}")
        if wrong := sorted(self.tokens - set(range(len(shapes)))):
            raise ValueError(f"there are parts 0 to {len(shapes) - 1}, and tokens names part {wrong[0]}")

    def forward(self, rows: Tensor) -> Tensor:
        """``(batch, numbers)`` to logits ``(batch, L)``.

        Raises:
            AssertionError: rows have another number of numbers than the parts together.
        """
        ends = list(accumulate(math.prod(shape) for shape in self.shapes))
        # No branch, which a graph could not have (`training.executors.traced`).
        torch._assert(rows.shape[1] == ends[-1], f"parts of shapes {self.shapes} need rows of {ends[-1]} numbers")
        cut = zip([0, *ends], ends, self.shapes, strict=False)
        parts = [rows[:, low:high].reshape(-1, *shape) for low, high, shape in cut]
        parts = [part.long() if i in self.tokens else part for i, part in enumerate(parts)]
        logits: Tensor = self.network(tuple(parts)) if self.as_tuple else self.network(*parts)
        return logits


def joined(*parts: Tensor) -> Tensor:
    """Arrays of one data set, ``(examples, *shape)`` each, as one row an example: ``(examples, numbers)`` float32.

    Raises:
        ValueError: they have different numbers of examples, or whole numbers that float32 does not hold.
    """
    if len({len(part) for part in parts}) != 1:
        raise ValueError(f"parts must have equally many examples, got {[len(part) for part in parts]}")
    rows = [part.flatten(1).float() for part in parts]
    for part, row in zip(parts, rows, strict=True):
        if not part.is_floating_point() and not torch.equal(row.long(), part.flatten(1).long()):
            raise ValueError("a part has whole numbers beyond 2^24, which float32 does not hold exactly")
    return torch.cat(rows, 1)
