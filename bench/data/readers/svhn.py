"""SVHN: colour images of house numbers' digits, 32 x 32 (Netzer et al. 2011), in MATLAB files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import file_kinds, places, whole_data
from flipbench.errors import UserError

TRAIN, TEST, EXTRA = "train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"
MD5 = {  # torchvision's svhn.py
    TRAIN: "e26dedcc434d2e4c54c9b2d4a06d8373",
    TEST: "eb5a983be6a315427106f1b164d9cef3",
    EXTRA: "a93ce644f1a588dc4d68dda5feec44a7",
}
MIRRORS = ("http://ufldl.stanford.edu/housenumbers/",)
CLASSES = tuple("0123456789")
ADVICE = (
    "get it with 'flipbench data svhn --download', or give the folder of train_32x32.mat and test_32x32.mat: "
    "svhn(path='/some/folder')"
)


def svhn(*, path: str | None = None, extra: bool = False, train: int | None = None, test: int | None = None) -> Dataset:
    """SVHN: 73,257 and 26,032 colour images of digits, 32 x 32, from the cropped MATLAB files.

    Args:
        path: folder of the files; None: the usual places.
        extra: train on the 531,131 simpler images of extra_32x32.mat too.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken.
    """
    names = (TRAIN, TEST, EXTRA) if extra else (TRAIN, TEST)
    files = places.first("svhn", path, lambda place: _held(place, names), needed=", ".join(names), advice=ADVICE)
    return shortened(whole_data.whole(_read, files, files), train, test)


def _held(place: Path, names: tuple[str, ...]) -> tuple[Path, ...] | None:
    folder = place.parent if os.path.isfile(place) else place
    there = [name for name in names if os.path.isfile(folder / name)]
    if there and len(there) < len(names):
        lacking = ", ".join(name for name in names if name not in there)
        raise UserError(f"{folder} holds {', '.join(there)} of svhn; it lacks {lacking}")
    if not there and os.path.isfile(place):
        file_kinds.refuse(place, "svhn", f"{' and '.join(names)}, MATLAB files")
    return tuple(folder / name for name in names) if there else None


def _read(files: tuple[Path, ...]) -> Dataset:
    train, test, *more = [_side(file) for file in files]
    others = [file.name for file in files if file_bytes.md5(file) != MD5[file.name]]
    return Dataset(
        name="svhn",
        classes=CLASSES,
        train_x=torch.cat([train[0], *(side[0] for side in more)]),
        train_y=torch.cat([train[1], *(side[1] for side in more)]),
        test_x=test[0],
        test_y=test[1],
        split="files" if others else "official",
        sources=tuple(map(str, files)),
        notes=(f"{', '.join(others)}: not as in the release",) if others else (),
    )


def _side(file: Path) -> tuple[Tensor, Tensor]:
    """Images ``(n, 3, 32, 32)`` and labels; the file has X (32, 32, 3, n) and y (n, 1), where 10 is the digit 0."""
    from scipy.io import loadmat

    if "MATLAB file" not in file_kinds.said(file):
        file_kinds.refuse(file, "svhn", "a MATLAB 5 file")
    try:
        held: dict[str, Any] = loadmat(str(file), variable_names=["X", "y"])
    except Exception as error:  # a damaged file may raise almost anything
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: a damaged or cut off MATLAB file ({said}); get it anew") from error
    if lacking := [name for name in ("X", "y") if name not in held]:
        raise UserError(f"{file}: SVHN's files hold X and y, this one lacks {' and '.join(lacking)}")
    images, labels = held["X"], held["y"].reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise UserError(f"{file}: X needs uint8 of shape (32, 32, 3, n), got {images.dtype} {images.shape}")
    if labels.shape != images.shape[3:]:
        raise UserError(f"{file}: {len(labels)} labels for {images.shape[3]} images")
    if labels.dtype.kind not in "iuf" or ((labels < 1) | (labels > 10) | (labels % 1 != 0)).any():
        wrong = int(np.flatnonzero((labels < 1) | (labels > 10) | (labels % 1 != 0))[0])
        raise UserError(f"{file}: label {wrong} (counted from 0) is {labels[wrong]}, not one of 1 to 10")
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    return x, torch.from_numpy(labels.astype(np.int64) % 10)
