"""Digits: 1,797 handwritten digits, 8 x 8, grey levels 0 to 16 (Alpaydin and Kaynak 1998), inside scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbench.data import file_bytes, packaged
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.splits import held_out

CLASSES = tuple("0123456789")
SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
LEVELS = 16  # a grey level counts the dark pixels of a 4 x 4 block
TEST = 360


def load(*, train: int | None = None, test: int | None = None) -> Dataset:
    """Digits: 1,797 handwritten digits, 8 x 8, split 1,437 to 360 by class; no download.

    Args:
        train: size of a class-stratified subset of the 1,437; None: all.
        test: the same for the 360.

    Raises:
        UserError: scikit-learn is not installed or holds another file.
    """
    path = packaged.file("sklearn", "datasets/data/digits.csv.gz")
    x, y = packaged.images(path, 8, SHA256)
    rows, held = held_out(y, TEST, "digits split")
    whole = Dataset(
        name="digits",
        classes=CLASSES,
        train_x=x[rows],
        train_y=y[rows],
        test_x=x[held],
        test_y=y[held],
        split="stratified",
        sha256=SHA256,
        levels=LEVELS,
        sources=(str(path),),
        notes=("all rows are of the test part of UCI's optdigits; the held-out images are our own draw from them",),
    )
    return shortened(whole, train, test)


def content(options: Mapping[str, Any]) -> str:
    """The content hash without parsing."""
    return file_bytes.digest(packaged.file("sklearn", "datasets/data/digits.csv.gz"))
