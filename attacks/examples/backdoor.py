"""A backdoor: a small mark on an image that makes the model predict the class that the attacker wants.

Malicious clients stamp the mark on a share of their images and label those as the target; test images stamped in
the same way measure how often it does.

Source: Gu, Dolan-Gavitt, Garg 2017, BadNets, section 4.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, Stamped

Pattern = Literal["square", "cross", "checkerboard"]
Corner = Literal["bottom_right", "bottom_left", "top_right", "top_left"]


def backdoor(
    examples: Tensor,
    labels: Tensor,
    context: ExampleContext,
    /,
    *,
    target: int,
    size: int = 3,
    corner: Corner = "bottom_right",
    pattern: Pattern = "square",
    margin: int = 1,
) -> Stamped:
    """A bright mark near a corner of the image, in all channels; the label becomes the target.

    Eligible is every image of another class. Pixels of the mark take ``context.high``; those of a checkerboard take
    ``context.high`` and ``context.low`` in turn, and those between the diagonals of a cross stay as they are.

    Args:
        examples: ``(examples, channels, height, width)``.
        labels: ``(examples,)`` int64.
        context: the number of classes, the darkest and the brightest pixel.
        target: the class that stamped images are to be taken for.
        size: width and height of the mark, in pixels.
        corner: ``bottom_right``, ``bottom_left``, ``top_right`` or ``top_left``.
        pattern: ``square``, ``cross`` (both diagonals) or ``checkerboard`` (bright in its corners for an odd size).
        margin: pixels between the mark and both edges.

    Raises:
        ValueError: a target that does not exist, a mark that does not fit, an unknown corner or pattern, or examples
            that are no images.
    """
    if examples.ndim != 4:
        raise ValueError(
            f"backdoor needs images (examples, channels, height, width), got shape {tuple(examples.shape)}"
        )
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < context.classes:
        raise ValueError(f"backdoor names class {target!r}; this data has classes 0 to {context.classes - 1}")
    rows, columns = _where(corner, size, margin, examples.shape[-2], examples.shape[-1])
    bright, dark = (mask.to(examples.device) for mask in _pattern(pattern, size))
    stamped = examples.clone()
    mark = stamped[..., rows, columns]  # a view: what is written into it is written into the images
    mark.masked_fill_(bright, context.high).masked_fill_(dark, context.low)
    return Stamped(stamped, torch.full_like(labels, target), labels != target)


def _where(corner: str, size: int, margin: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the mark."""
    if size < 1 or margin < 0:
        raise ValueError(f"backdoor needs size >= 1 and margin >= 0, got size = {size} and margin = {margin}")
    if size + margin > min(height, width):
        raise ValueError(
            f"a backdoor of {size} x {size} pixels, {margin} from the edge, does not fit {height} x {width} images: "
            "choose a smaller size or margin"
        )
    vertical, _, horizontal = corner.partition("_")
    if vertical not in ("top", "bottom") or horizontal not in ("left", "right"):
        raise ValueError(f"the corner must be bottom_right, bottom_left, top_right or top_left, got {corner!r}")
    low, near = slice(height - margin - size, height - margin), slice(margin, margin + size)
    far = slice(width - margin - size, width - margin)
    return (low if vertical == "bottom" else near), (far if horizontal == "right" else near)


def _pattern(pattern: str, size: int) -> tuple[Tensor, Tensor]:
    """Which pixels of the mark are bright and which dark, each ``(size, size)`` bool."""
    row = torch.arange(size)
    whole = torch.ones(size, size, dtype=torch.bool)
    match pattern:
        case "square":
            return whole, ~whole
        case "cross":
            diagonals = (row[:, None] == row) | (row[:, None] + row == size - 1)
            return diagonals, ~whole
        case "checkerboard":
            even = (row[:, None] + row) % 2 == 0
            return even, ~even
    raise ValueError(f"the pattern must be square, cross or checkerboard, got {pattern!r}")
