"""MNIST as tables, one image a line: Kaggle's mnist_train.csv and mnist_test.csv, and others of the same columns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, parse_cache, pixel_csv
from flipbench.data.dataset import Dataset, Split, shortened
from flipbench.data.files import file_kinds, places, whole_data
from flipbench.data.splits import held_out
from flipbench.errors import UserError

TRAIN, TEST = "mnist_train.csv", "mnist_test.csv"
SIDE = 28
CLASSES = tuple("0123456789")
SHARE = 0.2  # of each class, held out where there is no file of test images
ADVICE = (
    "get mnist_train.csv and mnist_test.csv (Kaggle's data set oddrationale/mnist-in-csv) and put them into one of "
    "these folders, or name the first: mnist_csv(path='/some/mnist_train.csv')"
)


def mnist_csv(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """MNIST from CSV tables: a label and 784 pixels a line, with or without a header.

    The file given is for training; mnist_test.csv beside it for testing. Without that one, a fifth of each class is
    held out, the same in every run.

    Args:
        path: the table of training images, or the folder of both; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found or broken, with file, line and column.
    """
    files = places.first("mnist_csv", path, _held, needed=f"{TRAIN}, and {TEST} beside it", advice=ADVICE)
    return shortened(whole_data.whole(_read, files, files), train, test)


def _held(place: Path) -> tuple[Path, ...] | None:
    given = place if os.path.isfile(place) else places.file_in(place, TRAIN)
    if given is None:
        return None
    test = places.file_in(given.parent, TEST)
    return (given,) if test is None or test == given else (given, test)


def _read(files: tuple[Path, ...]) -> Dataset:
    sides = [_side(file) for file in files]
    split: Split = "files"
    if len(sides) == 1:
        x, y = sides[0]
        rows, held = held_out(y, round(SHARE * len(y)), "mnist_csv split")
        sides, split = [(x[rows], y[rows]), (x[held], y[held])], "stratified"
    return Dataset("mnist_csv", CLASSES, *sides[0], *sides[1], split=split, sources=tuple(map(str, files)))


def _side(file: Path) -> tuple[Tensor, Tensor]:
    header = file_bytes.first_line(file)
    fields = header.split(b",")
    if len(fields) != 1 + SIDE * SIDE or not (fields[0] == b"label" or fields[0].isdigit()):
        needed = f"a table of {1 + SIDE * SIDE} columns: label, then {SIDE * SIDE} pixels"
        file_kinds.refuse_no_text(file, "mnist_csv", needed)
        file_bytes.read(file)  # a damaged gzip file has a message of its own
        file_kinds.refuse(file, "mnist_csv", needed)
    named = not fields[0].isdigit()
    names = [n.decode("utf-8", "replace") for n in fields] if named else ["label", *map(str, range(SIDE * SIDE))]

    def make() -> pixel_csv.Pixels:
        content = file_bytes.read(file).removeprefix(b"\xef\xbb\xbf")
        body = content.partition(b"\n")[2] if named else content
        return pixel_csv.parse(body, names, str(file), first_line=1 + named)

    table = parse_cache.cached(file_bytes.digest(file), len(names), make)
    labels = table[:, 0]
    if int(labels.max()) > 9:
        row = int((labels > 9).argmax())
        raise UserError(f"{file}, line {row + 1 + named}, column label: needs a label from 0 to 9, got {labels[row]}")
    images = torch.from_numpy(np.ascontiguousarray(table[:, 1:])).view(-1, 1, SIDE, SIDE)
    return images, torch.from_numpy(labels.astype(np.int64))
