"""Random changes of training images: drawn by ``draw``, carried out by ``apply``.

Test images and the images that an attack looks at are never changed. Draws come from named seeds, so that all rules
and attacks of a seed meet the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

_WIDEST = 256  # padding: a batch is padded as a whole


@dataclass(frozen=True)
class none:  # noqa: N801 - named in grids like a function
    """Images as they are."""


@dataclass(frozen=True)
class crop:  # noqa: N801 - named in grids like a function
    """A random part of the padded image, of the size of the image, mirrored at times (Krizhevsky et al. 2012).

    Attributes:
        padding: black pixels on every side; the part begins at one of (2 padding + 1)^2 places.
        flip: probability of mirroring left and right.
        frozen: drawn once for each training example, as if the images were changed before the first round; else at
            every use.
    """

    padding: int = 4
    flip: float = 0.5
    frozen: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.padding <= _WIDEST:
            raise ValueError(f"crop needs padding from 0 to {_WIDEST}, got {self.padding}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"crop needs flip from 0 to 1, got {self.flip}")

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """What becomes of so many images, ``(number,)`` int64: (row x (2 padding + 1) + column) x 2 + mirrored."""
        places = torch.randint((2 * self.padding + 1) ** 2, (number,), generator=generator)
        mirrored = torch.rand(number, generator=generator, dtype=torch.float64) < self.flip
        return places * 2 + mirrored

    def apply(self, images: Tensor, drawn: Tensor, black: Tensor) -> Tensor:
        """The images changed.

        Args:
            images: ``(images, channels, height, width)``, scaled.
            drawn: ``(images,)`` of `draw`.
            black: ``(channels, height, width)``: a black image, scaled.

        Returns:
            Like images.
        """
        height, width = images.shape[2:]
        side = 2 * self.padding + 1
        edge = self.padding
        # Black of the channel: after scaling it need not be 0.
        padded = black[None, :, :1, :1].repeat(len(images), 1, height + 2 * edge, width + 2 * edge)
        padded[:, :, edge : edge + height, edge : edge + width] = images
        place, mirrored = drawn // 2, drawn % 2
        rows = (place // side)[:, None] + torch.arange(height, device=images.device)
        columns = (place % side)[:, None] + torch.arange(width, device=images.device)
        columns = torch.where(mirrored[:, None] == 1, columns.flip(1), columns)
        flat = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).flatten(1)  # (images, pixels)
        some = padded.flatten(2).gather(2, flat[:, None, :].expand(-1, images.shape[1], -1))
        return some.view_as(images)


AUGMENTATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({one.__name__: one for one in (none, crop)})
