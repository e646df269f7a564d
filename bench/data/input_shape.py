"""What one input of a model looks like: an image, numbers, or token ids. Models are given it as their ``shape``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

InputKind = Literal["image", "features", "tokens"]
DTYPES: dict[torch.dtype, InputKind] = {torch.uint8: "image", torch.float32: "features", torch.int64: "tokens"}


class OtherInputError(ValueError):
    """A model takes inputs of another kind than the data have."""


class InputShape(tuple[int, ...]):
    """The shape of one example, with what its numbers are; for images it equals the plain tuple.

    ``image``: (channels, height, width), which a model gets as float32. ``features``: any shape of float32 numbers.
    ``tokens``: (length,) of int64 ids.

    Attributes:
        kind: ``image``, ``features`` or ``tokens``.
        vocabulary: number of token ids, which run from 0; None for the other kinds.
        padding: the id that fills the end of a text; None: there is none.
    """

    kind: InputKind
    vocabulary: int | None
    padding: int | None

    def __new__(
        cls,
        shape: Iterable[int],
        kind: InputKind = "image",
        vocabulary: int | None = None,
        padding: int | None = None,
    ) -> InputShape:
        made = super().__new__(cls, shape)
        made.kind, made.vocabulary, made.padding = kind, vocabulary, padding
        return made

    @classmethod
    def of(cls, shape: Iterable[int]) -> InputShape:
        """The shape itself, or that of an image from a plain tuple."""
        return shape if isinstance(shape, cls) else cls(shape)

    @property
    def facts(self) -> tuple[InputKind, int | None, int | None]:
        """What a plain tuple does not say."""
        return self.kind, self.vocabulary, self.padding

    def __eq__(self, other: object) -> bool:
        theirs = other.facts if isinstance(other, InputShape) else ("image", None, None)
        return tuple.__eq__(self, other) is True and self.facts == theirs

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return InputShape, (tuple(self), *self.facts)

    @property
    def described(self) -> str:
        """In words: ``images of 28 x 28 pixels, 1 channel``."""
        sizes = " x ".join(map(str, self))
        match self.kind:
            case "image":
                channels, height, width = self
                return f"images of {height} x {width} pixels, {channels} channel{'s' * (channels > 1)}"
            case "features":
                return f"features of shape {sizes}" if len(self) > 1 else f"{sizes} feature{'s' * (self[0] > 1)}"
            case _:
                filled = "no padding" if self.padding is None else f"padding {self.padding}"
                return f"{sizes} token ids from a vocabulary of {self.vocabulary}, {filled}"

    @property
    def bytes_of_number(self) -> int:
        """Bytes of each number of an input: 4 of a float32, 8 of a token id."""
        return 8 if self.kind == "tokens" else 4

    def made_up(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """Inputs of a model, ``(number, *shape)``, drawn uniformly: float32 from 0 to 1, or int64 ids."""
        if self.kind == "tokens":
            return torch.randint(self.vocabulary or 1, (number, *self), generator=generator)
        return torch.rand(number, *self, generator=generator)

    def blank(self, number: int) -> Tensor:
        """Inputs of a model without meaning, ``(number, *shape)``: zeros of the right type, on the default device."""
        return torch.zeros(number, *self, dtype=torch.int64 if self.kind == "tokens" else torch.float32)
