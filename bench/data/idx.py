"""MNIST's own file format: four IDX files, packed or not, read and checked.

An IDX file is ``00 00 08 ndim``, then ndim big-endian 32-bit sizes, then the bytes (LeCun, Cortes and Burges, "The
MNIST database of handwritten digits", section on file formats). Fashion-MNIST comes in the same files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, locations
from flipbench.data.dataset import Dataset, shortened
from flipbench.errors import UserError

PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGE = (28, 28)


@dataclass(frozen=True)
class Spec:
    """What a data set in four IDX files is.

    Attributes:
        name: as grids name it.
        folder: its subfolder in the places searched.
        inside: where other tools keep it below a folder that they share.
        classes: names in label order.
        official: SHA-256 of each decompressed file of the release, in the order of `PARTS`.
        md5: of each packed file of the release, for downloads.
        mirrors: addresses of the folder with the packed files.
        advice: how to get it.
    """

    name: str
    folder: str
    inside: str
    classes: tuple[str, ...]
    official: tuple[str, str, str, str]
    md5: tuple[str, str, str, str]
    mirrors: tuple[str, ...]
    advice: str


def load(spec: Spec, path: str | None, train: int | None, test: int | None) -> Dataset:
    """Read the four files of a data set.

    Raises:
        UserError: not found, incomplete or broken.
    """
    files = find(spec, path)
    _check_identity(spec, files)
    train_x, train_y, test_x, test_y = (_read(files[part], len(spec.classes)) for part in PARTS)
    for images, labels, kind in ((train_x, train_y, "train"), (test_x, test_y, "t10k")):
        if len(images) != len(labels):
            there = files[f"{kind}-labels-idx1-ubyte"]
            raise UserError(f"{there}: {len(labels)} labels for {len(images)} images; get the {kind} files anew")
    hashes = tuple(file_bytes.digest(files[part]) for part in PARTS)
    others = [part for part, ours, theirs in zip(PARTS, hashes, spec.official, strict=True) if ours != theirs]
    which = "the files" if len(others) == len(PARTS) else f"the files {', '.join(others)}"
    notes = (f"{which} are not those of the {spec.name} release",) if others else ()
    whole = Dataset(
        name=spec.name,
        classes=spec.classes,
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        split="files" if others else "official",
        sha256=file_bytes.combined(*hashes),
        sources=tuple(str(files[part]) for part in PARTS),
        notes=notes,
    )
    return shortened(whole, train, test)


def content(spec: Spec, path: str | None) -> str:
    """The content hash without parsing.

    Raises:
        UserError: not found or incomplete.
    """
    files = find(spec, path)
    _check_identity(spec, files)
    return file_bytes.combined(*(file_bytes.digest(files[part]) for part in PARTS))


def find(spec: Spec, path: str | None) -> Mapping[str, Path]:
    """Where the four files lie: part -> file.

    Raises:
        NotFoundError: no place holds any of them.
        UserError: the path does not hold them, or a place holds only some.
    """
    if path is not None:
        folders = locations.given(path, spec.folder, spec.inside)
        if os.path.isfile(folders[0]):
            folders = (folders[0].parent,)
    else:
        folders = locations.searched(spec.folder)
    for folder in folders:
        there = present(folder)
        if len(there) == len(PARTS):
            return there
        if there:
            lacking = [part for part in PARTS if part not in there]
            raise UserError(
                f"{folder} holds {len(there)} of the 4 files of {spec.name}; it lacks {', '.join(lacking)} (or .gz)"
            )
    if path is not None:
        raise UserError(
            f"{path} does not hold {spec.name}: needed are the files {', '.join(PARTS)}, packed (.gz) or not"
        )
    raise locations.missing(spec.name, folders, spec.advice)


def present(folder: Path) -> dict[str, Path]:
    """Those of the four files that a folder holds; a plain one goes before a packed one."""
    files: dict[str, Path] = {}
    for part in PARTS:
        for name in (part, f"{part}.gz", part.replace("-idx", ".idx"), f"{part.replace('-idx', '.idx')}.gz"):
            if os.path.isfile(folder / name):  # unlike Path.is_file, no error where a folder cannot be entered
                files[part] = folder / name
                break
    return files


def parse(content: bytes, dimensions: int, where: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The array of unsigned bytes in an IDX file.

    Args:
        content: of the file, decompressed.
        dimensions: 1 for labels, 3 for images.
        where: names the file in messages.

    Raises:
        UserError: wrong magic number, no example, or more or fewer bytes than the header announces.
    """
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic:
        raise UserError(
            f"{where}: an IDX file of {'images' if dimensions == 3 else 'labels'} starts with {magic.hex(' ')}, "
            f"this one with {content[:4].hex(' ') or 'nothing'}; get the file anew"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError(f"{where}: cut off at byte {len(content)}, in a header of {start} bytes; get the file anew")
    sizes = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    if 0 in sizes:
        raise UserError(f"{where}: the header announces {' x '.join(map(str, sizes))} values: it holds no example")
    if len(content) != start + prod(sizes):
        what = "cut off" if len(content) < start + prod(sizes) else "too long"
        raise UserError(
            f"{where}: {what}: the header announces {' x '.join(map(str, sizes))} values, hence {start + prod(sizes)} "
            f"bytes, and there are {len(content)}; get the file anew"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _read(path: Path, classes: int) -> Tensor:
    if "labels" in path.name:
        labels = parse(file_bytes.read(path), 1, str(path))
        if len(labels) and int(labels.max()) >= classes:
            row = int((labels >= classes).argmax())
            raise UserError(f"{path}: label {row} (counted from 0) is {labels[row]}, not one of 0 to {classes - 1}")
        return torch.from_numpy(labels.astype(np.int64))
    images = parse(file_bytes.read(path), 3, str(path))
    if images.shape[1:] != IMAGE:
        raise UserError(f"{path}: images of {images.shape[1]} x {images.shape[2]} pixels; 28 x 28 are needed")
    return torch.from_numpy(images.copy()).unsqueeze(1)  # (n, 1, 28, 28)


_RELEASES: dict[str, tuple[str, str]] = {}  # SHA-256 of a file -> data set and part; data sets share the file names


def register(spec: Spec) -> Spec:
    """Make a release known, so that its files are not taken for another data set's of the same names."""
    _RELEASES.update({digest: (spec.name, part) for digest, part in zip(spec.official, PARTS, strict=True)})
    return spec


def _check_identity(spec: Spec, files: Mapping[str, Path]) -> None:
    """MNIST and Fashion-MNIST have the same file names: refuse each file that is known to be another one.

    Raises:
        UserError: with every such file.
    """
    wrong = []
    for part in PARTS:
        name, kind = _RELEASES.get(file_bytes.digest(files[part]), (spec.name, part))
        if name != spec.name:
            wrong.append(f"{files[part]} holds {name}, not {spec.name}: the two share their file names")
        elif kind != part:
            wrong.append(f"{files[part]} holds the content of {kind} of {name}")
    if wrong:
        raise UserError("; ".join(wrong))
