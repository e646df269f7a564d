"""FEMNIST and Shakespeare as LEAF makes them: written characters by writer, and lines of plays by role."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import whole_data
from flipbench.data.readers import leaf
from flipbench.errors import UserError

CHARACTERS = (*digits, *ascii_uppercase, *ascii_lowercase)
# LEAF's models/utils/language_utils.py; a character's place is its token id and its label.
LETTERS = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
_IDS = {letter: i for i, letter in enumerate(LETTERS)}
_SIDE = 28
_NEAR = 0.01  # of a pixel's level: LEAF writes level / 255 in full

Files = tuple[tuple[Path, ...], tuple[Path, ...]]


def _advice(name: str) -> str:
    return (
        f"make it with LEAF (github.com/TalwalkarLab/leaf, data/{name}/preprocess.sh -s niid -t sample), and give its "
        f"folder data: {name}(path='/some/leaf/data/{name}/data')"
    )


def femnist(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """FEMNIST from LEAF's JSON files: written digits and letters, 28 x 28 grey, 62 classes; each writer is a client.

    Args:
        path: folder of LEAF's folders train and test; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken, with file and user.
    """
    files = leaf.find("femnist", path, _advice("femnist"))
    return shortened(whole_data.whole(_femnist, (*files[0], *files[1]), files), train, test)


def shakespeare(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """Shakespeare from LEAF's JSON files: the next of 80 characters from the 80 before it; each role is a client.

    Args:
        path: folder of LEAF's folders train and test; None: the usual places.
        train: size of a class-stratified subset of the training examples; None: all.
        test: the same for the test examples.

    Raises:
        UserError: not found, incomplete or broken, or a character beyond the vocabulary, with file and user.
    """
    files = leaf.find("shakespeare", path, _advice("shakespeare"))
    return shortened(whole_data.whole(_shakespeare, (*files[0], *files[1]), files), train, test)


def _femnist(files: Files) -> Dataset:
    return _made("femnist", CHARACTERS, files, leaf.sides("femnist", files, _images))


def _shakespeare(files: Files) -> Dataset:
    one, two = leaf.sides("shakespeare", files, _texts)
    if one.x.shape[1:] != two.x.shape[1:]:
        raise UserError(
            f"{files[1][0].parent}: texts of {two.x.shape[1]} characters, those to train on have {one.x.shape[1]}"
        )
    return _made("shakespeare", tuple(LETTERS), files, (one, two), vocabulary=len(LETTERS))


def _made(
    name: str, classes: tuple[str, ...], files: Files, held: tuple[leaf.Side, leaf.Side], vocabulary: int | None = None
) -> Dataset:
    train, test = held
    shared = len({*train.users} & {*test.users})
    how = (
        "test examples are of the same users"
        if shared == len(test.users)
        else f"{shared} of {len(test.users)} test users train"
    )
    return Dataset(
        name=name,
        classes=classes,
        train_x=torch.from_numpy(train.x),
        train_y=torch.from_numpy(train.y),
        test_x=torch.from_numpy(test.x),
        test_y=torch.from_numpy(test.y),
        split="files",
        sources=tuple(str(file) for side in files for file in side),
        notes=(f"split by LEAF's scripts: {how}",),
        clients=torch.from_numpy(train.owners),
        client_names=train.users,
        vocabulary=vocabulary,
    )


def _images(x: list[Any], y: list[Any], where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """``(n, 1, 28, 28)`` uint8 of lists of 784 numbers from 0 to 1."""
    for row, image in enumerate(x):
        if not isinstance(image, list) or len(image) != _SIDE * _SIDE:
            came = f"{len(image)} numbers" if isinstance(image, list) else type(image).__name__
            raise UserError(f"{where}, example {row} (from 0): femnist needs {_SIDE * _SIDE} numbers, got {came}")
    try:
        values = np.array(x, dtype=np.float64) * 255
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: femnist needs numbers from 0 to 1 in x, got {str(error)[:80]}") from error
    levels = np.rint(values)
    sound = np.isfinite(values) & (np.abs(values - levels) < _NEAR) & (levels >= 0) & (levels <= 255)
    if not sound.all():
        row, pixel = (int(i[0]) for i in np.nonzero(~sound))
        raise UserError(
            f"{where}, example {row}, pixel {pixel} (both from 0): femnist needs a grey level over 255, from 0 to 1, "
            f"got {x[row][pixel]}"
        )
    return levels.astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE), _labels(y, len(CHARACTERS), where)


def _labels(y: list[Any], classes: int, where: str) -> NDArray[np.int64]:
    for row, label in enumerate(y):
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
            raise UserError(f"{where}, example {row} (from 0): needs a label from 0 to {classes - 1}, got {label!r}")
    return np.array(y, dtype=np.int64)


def _texts(x: list[Any], y: list[Any], where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Token ids ``(n, length)`` of texts of one length, and the id of the character behind each."""
    length = len(x[0]) if isinstance(x[0], str) else 0
    for row, (text, following) in enumerate(zip(x, y, strict=True)):
        if not isinstance(text, str) or not isinstance(following, str) or len(text) != length or len(following) != 1:
            raise UserError(
                f"{where}, example {row} (from 0): shakespeare needs a text of {length or 80} characters and the one "
                f"behind it, got {str(text)[:90]!r} and {str(following)[:20]!r}"
            )
        if unknown := [c for c in text + following if c not in _IDS]:
            raise UserError(
                f"{where}, example {row} (from 0): character {unknown[0]!r} is beyond the vocabulary of LEAF's "
                f"{len(LETTERS)} characters"
            )
    ids = np.array([[_IDS[c] for c in text] for text in x], dtype=np.int64)
    return ids, np.array([_IDS[c] for c in y], dtype=np.int64)
