"""Small data sets with natural clients: features in clusters, texts of a few tokens, colour images."""

from __future__ import annotations

import torch

from flipbench.data.dataset import Dataset

CLASSES = ("first", "second", "third", "fourth")
CLIENTS = 12


def features(*, n: int = 360) -> Dataset:
    """Six features around the centre of the class; a third of the examples is for testing."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(len(CLASSES), (n,), generator=draws)
    centres = torch.randn(len(CLASSES), 6, generator=draws)
    return _split(centres[labels] + torch.randn(n, 6, generator=draws), labels)


def tokens(*, n: int = 360, length: int = 8) -> Dataset:
    """Texts of at most ``length`` ids from 1 to 15, filled up with 0; the class is the rest of the first id by 4."""
    draws = torch.Generator().manual_seed(1)
    texts = torch.randint(1, 16, (n, length), generator=draws)
    labels = texts[:, 0] % len(CLASSES)
    ends = torch.randint(2, length + 1, (n, 1), generator=draws)
    return _split(torch.where(torch.arange(length) < ends, texts, 0), labels, vocabulary=16, padding=0)


def images(*, n: int = 240) -> Dataset:
    """Colour images of 32 x 32 pixels, uint8: the class is the quarter of the image that is bright."""
    draws = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 128, (n, 3, 32, 32), generator=draws, dtype=torch.uint8)
    labels = torch.randint(len(CLASSES), (n,), generator=draws)
    for i, label in enumerate(labels.tolist()):
        top, left = 16 * (label // 2), 16 * (label % 2)
        pixels[i, :, top : top + 16, left : left + 16] += 100
    return _split(pixels, labels)


def _split(x: torch.Tensor, y: torch.Tensor, **more: int) -> Dataset:
    cut = len(y) * 2 // 3
    clients = torch.arange(cut) % CLIENTS
    names = tuple(f"client {i}" for i in range(CLIENTS))
    sides = x[:cut], y[:cut], x[cut:], y[cut:]
    return Dataset("made up", CLASSES, *sides, "files", clients=clients, client_names=names, **more)
