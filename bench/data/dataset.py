"""One data set in memory: uint8 images with labels, split into training and test examples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from flipbench.data.splits import subset
from flipbench.errors import UserError

SIDES = ("train_x", "train_y", "test_x", "test_y")
Split = Literal["official", "files", "stratified", "lesion", "row"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as loaded; a plug-in loader returns one of these too.

    Attributes:
        name: as grids name it.
        classes: names of the classes, in label order.
        train_x: ``(n, channels, height, width)`` uint8.
        train_y: ``(n,)`` int64, labels 0 to L - 1.
        test_x: like train_x.
        test_y: like train_y.
        split: origin of the split into training and test: ``official`` as published; ``files`` as the files
            have it, which are not the published ones; ``stratified`` ours, by class;
            ``lesion`` ours, by class with all images of a lesion on one side; ``row`` ours, by class and row.
        sha256: of the decompressed content, the same for a packed and a plain file; filled in from the tensors when
            left empty.
        levels: the largest pixel value of the scale: 255, or 16 for digits.
        sources: the files that were read.
        notes: what a reader of results should know, one sentence each.

    Raises:
        UserError: tensors of another shape or type, labels outside the classes, pixels above levels, an empty side.
    """

    name: str
    classes: tuple[str, ...]
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    split: Split
    sha256: str = ""
    levels: int = 255
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise UserError(f"data set {self.name}: split is {self.split!r}; it is one of {', '.join(get_args(Split))}")
        for side, x, y in (("train", self.train_x, self.train_y), ("test", self.test_x, self.test_y)):
            if problem := _problem(x, y, len(self.classes), self.levels):
                raise UserError(f"data set {self.name}, {side} side: {problem}")
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise UserError(
                f"data set {self.name}: training images of shape {tuple(self.train_x.shape[1:])}, "
                f"test images of shape {tuple(self.test_x.shape[1:])}"
            )
        if not self.sha256:
            object.__setattr__(self, "sha256", _digest(self.train_x, self.train_y, self.test_x, self.test_y))

    def copied(self) -> Dataset:
        """The same data in tensors that no other holds."""
        return replace(self, **{side: getattr(self, side).detach().clone() for side in SIDES})

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.train_x.shape[1:]
        return channels, height, width

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """Training and test examples of each class, in label order."""
        train, test = (torch.bincount(y, minlength=len(self.classes)).tolist() for y in (self.train_y, self.test_y))
        return tuple(zip(train, test, strict=True))


def shortened(dataset: Dataset, train: int | None, test: int | None) -> Dataset:
    """The data set with at most so many examples a side: a subset with the same shares of the classes.

    The subset depends on the numbers alone, never on a cell's seed, and the rows keep their order.

    Args:
        dataset: as loaded.
        train: training examples to keep; None: all.
        test: test examples to keep; None: all.

    Raises:
        UserError: fewer than one example is asked for, or more than there are.
    """
    if train is not None:
        rows = _some(dataset.name, "train", dataset.train_y, train)
        dataset = replace(dataset, train_x=dataset.train_x[rows], train_y=dataset.train_y[rows])
    if test is not None:
        rows = _some(dataset.name, "test", dataset.test_y, test)
        dataset = replace(dataset, test_x=dataset.test_x[rows], test_y=dataset.test_y[rows])
    return dataset


def _some(name: str, side: str, labels: Tensor, number: int) -> Tensor:
    if not 1 <= number <= len(labels):
        raise UserError(f"{name}({side}={number}): give a number from 1 to {len(labels)}, or leave {side} out for all")
    return subset(labels, number, f"{side} subset")


def _problem(x: Tensor, y: Tensor, classes: int, levels: int) -> str | None:
    if not (isinstance(x, Tensor) and x.dtype == torch.uint8 and x.ndim == 4):
        return "images are needed as a uint8 tensor (n, channels, height, width)"
    if not (isinstance(y, Tensor) and y.dtype == torch.int64 and y.shape == x.shape[:1]):
        return f"labels are needed as an int64 tensor ({len(x)},)"
    if not len(y):
        return "it holds no example"
    if int(y.min()) < 0 or int(y.max()) >= classes:
        return f"labels run from {int(y.min())} to {int(y.max())}, but there are {classes} classes"
    if x.numel() == 0:
        return f"the images are empty: shape {tuple(x.shape)}"
    return f"a pixel is {int(x.max())}, above levels={levels}" if int(x.max()) > levels else None


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for t in tensors:
        digest.update(str(tuple(t.shape)).encode())
        digest.update(t.contiguous().numpy().tobytes())
    return digest.hexdigest()
