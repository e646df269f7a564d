"""Plain convolutional networks: LeNet-5 and VGG."""

from __future__ import annotations

from typing import Literal

from torch import nn

from flipbench.data.input_shape import InputShape
from flipbench.training.networks.sizes import check_share, check_sizes, he_normal, image_shape

_VGG = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # depth -> convolutions in each of five stages


def lenet(shape: InputShape, classes: int, /, *, original: bool = False) -> nn.Module:
    """LeNet-5 (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998).

    5x5 convolutions of 6 and 16 channels with 2x2 pooling, then layers of 120 and 84, as it is used today: all maps of
    the second convolution see all of the first, and the last layer is linear. 61,706 parameters for 1x28x28 and 10
    classes.

    Args:
        shape: (channels, height, width).
        classes: L.
        original: tanh and average pooling, as in 1998; else ReLU and max pooling.
    """
    channels, height, width = image_shape("lenet", shape)
    padding = 0 if min(height, width) >= 32 else 2  # 1998: digits of 28x28 in images of 32x32
    sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
    if min(sides) < 1:
        raise ValueError(f"lenet needs images of at least 12x12 pixels, got {height}x{width}")

    def between() -> list[nn.Module]:
        return [nn.Tanh()] if original else [nn.ReLU()]

    def pool() -> nn.Module:
        return nn.AvgPool2d(2) if original else nn.MaxPool2d(2)

    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=padding), *between(), pool()),
        *(nn.Conv2d(6, 16, 5), *between(), pool()),
        nn.Flatten(),
        *(nn.Linear(16 * sides[0] * sides[1], 120), *between()),
        *(nn.Linear(120, 84), *between()),
        nn.Linear(84, classes),
    )


def vgg(
    shape: InputShape,
    classes: int,
    /,
    *,
    depth: int = 11,
    norm: Literal["none", "batch"] = "none",
    width: int = 64,
    hidden: list[int] | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """VGG (Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015).

    3x3 convolutions in five stages with 2x2 pooling behind each, configurations A (11) and D (16). Parameters with
    ``hidden=[4096, 4096]`` for 3x224x224 and 1000 classes: 132,863,336 (11), 138,357,544 (16); with the two layers of
    512 that are usual for small images, for 3x32x32 and 10 classes: 9,750,922 and 15,245,130.

    Args:
        shape: (channels, height, width), of 32 or more pixels.
        classes: L.
        depth: 11 or 16.
        norm: ``batch`` puts batch normalisation behind each convolution.
        width: channels of the first stage; the next ones have 2, 4, 8 and 8 times as many.
        hidden: widths of the fully connected layers before the last; None: [512, 512]; the paper: [4096, 4096].
        dropout: probability with which outputs of the hidden layers are left out; the paper: 0.5.
    """
    channels, *sides = image_shape("vgg", shape)
    hidden = [512, 512] if hidden is None else hidden
    if depth not in _VGG:
        raise ValueError(f"vgg needs a depth of 11 or 16, got {depth}")
    check_sizes("vgg", width=[width], hidden=hidden)
    check_share("vgg", "dropout", dropout)
    if dropout and not hidden:
        raise ValueError(f"vgg(hidden=[], dropout={dropout:g}) has no hidden layer to drop out: leave one of them out")
    if min(sides) < 32:
        raise ValueError(f"vgg needs images of at least 32x32 pixels, got {sides[0]}x{sides[1]}")
    layers: list[nn.Module] = []
    for stage, convolutions in enumerate(_VGG[depth]):
        out = width * min(1 << stage, 8)
        for _ in range(convolutions):
            layers.append(nn.Conv2d(channels, out, 3, padding=1))
            layers += [nn.BatchNorm2d(out)] if norm == "batch" else []
            layers.append(nn.ReLU())
            channels = out
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    fan_in = channels * (sides[0] // 32) * (sides[1] // 32)
    for units in hidden:
        layers += [nn.Linear(fan_in, units), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        fan_in = units
    network = nn.Sequential(*layers, nn.Linear(fan_in, classes))
    he_normal(network)
    return network
