"""Residual networks (He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.data.input_shape import InputShape
from flipbench.training.networks.sizes import check_sizes, he_normal, image_shape

Norm = Literal["batch", "group"]
_SMALL = {20: 3, 32: 5, 44: 7, 56: 9}  # depth of section 4.2 -> blocks in each of three stages
_LARGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # depth of table 1 -> blocks in each of four stages
_OF_A_GROUP = 16  # channels; Wu & He 2018, table 3


def resnet(
    shape: InputShape, classes: int, /, *, depth: int = 20, norm: Norm = "batch", width: int | None = None
) -> nn.Module:
    """Residual network of He et al. 2016, of blocks of two 3x3 convolutions.

    Depths 20, 32, 44 and 56 are those for CIFAR-10 (section 4.2): a 3x3 convolution, three stages of 16, 32 and 64
    channels, shortcuts without parameters (option A). Depths 18 and 34 are those for ImageNet (table 1): a 7x7
    convolution and pooling, four stages of 64 to 512 channels, shortcuts of 1x1 convolutions where sizes change (option
    B). Parameters for 3x32x32 and 10 classes: 269,722 (20), 464,154 (32); for 3x224x224 and 1000 classes: 11,689,512
    (18), 21,797,672 (34).

    Args:
        shape: (channels, height, width).
        classes: L.
        depth: 20, 32, 44 or 56 for small images, 18 or 34 for large ones.
        norm: ``batch``, or ``group`` (Wu & He 2018) in groups of 16 channels, which has no running statistics.
        width: channels of the first stage; None: 16 for small images, 64 for large ones.
    """
    channels, height, wide = image_shape("resnet", shape)
    if depth not in {*_SMALL, *_LARGE}:
        known = ", ".join(map(str, sorted({*_SMALL, *_LARGE})))
        raise ValueError(f"resnet needs a depth of {known}, got {depth}")
    small = depth in _SMALL
    width = (16 if small else 64) if width is None else width
    check_sizes("resnet", width=[width])
    if (least := 4 if small else 32) > min(height, wide):
        raise ValueError(f"resnet(depth={depth}) needs images of at least {least}x{least} pixels, got {height}x{wide}")
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False)]
    if not small:
        layers = [nn.Conv2d(channels, width, 7, 2, 3, bias=False)]
    layers += [_norm(norm, width), nn.ReLU()]
    layers += [] if small else [nn.MaxPool2d(3, 2, 1)]
    inside = width
    for stage, blocks in enumerate([_SMALL[depth]] * 3 if small else _LARGE[depth]):
        for block in range(blocks):
            stride, outside = 2 if stage and not block else 1, width << stage
            layers.append(Block(inside, outside, stride, norm, projected=not small))
            inside = outside
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))
    he_normal(network)
    return network


class Block(nn.Module):
    """Two 3x3 convolutions with normalisation, and a shortcut around them.

    Args:
        inside: channels of the input.
        outside: of the output.
        stride: of the first convolution.
        norm: of the two convolutions.
        projected: a shortcut between sizes is a 1x1 convolution (option B), else zeros fill new channels (option A).
    """

    def __init__(self, inside: int, outside: int, stride: int, norm: Norm, projected: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = _norm(norm, outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = _norm(norm, outside)
        self.stride, self.more = stride, outside - inside
        self.shortcut: nn.Module = nn.Identity()
        if projected and (stride > 1 or self.more):
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), _norm(norm, outside))
            self.stride, self.more = 1, 0

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inside, height, width)`` to ``(batch, outside, height / stride, width / stride)``."""
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        x = self.shortcut(x)
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.more:
            x = F.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(x + y)


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // _OF_A_GROUP if channels % _OF_A_GROUP == 0 else 1, channels)
