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
        advice: how to get it.
        official: SHA-256 of each decompressed file of the release, in the order of the parts; empty: not known.
        md5: of each packed file of the release, for downloads.
        mirrors: addresses of the folder with the packed files.
        parts: names of the four files: training images and labels, test images and labels.
        first_label: the smallest label in the files, which becomes 0.
        transposed: each image is stored with its rows and columns exchanged.
    """

    name: str
    folder: str
    inside: str
    classes: tuple[str, ...]
    advice: str
    official: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    parts: tuple[str, ...] = PARTS
    first_label: int = 0
    transposed: bool = False


def load(spec: Spec, path: str | None, train: int | None, test: int | None) -> Dataset:
    """Read the four files of a data set.

    Raises:
        UserError: not found, incomplete or broken.
    """
    files = find(spec, path)
    _check_identity(spec, files)
    train_x, train_y, test_x, test_y = (_read(files[part], spec) for part in spec.parts)
    for images, labels, part in ((train_x, train_y, spec.parts[1]), (test_x, test_y, spec.parts[3])):
        if len(images) != len(labels):
            kind = part.partition("-labels")[0]
            raise UserError(f"{files[part]}: {len(labels)} labels for {len(images)} images; get the {kind} files anew")
    hashes = tuple(file_bytes.digest(files[part]) for part in spec.parts)
    others = _unlike(spec, files, hashes)
    which = "the files" if len(others) == len(spec.parts) else f"the files {', '.join(others)}"
    notes = (f"{which} are not those of the {spec.name} release",) if others else ()
    if others and not spec.official:
        notes = (f"no checksums of {which} are known to flipbench, so they are taken as they are",)
    whole = Dataset(
        name=spec.name,
        classes=spec.classes,
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        split="files" if others else "official",
        sha256=file_bytes.combined(*hashes),
        sources=tuple(str(files[part]) for part in spec.parts),
        notes=notes,
    )
    return shortened(whole, train, test)


def _unlike(spec: Spec, files: Mapping[str, Path], hashes: tuple[str, ...]) -> list[str]:
    """The parts that are not known to be those of the release."""
    if spec.official:
        return [part for part, ours, known in zip(spec.parts, hashes, spec.official, strict=True) if ours != known]
    known = spec.md5 or ("",) * len(spec.parts)  # of the packed files only
    return [part for part, md5 in zip(spec.parts, known, strict=True) if file_bytes.md5(files[part]) != md5]


def content(spec: Spec, path: str | None) -> str:
    """The content hash without parsing.

    Raises:
        UserError: not found or incomplete.
    """
    files = find(spec, path)
    _check_identity(spec, files)
    return file_bytes.combined(*(file_bytes.digest(files[part]) for part in spec.parts))


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
        there = present(folder, spec.parts)
        if len(there) == len(spec.parts):
            return there
        if there:
            lacking = [part for part in spec.parts if part not in there]
            raise UserError(
                f"{folder} holds {len(there)} of the 4 files of {spec.name}; it lacks {', '.join(lacking)} (or .gz)"
            )
    if path is not None:
        raise UserError(
            f"{path} does not hold {spec.name}: needed are the files {', '.join(spec.parts)}, packed (.gz) or not"
        )
    raise locations.missing(spec.name, folders, spec.advice)


def present(folder: Path, parts: tuple[str, ...] = PARTS) -> dict[str, Path]:
    """Those of the four files that a folder holds; a plain one goes before a packed one."""
    files: dict[str, Path] = {}
    for part in parts:
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


def _read(path: Path, spec: Spec) -> Tensor:
    if "labels" in path.name:
        labels = parse(file_bytes.read(path), 1, str(path)).astype(np.int64)
        last = spec.first_label + len(spec.classes) - 1
        if (wrong := (labels < spec.first_label) | (labels > last)).any():
            row = int(wrong.argmax())
            known = f"{spec.first_label} to {last}"
            raise UserError(f"{path}: label {row} (counted from 0) is {labels[row]}, not one of {known}")
        return torch.from_numpy(labels - spec.first_label)
    images = parse(file_bytes.read(path), 3, str(path))
    if images.shape[1:] != IMAGE:
        raise UserError(f"{path}: images of {images.shape[1]} x {images.shape[2]} pixels; 28 x 28 are needed")
    upright = images.transpose(0, 2, 1) if spec.transposed else images
    return torch.from_numpy(upright.copy()).unsqueeze(1)  # (n, 1, 28, 28)


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
    for part in spec.parts:
        name, kind = _RELEASES.get(file_bytes.digest(files[part]), (spec.name, part))
        if name != spec.name:
            wrong.append(f"{files[part]} holds {name}, not {spec.name}: the two share their file names")
        elif kind != part:
            wrong.append(f"{files[part]} holds the content of {kind} of {name}")
    if wrong:
        raise UserError("; ".join(wrong))
